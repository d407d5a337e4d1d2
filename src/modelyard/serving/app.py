"""The app: every route of the service on one FastAPI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from modelyard import __version__
from modelyard.serving import (
    asking,
    chat,
    completions,
    embeddings,
    feedback,
    generating,
    messages,
    models,
    responses,
    searching,
    status,
    web_page,
)
from modelyard.serving.exchange import Route
from modelyard.serving.problems import Problem, explain_failure, style_of
from modelyard.serving.service import Service

_ROUTED = (
    *(chat, completions, responses, messages),
    *(models, embeddings, searching, feedback, status, asking, generating),
)
_SCHEMAS = "#/components/schemas/{model}"


def routes() -> Iterator[Route]:
    """Every route that needs a key."""
    for module in _ROUTED:
        yield from module.ROUTES


def build_app(service: Service) -> FastAPI:
    """The app of a service. It holds no state of its own."""
    app = FastAPI(
        title="modelyard",
        version=__version__,
        description="Language models of organisations, on this machine.",
        docs_url=None,
        redoc_url=None,
    )
    for route in routes():
        route.mount(app, service)
    status.mount_probes(app, service)
    web_page.mount_page(app)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(Exception, _fail)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


async def _refuse(http: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: an address or a method that does not exist."""
    assert isinstance(error, HTTPException)
    problem = Problem(
        status=error.status_code, message=f"{http.method} {http.url.path}: {error.detail}"
    )
    body = problem.body(style_of(http.url.path))
    return JSONResponse(body, problem.status, dict(error.headers or {}))


async def _fail(http: Request, error: Exception) -> Response:
    """What nobody expected; the log of the process has it."""
    problem = explain_failure(error)
    return JSONResponse(problem.body(style_of(http.url.path)), problem.status)


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that routes read themselves."""
    if app.openapi_schema is None:
        described = FastAPI.openapi(app)
        parts = described.setdefault("components", {})
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        parts.setdefault("schemas", {}).update(_schemas(routes()))
        app.openapi_schema = described
    return app.openapi_schema


def _schemas(every: Iterable[Route]) -> dict[str, Any]:
    """The JSON Schema of each body, and of what it is made of."""
    schemas: dict[str, Any] = {}
    for body in {route.body for route in every if route.body is not None and not route.is_local}:
        schema = body.model_json_schema(ref_template=_SCHEMAS)
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    return schemas
