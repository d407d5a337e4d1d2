"""`POST /v1/embeddings`: vectors of texts, by the encoders of the search domains of a key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.deployments.running import running_settings
from modelyard.encoders import Vectors
from modelyard.serving.bodies import Body
from modelyard.serving.exchange import Exchange, Route
from modelyard.serving.permitted import find_permitted
from modelyard.serving.problems import Problem

_Text = Annotated[str, Field(min_length=1, max_length=1_000_000)]


class EmbeddingsBody(Body):
    """The body of a request for vectors."""

    model: str
    """A group of search domains: its encoder makes the vectors."""
    input: _Text | Annotated[list[_Text], Field(min_length=1, max_length=2048)]
    """The texts."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    """As many as the encoder has; it makes no others."""
    user: str | None = None


async def embed(exchange: Exchange) -> Response:
    """One unit vector for each text, in the order given."""
    body = await exchange.read(EmbeddingsBody)
    settings = _encoder(exchange, body.model)
    if body.dimensions not in (None, settings.dimensions):
        raise Problem(
            status=400,
            message=f"{body.model!r} has {settings.dimensions} dimensions, and no others",
            code="invalid_value",
            param="dimensions",
        )
    texts = [body.input] if isinstance(body.input, str) else body.input
    exchange.draft.model = body.model
    searchers = exchange.service.answerer.searchers

    def encode() -> tuple[Vectors, int]:
        encoder = searchers.encoder(settings)
        return encoder.encode(texts), sum(encoder.count_tokens(texts))

    vectors, tokens = await asyncio.to_thread(encode)
    data = [
        {"object": "embedding", "index": place, "embedding": _written(vector, body)}
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage})


def _encoder(exchange: Exchange, name: str) -> Encoder:
    """The encoder of a group. Raises Problem: 404 where the key may search none of its domains."""
    service = exchange.service
    domains = find_permitted(service, exchange.caller).search_domains
    groups = {domain.partition("/")[0] for domain in domains}
    settings = running_settings(service.project, service.environment, "embedding_models")
    group = settings.get(name) if name in groups else None
    if group is None or group.encoder is None:
        raise _no_such_encoder(name, groups)
    encoder: Encoder = group.encoder
    if encoder.source == "endpoint":
        raise Problem(
            status=400,
            message=f"the encoder of {name!r} is another service: ask that one",
            code="unsupported_model",
            param="model",
        )
    return encoder


def _no_such_encoder(name: str, groups: Iterable[str]) -> Problem:
    has = ", ".join(sorted(groups)) or "none"
    return Problem(
        status=404,
        message=f"there is no embedding model {name!r} for this key; it has {has}",
        code="model_not_found",
        param="model",
    )


def _written(vector: Vectors, body: EmbeddingsBody) -> Any:
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()


ROUTES = (
    Route(
        method="POST",
        path="/v1/embeddings",
        handle=embed,
        scope="search",
        summary="Vectors of texts",
        body=EmbeddingsBody,
    ),
)
