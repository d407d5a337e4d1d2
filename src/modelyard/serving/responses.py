"""`POST /v1/responses`, as OpenAI's API has it. Nothing is stored between requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from modelyard.answering.request import Answer, Request
from modelyard.chatdata.conversation import Message
from modelyard.providers.call import NamedTool as RequiredTool
from modelyard.providers.call import Usage
from modelyard.serving.bodies import (
    Body,
    Ignored,
    NamedSchema,
    ResponseFormat,
    Sampled,
    StreamOptions,
    Tokens,
    Unsupported,
    form_of,
)
from modelyard.serving.exchange import Exchange, Route, marks_of, server_event
from modelyard.serving.problems import Problem


class Part(Body):
    """A part of a message: texts only."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: Ignored = None
    logprobs: Ignored = None


class MessageItem(Body):
    """One turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None


class CallItem(Body):
    """A call of a tool, in an earlier turn of the assistant."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: Ignored = None
    status: Ignored = None


class CallOutputItem(Body):
    """What a tool gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Part]
    id: Ignored = None
    status: Ignored = None


class Tool(Body):
    """What the model may call."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Ignored = None


class NamedTool(Body):
    """The tool that must be called."""

    type: Literal["function"]
    name: str


class TextFormat(Body):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: Ignored = None


class TextSettings(Body):
    """How the text is."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponsesBody(Sampled):
    """The body of a request for an answer."""

    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[MessageItem | CallItem | CallOutputItem], Field(min_length=1)]
    )
    """A question, or a conversation."""
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    text: TextSettings | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    store: Literal[False] | None = None
    stream_options: StreamOptions | None = None
    truncation: Literal["disabled"] | None = None
    user: str | None = None
    metadata: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    parallel_tool_calls: Literal[True] | None = None
    include: Unsupported = None
    background: Unsupported = None
    conversation: Unsupported = None
    max_tool_calls: Unsupported = None
    previous_response_id: Unsupported = None
    prompt: Unsupported = None
    reasoning: Unsupported = None
    top_logprobs: Unsupported = None


async def respond(exchange: Exchange) -> Response:
    """An answer, at once or as a stream of events. Nothing is stored: send what was said before."""
    body = await exchange.read(ResponsesBody)
    effective = exchange.find_model(body.model)
    request = _request(exchange, body)
    written = _Response(exchange.answer_id, body)
    if body.stream:
        return await exchange.stream(effective, request, _Events(written))
    return JSONResponse(written.whole(await exchange.answer(effective, request)))


def _request(exchange: Exchange, body: ResponsesBody) -> Request:
    """What the body asks for, as `Answerer` takes it."""
    choice = body.tool_choice
    return exchange.request(
        messages=tuple(_turns(body)),
        generation=body.generation(max_output_tokens=body.max_output_tokens),
        **form_of(_format(body)),
        tools=tuple(map(_function, body.tools or ())),
        tool_choice=RequiredTool(choice.name)
        if isinstance(choice, NamedTool)
        else choice or "auto",
        user=body.user,
    )


def _format(body: ResponsesBody) -> ResponseFormat | None:
    """The form of the answer, as chat completions have it."""
    wanted = body.text.format if body.text else None
    if wanted is None:
        return None
    schema = NamedSchema(name=wanted.name, schema=wanted.schema_)
    return ResponseFormat(type=wanted.type, json_schema=schema)


def _function(tool: Tool) -> Mapping[str, Any]:
    function = tool.model_dump(include={"name", "description", "parameters"}, exclude_none=True)
    return {"type": "function", "function": function}


def _turns(body: ResponsesBody) -> Iterator[Message]:
    """The conversation as templates read it."""
    if body.instructions:
        yield Message("system", body.instructions)
    if isinstance(body.input, str):
        yield Message("user", body.input)
        return
    for item in body.input:
        match item:
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                yield Message(role, _text(item.content))
            case CallItem():
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                yield Message("assistant", "", {"tool_calls": [call]})
            case CallOutputItem():
                yield Message("tool", _text(item.output), {"tool_call_id": item.call_id})


def _text(content: str | list[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


@dataclass(frozen=True, slots=True)
class _Response:
    """What is written of an answer."""

    answer_id: str
    body: ResponsesBody
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def item_id(self) -> str:
        """The id of the message in the answer."""
        return f"msg_{self.answer_id}"

    def around(self, status: str, output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The object of a response."""
        body = self.body
        return {
            "id": f"resp_{self.answer_id}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": {},
            "model": body.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            **more,
        }

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The whole answer."""
        output = [self.message("completed", answer.text)] if answer.text else []
        output += [_called(answer.id, place, call) for place, call in enumerate(answer.tool_calls)]
        if not output:
            output = [self.message("completed", "")]
        more: dict[str, Any] = {"usage": _usage(answer.usage), **marks_of(answer)}
        status = "completed"
        if answer.finish == "length":
            status = "incomplete"
            more["incomplete_details"] = {"reason": "max_output_tokens"}
        elif answer.finish == "refused":
            status = "incomplete"
            more["incomplete_details"] = {"reason": "content_filter"}
        return self.around(status, output, **more)

    def message(self, status: str, text: str | None) -> dict[str, Any]:
        """The message in the answer; without content while None."""
        content = [] if text is None else [_part(text)]
        return {
            "type": "message",
            "id": self.item_id,
            "role": "assistant",
            "status": status,
            "content": content,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _called(answer_id: str, place: int, call: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{answer_id}_{place}",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "completed",
    }


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class _Events:
    """The answer as a stream of events (`exchange.EventWriter`)."""

    def __init__(self, written: _Response) -> None:
        self._written = written
        self._text = ""
        self._is_open = False
        """Whether the message has begun."""
        self._number = -1

    def begin(self) -> Iterator[str]:
        response = self._written.around("in_progress", [])
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def piece(self, text: str) -> Iterator[str]:
        if not self._is_open:
            yield from self._open()
        self._text += text
        yield self._of_text("response.output_text.delta", delta=text, logprobs=[])

    def end(self, answer: Answer) -> Iterator[str]:
        if not self._is_open and not answer.tool_calls:
            yield from self._open()
        whole = self._written.whole(answer)
        if self._is_open:
            yield self._of_text("response.output_text.done", text=self._text, logprobs=[])
            yield self._of_text("response.content_part.done", part=_part(self._text))
        for place, item in enumerate(whole["output"]):
            if item["type"] == "function_call":
                started = item | {"arguments": "", "status": "in_progress"}
                yield self._event("response.output_item.added", output_index=place, item=started)
                about = {"item_id": item["id"], "output_index": place}
                arguments = item["arguments"]
                yield self._event(
                    "response.function_call_arguments.delta", delta=arguments, **about
                )
                yield self._event(
                    "response.function_call_arguments.done",
                    arguments=arguments,
                    name=item["name"],
                    **about,
                )
            yield self._event("response.output_item.done", output_index=place, item=item)
        yield self._event(f"response.{whole['status']}", response=whole)

    def fail(self, problem: Problem) -> Iterator[str]:
        failed = {"code": "server_error", "message": problem.message}
        response = self._written.around("failed", [], error=failed)
        yield self._event("response.failed", response=response)

    def _open(self) -> Iterator[str]:
        self._is_open = True
        item = self._written.message("in_progress", None)
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._of_text("response.content_part.added", part=_part(""))

    def _of_text(self, kind: str, **content: Any) -> str:
        about = {"item_id": self._written.item_id, "output_index": 0, "content_index": 0}
        return self._event(kind, **about, **content)

    def _event(self, kind: str, **content: Any) -> str:
        self._number += 1
        return server_event({"type": kind, "sequence_number": self._number, **content}, name=kind)


ROUTES = (
    Route(
        method="POST",
        path="/v1/responses",
        handle=respond,
        scope="chat",
        summary="An answer, with nothing stored between requests",
        body=ResponsesBody,
        schema_field="text.format",
    ),
)
