"""Anthropic's Messages by the real client: what goes out, what is read, and what is no answer."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.parts import Generation
from modelyard.providers.call import Call, CallFailure, Reply
from provider_calls import KEY, Caller, ask
from provider_server import (
    END,
    Step,
    chunk,
    event,
    head,
    message,
    message_events,
    named_event,
    text_event,
    whole,
)

EVENTS = message_events("Ann")
BEGUN = [head(), *map(chunk, EVENTS[:4])]


def at(place: int, *more: bytes) -> list[Step]:
    """An answer with more events at a place."""
    return [head(), *map(chunk, [*EVENTS[:place], *more, *EVENTS[place:]]), END]


def block(kind: str, **more: object) -> bytes:
    return named_event("content_block_start", index=1, content_block={"type": kind, **more})


def delta(kind: str, **more: object) -> bytes:
    return named_event("content_block_delta", index=1, delta={"type": kind, **more})


WAYS: dict[str, tuple[Iterable[Step], str]] = {
    "stall in the middle": ([*BEGUN, 10.0], "cut_off"),
    "slow first byte": ([10.0], "timeout"),
    "reset before the answer": (["reset"], "unreachable"),
    "reset in the middle": ([*BEGUN, 0.05, "reset"], "cut_off"),
    "end in the middle": ([*BEGUN, END], "cut_off"),
    "end before the message's": ([head(), *map(chunk, EVENTS[:5]), END], "cut_off"),
    "missing message_stop": ([head(), *map(chunk, EVENTS[:-1]), END], "answered"),
    "garbage after message_stop": ([*message("Ann")[:-1], chunk(b"data: {oops\n\n")], "answered"),
    "events without a name": (
        [head(), *(chunk(event({"type": "x"})) for _ in "ab"), END],
        "broken",
    ),
    "unknown events": (at(1, named_event("fireworks", colour="red")), "answered"),
    "unknown block": (at(5, block("fireworks"), delta("fireworks_delta")), "answered"),
    "thoughts": (
        at(1, block("thinking", thinking=""), delta("thinking_delta", thinking="Hm.")),
        "answered",
    ),
    "a tool call that nobody asked for": (at(1, block("tool_use", name="search")), "broken"),
    "a piece of a tool call": (at(1, delta("input_json_delta", partial_json="{}")), "broken"),
    "an end for a tool": (message(stop="tool_use"), "broken"),
    "an end for a pause": (message(stop="pause_turn"), "broken"),
    "an end that is a list": (message(stop=["end_turn"]), "broken"),
    "the beginning twice": ([head(), *map(chunk, [EVENTS[0], *EVENTS]), END], "answered"),
    "a second beginning in the middle": (at(4, EVENTS[0]), "cut_off"),
    "no delta": ([head(), chunk(named_event("content_block_delta", index=0)), END], "broken"),
    "text that is a number": ([head(), chunk(text_event(5)), END], "broken"),  # type: ignore[arg-type]
    "event that is a list": ([head(), chunk(event("[1]", "message_start")), END], "broken"),
    "broken JSON in the middle": ([*BEGUN, chunk(event("{oops", "ping2")), END], "cut_off"),
    "half of a UTF-8 character": (
        [head(), chunk(b'event: x\ndata: "\xe2\x82"\n\n'), END],
        "broken",
    ),
    "error event in the middle": (
        [*BEGUN, chunk(named_event("error", error={"type": "overloaded_error"})), END],
        "cut_off",
    ),
    "error event that is no JSON": ([head(), chunk(event("oops", "error")), END], "busy"),
    "200 with an error": (
        whole("200 OK", {"type": "error", "error": {"type": "api_error"}}),
        "busy",
    ),
    "page with 200": (whole("200 OK", "<html>", "Content-Type: text/html"), "broken"),
    "whole answer that is no message": (whole("200 OK", {"content": "Ann"}), "broken"),
    "empty answer": (message(), "broken"),
    "cut at the limit": (message("Ann", stop="max_tokens"), "answered"),
    "context is full": (message("Ann", stop="model_context_window_exceeded"), "answered"),
    "refusal": (message("I cannot.", stop="refusal"), "refused"),
    "refusal without words": (message(stop="refusal"), "refused"),
    "usage missing": (message("Ann", usage=None), "estimated"),
    "usage absurd": (message("Ann", usage=(12, 10**12)), "estimated"),
    "usage of text": (message("Ann", usage="12"), "estimated"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_call_ends_in_time_and_in_the_right_class(caller: Caller, way: str) -> None:
    script, expected = WAYS[way]
    caller.server.answer(script)
    result = caller.send(
        caller.settings("anthropic"), timeout_s=0.5 if 10.0 in list(script) else 20.0
    )
    if isinstance(result, CallFailure):
        found: str = result.kind
    else:
        found = "estimated" if result.usage.is_estimated else "answered"
        found = "refused" if result.finish == "refused" else found
        assert "".join(caller.shown) == result.text
    assert found == expected, result
    assert caller.took_s < 8 and caller.count() == 1  # a stall would have taken ten
    assert KEY not in repr(result)


def test_what_goes_out(caller: Caller) -> None:
    caller.server.answer(message("Ann"))
    call = Call(
        messages=(
            Message("system", "Be brief."),
            Message("user", "Who leads sales? \ud83d"),
            Message("assistant", "Ann."),
            Message("user", "Since when?"),
        ),
        generation=Generation(max_output_tokens=100, temperature=0.5, stop=("END",), seed=3),
        json_schema={"type": "object"},
    )
    result = caller.send(caller.settings("anthropic"), call)
    assert isinstance(result, Reply) and result.not_taken == ("seed",)
    (asked,) = caller.server.asked
    assert asked.line == "POST /v1/messages HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "some-model",
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Who leads sales? ?"},
            {"role": "assistant", "content": "Ann."},
            {"role": "user", "content": "Since when?"},
        ],
        "max_tokens": 100,
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stream": True,
    }


def test_tokens_of_the_cache_belong_to_the_input(caller: Caller) -> None:
    counts = {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 30,
    }
    started = {"id": "msg-1", "model": "some-1", "usage": {**counts, "output_tokens": 1}}
    caller.server.answer(
        [head(), *map(chunk, [named_event("message_start", message=started), *EVENTS[1:]]), END]
    )
    result = caller.send(caller.settings("anthropic"))
    assert isinstance(result, Reply)
    usage = result.usage
    assert (usage.input_tokens, usage.output_tokens, usage.is_estimated) == (240, 5, False)
    assert (usage.cached_input_tokens, usage.cache_write_tokens) == (200, 30)
    assert (result.model, result.request_id, result.finish) == ("some-1", "msg-1", "stop")


def test_a_cut_answer_keeps_the_input_that_was_reported(caller: Caller) -> None:
    caller.server.answer([*BEGUN, END])
    result = caller.send(caller.settings("anthropic"))
    assert isinstance(result, CallFailure) and result.usage is not None
    assert (result.usage.input_tokens, result.usage.is_estimated) == (12, True)
    assert result.request_id == "msg-1"


def test_a_whole_message_is_read_where_nothing_streams(caller: Caller) -> None:
    caller.server.answer(
        whole(
            "200 OK",
            {
                "id": "msg-2",
                "content": [{"type": "thinking", "thinking": ""}, {"type": "text", "text": "Ann"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 12, "output_tokens": 5},
            },
        )
    )
    result = caller.send(caller.settings("anthropic"), ask())
    assert isinstance(result, Reply) and result.text == "Ann" and caller.shown == ["Ann"]
    assert not result.usage.is_estimated
