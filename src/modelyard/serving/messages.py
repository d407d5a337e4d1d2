"""`POST /v1/messages`, as Anthropic's API has it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.answering.request import Answer, Request
from modelyard.chatdata.conversation import Message
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.providers.call import NamedTool as RequiredTool
from modelyard.providers.call import ToolChoice as Choice
from modelyard.providers.call import Usage
from modelyard.serving.bodies import Body, Ignored, Sampled, Tokens, Unsupported
from modelyard.serving.exchange import Exchange, Route, marks_of, server_event
from modelyard.serving.problems import Problem


class TextBlock(Body):
    """A text."""

    type: Literal["text"]
    text: str
    cache_control: Ignored = None
    citations: Ignored = None


class ToolUseBlock(Body):
    """A call of a tool, in an earlier turn of the assistant."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: Ignored = None


class ToolResultBlock(Body):
    """What a tool gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] = ""
    is_error: bool = False
    cache_control: Ignored = None


Block = Annotated[TextBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]


class Turn(Body):
    """One turn."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class Tool(Body):
    """What the model may call."""

    name: str
    description: str = ""
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    cache_control: Ignored = None


class ToolChoice(Body):
    """Whether it may, must or must not call one."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: Literal[False] | None = None


class Thinking(Body):
    """Whether the model thinks first; this service has no such mode."""

    type: Literal["disabled"]


class Metadata(Body):
    """About the request."""

    user_id: str | None = None
    """Who of the organisation asks: decides the side of an A/B test."""


class MessagesBody(Sampled):
    """The body of a request for an answer to a conversation."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: Tokens
    system: str | list[TextBlock] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    stop_sequences: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=16)] | None
    ) = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    metadata: Metadata | None = None
    thinking: Thinking | None = None
    service_tier: Ignored = None
    container: Unsupported = None
    mcp_servers: Unsupported = None


async def create_message(exchange: Exchange) -> Response:
    """An answer to a conversation, at once or in pieces as they come (`stream`)."""
    body = await exchange.read(MessagesBody)
    effective = exchange.find_model(body.model)
    request = _request(exchange, body)
    if body.stream:
        events = _Events(exchange.answer_id, body.model)
        return await exchange.stream(effective, request, events)
    answer = await exchange.answer(effective, request)
    return JSONResponse(_message(exchange.answer_id, body.model, answer))


def _request(exchange: Exchange, body: MessagesBody) -> Request:
    """What the body asks for, as `Answerer` takes it."""
    exchange.tokens_field = "max_tokens"
    return exchange.request(
        messages=tuple(_turns(body)),
        generation=body.generation(
            top_k=body.top_k,
            max_output_tokens=body.max_tokens,
            stop=None if body.stop_sequences is None else tuple(body.stop_sequences),
        ),
        tools=tuple(map(_function, body.tools or ())),
        tool_choice=_choice(body.tool_choice),
        user=body.metadata.user_id if body.metadata else None,
    )


def _turns(body: MessagesBody) -> Iterator[Message]:
    """The conversation as templates read it."""
    if body.system:
        yield Message("system", _text(body.system))
    for turn in body.messages:
        if isinstance(turn.content, str):
            yield Message(turn.role, turn.content)
            continue
        results = [each for each in turn.content if isinstance(each, ToolResultBlock)]
        for result in results:
            yield Message("tool", _text(result.content), {"tool_call_id": result.tool_use_id})
        calls = [_call(each) for each in turn.content if isinstance(each, ToolUseBlock)]
        text = _text([each for each in turn.content if isinstance(each, TextBlock)])
        if text or calls or not results:
            yield Message(turn.role, text, {"tool_calls": calls} if calls else {})


def _text(content: str | Sequence[TextBlock]) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content)


def _call(block: ToolUseBlock) -> dict[str, Any]:
    function = {"name": block.name, "arguments": json.dumps(block.input, ensure_ascii=False)}
    return {"id": block.id, "type": "function", "function": function}


def _function(tool: Tool) -> Mapping[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
    }
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice | None) -> Choice:
    """Which tool must be called, if any."""
    if choice is None or choice.type == "auto":
        return "auto"
    if choice.type != "tool":
        return "required" if choice.type == "any" else "none"
    if choice.name is None:
        raise Problem(
            status=400,
            message="tool_choice has the type tool, and no name",
            code="invalid_value",
            param="tool_choice.name",
        )
    return RequiredTool(choice.name)


def _message(answer_id: str, model: str, answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    blocks: list[dict[str, Any]] = []
    if answer.text or not answer.tool_calls:
        blocks.append({"type": "text", "text": answer.text})
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in answer.tool_calls
    ]
    return _envelope(answer_id, model) | {
        "content": blocks,
        "stop_reason": _stop_reason(answer),
        "stop_sequence": answer.stop_sequence,
        "usage": _usage(answer.usage),
        **marks_of(answer),
    }


def _envelope(answer_id: str, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{answer_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(None),
    }


def _input(arguments: str) -> Any:
    """What a tool is called with; as it was written, where that is no JSON."""
    try:
        return parse_json(arguments)
    except InvalidJson:
        return {"arguments": arguments}


def _stop_reason(answer: Answer) -> str:
    if answer.finish == "stop" and answer.stop_sequence is not None:
        return "stop_sequence"
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    return reasons.get(answer.finish, "refusal")


def _usage(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "cache_creation_input_tokens": 0,
    }


@dataclass(slots=True)
class _Events:
    """The answer as a stream of events (`exchange.EventWriter`)."""

    answer_id: str
    model: str
    _is_open: bool = field(default=False, init=False)
    """Whether the block of text has begun."""

    def begin(self) -> Iterator[str]:
        yield _event("message_start", message=_envelope(self.answer_id, self.model))

    def piece(self, text: str) -> Iterator[str]:
        if not self._is_open:
            self._is_open = True
            block = {"type": "text", "text": ""}
            yield _event("content_block_start", index=0, content_block=block)
        delta = {"type": "text_delta", "text": text}
        yield _event("content_block_delta", index=0, delta=delta)

    def end(self, answer: Answer) -> Iterator[str]:
        place = 0
        if self._is_open:
            yield _event("content_block_stop", index=0)
            place = 1
        for index, call in enumerate(answer.tool_calls, place):
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            yield _event("content_block_start", index=index, content_block=block)
            delta = {"type": "input_json_delta", "partial_json": call.arguments}
            yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        ended = {"stop_reason": _stop_reason(answer), "stop_sequence": answer.stop_sequence}
        yield _event("message_delta", delta=ended, usage=_usage(answer.usage), **marks_of(answer))
        yield _event("message_stop")

    def fail(self, problem: Problem) -> Iterator[str]:
        yield server_event(problem.body("anthropic"), name="error")


def _event(kind: str, **content: Any) -> str:
    return server_event({"type": kind, **content}, name=kind)


ROUTES = (
    Route(
        method="POST",
        path="/v1/messages",
        handle=create_message,
        scope="chat",
        summary="An answer to a conversation, as Anthropic's API has it",
        body=MessagesBody,
        style="anthropic",
    ),
)
