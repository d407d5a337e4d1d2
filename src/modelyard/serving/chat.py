"""`POST /v1/chat/completions`, as OpenAI's API has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.answering.request import Answer, Request
from modelyard.chatdata.conversation import Message
from modelyard.providers.call import NamedTool as RequiredTool
from modelyard.providers.call import ToolChoice, Usage
from modelyard.serving.bodies import (
    Body,
    Ignored,
    ResponseFormat,
    Sampled,
    Seed,
    Stop,
    StreamOptions,
    Tokens,
    Unsupported,
    form_of,
    stops_of,
)
from modelyard.serving.exchange import Exchange, Route, marks_of, server_event
from modelyard.serving.problems import Problem


class TextPart(Body):
    """A part of a message: texts only."""

    type: Literal["text"]
    text: str


class FunctionCall(Body):
    """What the model called."""

    name: str
    arguments: str
    """JSON, as the model wrote it."""


class ToolCall(Body):
    """One call, in an earlier turn of the assistant."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class NamedFunction(Body):
    """A tool, by its name."""

    name: str


class NamedTool(Body):
    """The tool that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class ChatMessage(Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: Ignored = None
    annotations: Ignored = None
    audio: Unsupported = None
    function_call: Unsupported = None


class ChatBody(Sampled):
    """The body of a request for an answer to a conversation."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    n: Literal[1] | None = None
    user: str | None = None
    """Who of the organisation asks: decides the side of an A/B test."""
    metadata: Ignored = None
    store: Literal[False] | None = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    parallel_tool_calls: Literal[True] | None = None
    frequency_penalty: Unsupported = None
    presence_penalty: Unsupported = None
    logit_bias: Unsupported = None
    logprobs: Unsupported = None
    top_logprobs: Unsupported = None


async def chat(exchange: Exchange) -> Response:
    """An answer to a conversation, at once or in pieces as they come (`stream`)."""
    body = await exchange.read(ChatBody)
    effective = exchange.find_model(body.model)
    request = _request(exchange, body)
    envelope = _Envelope(exchange.answer_id, body.model)
    if body.stream:
        options = body.stream_options or StreamOptions()
        chunks = _Chunks(envelope, with_usage=options.include_usage)
        return await exchange.stream(effective, request, chunks)
    return JSONResponse(_completion(envelope, await exchange.answer(effective, request)))


def _request(exchange: Exchange, body: ChatBody) -> Request:
    """What the body asks for, as `Answerer` takes it."""
    exchange.tokens_field = "max_completion_tokens" if body.max_completion_tokens else "max_tokens"
    return exchange.request(
        messages=tuple(map(_message, body.messages)),
        generation=body.generation(
            top_k=body.top_k,
            max_output_tokens=body.max_completion_tokens or body.max_tokens,
            stop=stops_of(body.stop),
            seed=body.seed,
        ),
        **form_of(body.response_format),
        tools=tuple(body.tools or ()),
        tool_choice=_choice(body.tool_choice),
        user=body.user,
    )


def _choice(choice: Literal["auto", "none", "required"] | NamedTool | None) -> ToolChoice:
    """Which tool must be called, if any."""
    if isinstance(choice, NamedTool):
        return RequiredTool(choice.function.name)
    return choice or "auto"


def _message(turn: ChatMessage) -> Message:
    """A turn as templates read it."""
    more: dict[str, Any] = {}
    if turn.tool_calls:
        more["tool_calls"] = [call.model_dump() for call in turn.tool_calls]
    if turn.tool_call_id is not None:
        more["tool_call_id"] = turn.tool_call_id
    if turn.name is not None:
        more["name"] = turn.name
    role = "system" if turn.role == "developer" else turn.role
    if turn.content is None and not turn.tool_calls:
        raise Problem(
            status=400,
            message=f"a turn of the {turn.role} has no content",
            code="invalid_value",
            param="messages",
        )
    content = turn.content or ""
    if not isinstance(content, str):
        content = "".join(part.text for part in content)
    return Message(role, content, more)


def _completion(envelope: _Envelope, answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message |= {"content": answer.text or None, "tool_calls": _calls(answer)}
    finish = finish_of(answer)
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    usage = usage_of(answer.usage)
    return envelope.around("chat.completion", choices=[choice], usage=usage, **marks_of(answer))


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.tool_calls
    ]


def finish_of(answer: Answer) -> str:
    """Why an answer ended, as OpenAI's API calls it."""
    return "content_filter" if answer.finish == "refused" else answer.finish


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """The tokens of an answer, as OpenAI's API writes them."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What is around every answer and every chunk of one."""

    answer_id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, kind: str, **content: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.answer_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            **content,
        }


class _Chunks:
    """The answer as a stream of chunks (`exchange.EventWriter`)."""

    def __init__(self, envelope: _Envelope, *, with_usage: bool) -> None:
        self._envelope = envelope
        self._with_usage = with_usage

    def begin(self) -> Iterator[str]:
        yield self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> Iterator[str]:
        yield self._chunk({"content": text})

    def end(self, answer: Answer) -> Iterator[str]:
        if answer.tool_calls:
            calls = [call | {"index": place} for place, call in enumerate(_calls(answer))]
            yield self._chunk({"tool_calls": calls})
        yield self._chunk({}, finish=finish_of(answer), **marks_of(answer))
        if self._with_usage:
            usage = usage_of(answer.usage)
            yield server_event(
                self._envelope.around("chat.completion.chunk", choices=[], usage=usage)
            )
        yield server_event("[DONE]")

    def fail(self, problem: Problem) -> Iterator[str]:
        yield server_event(problem.body("openai"))

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        more |= {"usage": None} if self._with_usage else {}
        return server_event(
            self._envelope.around("chat.completion.chunk", choices=[choice], **more)
        )


ROUTES = (
    Route(
        method="POST",
        path="/v1/chat/completions",
        handle=chat,
        scope="chat",
        summary="An answer to a conversation",
        body=ChatBody,
        schema_field="response_format",
    ),
)
