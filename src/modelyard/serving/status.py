"""How the service fares: for probes, for Prometheus, and for people who have a key."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from modelyard.core.errors import ModelyardError
from modelyard.inference.engine_limits import AdapterInMemory
from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.service import Service

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def mount_probes(app: FastAPI, service: Service) -> None:
    """Let an app answer whether it lives, and whether it is ready; neither needs a key."""

    async def healthz(http: Request) -> Response:
        """Whether the process answers at all."""
        return PlainTextResponse("ok\n")

    async def readyz(http: Request) -> Response:
        """Whether the base is in memory, or the engine outside answers."""
        outside = service.answerer.outside
        if outside is not None:
            try:
                await asyncio.to_thread(outside.contexts)
            except ModelyardError:
                words = "the engine does not answer\n"
                return PlainTextResponse(words, 503, {"Retry-After": "5"})
        if outside is not None or service.loaded.is_set():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("the base is being loaded\n", 503, {"Retry-After": "2"})

    for path, probe in (("/healthz", healthz), ("/readyz", readyz)):
        app.add_api_route(path, probe, methods=["GET"], response_class=PlainTextResponse)
        app.add_api_route(path, probe, methods=["HEAD"], include_in_schema=False)


async def metrics(exchange: Exchange) -> Response:
    """Figures of all organisations, as Prometheus reads them."""
    return Response(exchange.service.observer.exposition(), media_type=_PROMETHEUS)


async def status(exchange: Exchange) -> Response:
    """Whether the service is ready, and what of the key's organisation is in memory and was
    answered last; with the scope `admin`, of all organisations, and how many requests there are."""
    service, caller = exchange.service, exchange.caller
    sees_all = caller.organisation is None or "admin" in caller.scopes
    figures = service.answerer.figures()
    adapters = [
        _told(base.name, adapter, sees_all=sees_all)
        for base in figures.bases
        for adapter in base.adapters
        if sees_all or adapter.organisation == caller.organisation
    ]
    recent = service.observer.recent(None if sees_all else caller.organisation)
    waiting = figures.waiting + service.answers.turns.waiting
    content: dict[str, Any] = {
        "object": "service",
        "is_ready": service.answerer.outside is not None or service.loaded.is_set(),
        "environment": service.environment,
        "organisation": caller.organisation,
        "answers_running": figures.running if sees_all else None,
        "requests_waiting": waiting if sees_all else None,
        "adapter_evictions": sum(base.evictions for base in figures.bases) if sees_all else None,
        "adapters": adapters,
        "recent_answers": [asdict(answer) for answer in recent],
    }
    return JSONResponse(content)


def _told(base: str, adapter: AdapterInMemory, *, sees_all: bool) -> dict[str, Any]:
    """An adapter in memory. The number of its slot would say that others' are in those before it,
    so an organisation hears only whether there is one."""
    told = {"base": base, **asdict(adapter), "in_slot": adapter.slot is not None}
    return told if sees_all else told | {"slot": None}


ROUTES = (
    Route(
        method="GET",
        path="/metrics",
        handle=metrics,
        scope="admin",
        summary="Figures of all organisations, as Prometheus reads them",
    ),
    Route(
        method="GET",
        path="/v1/service",
        handle=status,
        scope="chat",
        summary="How the service fares",
    ),
)
