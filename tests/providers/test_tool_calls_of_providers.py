"""Tools of a request and the calls that a provider wants, by the real clients."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.parts import Generation
from modelyard.providers.call import Call, CallFailure, NamedTool, Reply, ToolChoice
from provider_calls import Caller, ask
from provider_server import END, chat_event, chunk, event, head, message_events, named_event

SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}}}
FIND = {
    "type": "function",
    "function": {"name": "find", "description": "Who it is", "parameters": SCHEMA},
}
CALLED = [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}]
TURNS = (
    Message("user", "Who is 7?"),
    Message("assistant", "", {"tool_calls": CALLED}),
    Message("tool", "Ada", {"tool_call_id": "c1"}),
)
PARTS = [
    {"index": 0, "id": "c2", "type": "function", "function": {"name": "find", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"id"'}},
    {"index": 1, "id": "c3", "function": {"name": "go", "arguments": ""}},
    {"index": 0, "function": {"arguments": ": 8}"}},
]


def with_tools(choice: ToolChoice = "auto") -> Call:
    return Call(
        messages=TURNS,
        generation=Generation(max_output_tokens=100),
        tools=(FIND,),
        tool_choice=choice,
    )


def calls_of(reply: object) -> list[tuple[str, str, str]]:
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish) == ("I look.", "tool_calls")
    return [(each.id, each.name, each.arguments) for each in reply.tool_calls]


def openai_calls() -> list[Any]:
    usage = {"prompt_tokens": 12, "completion_tokens": 5}
    events = [
        chat_event({"content": "I look."}),
        *(chat_event({"tool_calls": [part]}) for part in PARTS),
        chat_event({}, "tool_calls"),
        event({"id": "chat-1", "choices": [], "usage": usage}),
        event("[DONE]"),
    ]
    return [head(), *map(chunk, events), END]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        (NamedTool("find"), {"type": "function", "function": {"name": "find"}}),
    ],
)
def test_chat_completions(caller: Caller, choice: ToolChoice, sent: object) -> None:
    caller.server.answer(openai_calls())
    reply = caller.send(caller.settings(), with_tools(choice))
    assert calls_of(reply) == [("c2", "find", '{"id": 8}'), ("c3", "go", "{}")]
    body = caller.server.asked[0].body
    assert (body["tools"], body["tool_choice"]) == ([FIND], sent)
    assert body["messages"][1] == {"role": "assistant", "content": "", "tool_calls": CALLED}
    assert body["messages"][2] == {"role": "tool", "content": "Ada", "tool_call_id": "c1"}
    assert caller.shown == ["I look."]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        (NamedTool("find"), {"type": "tool", "name": "find"}),
    ],
)
def test_messages(caller: Caller, choice: ToolChoice, sent: object) -> None:
    started, ping, block, text, stop, *_ = message_events("I look.", stop="tool_use")
    begin = {"type": "tool_use", "id": "t1", "name": "find", "input": {}}
    parts = [{"type": "input_json_delta", "partial_json": part} for part in ('{"id"', ": 8}")]
    ended = message_events(stop="tool_use")[-2:]
    events = [
        *(started, ping, block, text, stop),
        named_event("content_block_start", index=1, content_block=begin),
        *(named_event("content_block_delta", index=1, delta=part) for part in parts),
        named_event("content_block_stop", index=1),
        *ended,
    ]
    caller.server.answer([head(), *map(chunk, events), END])
    reply = caller.send(caller.settings("anthropic"), with_tools(choice))
    assert calls_of(reply) == [("t1", "find", '{"id": 8}')]
    body = caller.server.asked[0].body
    wanted = {"name": "find", "description": "Who it is", "input_schema": SCHEMA}
    assert (body["tools"], body["tool_choice"]) == ([wanted], sent)
    asked, called, answered = body["messages"]
    assert asked == {"role": "user", "content": "Who is 7?"}
    assert called["content"] == [
        {"type": "tool_use", "id": "c1", "name": "find", "input": {"id": 7}}
    ]
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "Ada"}
    assert answered == {"role": "user", "content": [result]}


def test_a_call_that_nobody_asked_for_is_no_answer(caller: Caller) -> None:
    caller.server.answer(openai_calls())
    failure = caller.send(caller.settings(), ask())
    assert isinstance(failure, CallFailure)
    assert "nobody asked for" in failure.reason
