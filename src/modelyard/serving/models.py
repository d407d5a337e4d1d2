"""`GET /v1/models`: what the key may name, and nothing else."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.permitted import find_permitted


async def list_models(exchange: Exchange) -> Response:
    """The models that the key may name: its own adapters, and bases and domains that it may use."""
    names = find_permitted(exchange.service, exchange.caller).listed()
    return JSONResponse({"object": "list", "data": list(map(_model, names))})


async def show_model(exchange: Exchange) -> Response:
    """One of them."""
    name = exchange.http.path_params["name"]
    exchange.find_model(name)
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "modelyard"}


ROUTES = (
    Route(
        method="GET",
        path="/v1/models",
        handle=list_models,
        scope="chat",
        summary="The models of the key",
    ),
    Route(
        method="GET",
        path="/v1/models/{name:path}",
        handle=show_model,
        scope="chat",
        summary="One of the models of the key",
    ),
)
