"""`POST /v1/completions`: a text that the model continues, without a chat template around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.answering.request import Answer
from modelyard.chatdata.conversation import TEXT_ROLE, Message
from modelyard.serving.bodies import (
    Ignored,
    Sampled,
    Seed,
    Stop,
    StreamOptions,
    Tokens,
    Unsupported,
    stops_of,
)
from modelyard.serving.chat import finish_of, usage_of
from modelyard.serving.exchange import Exchange, Route, server_event
from modelyard.serving.problems import Problem

_DEFAULT_TOKENS = 16
"""As many as OpenAI's API gives where nothing is said."""


class CompletionBody(Sampled):
    """The body of a request to continue a text."""

    prompt: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(max_length=1)]
    """The text."""
    max_tokens: Tokens | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    best_of: Literal[1] | None = None
    user: str | None = None
    echo: Unsupported = None
    suffix: Unsupported = None
    logprobs: Unsupported = None
    logit_bias: Unsupported = None
    frequency_penalty: Unsupported = None
    presence_penalty: Unsupported = None
    metadata: Ignored = None


async def complete(exchange: Exchange) -> Response:
    """What the model writes after a text. Of a base or an adapter; a domain has conversations."""
    body = await exchange.read(CompletionBody)
    effective = exchange.find_model(body.model)
    if effective.domain is not None or effective.model.settings.provider != "local":
        raise Problem(
            status=400,
            message=f"{body.model!r} answers conversations: POST /v1/chat/completions",
            code="unsupported_model",
            param="model",
        )
    prompt = body.prompt if isinstance(body.prompt, str) else "".join(body.prompt)
    exchange.tokens_field = "max_tokens"
    request = exchange.request(
        messages=(Message(TEXT_ROLE, prompt),),
        generation=body.generation(
            top_k=body.top_k,
            max_output_tokens=body.max_tokens or _DEFAULT_TOKENS,
            stop=stops_of(body.stop),
            seed=body.seed,
        ),
        user=body.user,
    )
    options = body.stream_options or StreamOptions()
    written = _Completion(exchange.answer_id, body.model, with_usage=options.include_usage)
    if body.stream:
        return await exchange.stream(effective, request, written)
    answer = await exchange.answer(effective, request)
    usage = usage_of(answer.usage)
    return JSONResponse(written.around(answer.text, finish=finish_of(answer), usage=usage))


@dataclass(frozen=True, slots=True)
class _Completion:
    """What is written of an answer, at once or in pieces (`exchange.EventWriter`)."""

    answer_id: str
    model: str
    with_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, text: str, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return {
            "id": f"cmpl-{self.answer_id}",
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            **more,
        }

    def begin(self) -> Iterator[str]:
        yield from ()

    def piece(self, text: str) -> Iterator[str]:
        yield server_event(self.around(text))

    def end(self, answer: Answer) -> Iterator[str]:
        yield server_event(self.around("", finish=finish_of(answer)))
        if self.with_usage:
            yield server_event(self.around("", usage=usage_of(answer.usage)) | {"choices": []})
        yield server_event("[DONE]")

    def fail(self, problem: Problem) -> Iterator[str]:
        yield server_event(problem.body("openai"))


ROUTES = (
    Route(
        method="POST",
        path="/v1/completions",
        handle=complete,
        scope="chat",
        summary="A text, continued",
        body=CompletionBody,
    ),
)
