"""OpenAI's Chat Completions by the real client: what goes out, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.parts import Generation
from modelyard.providers.call import Call, Reply
from modelyard.providers.strict_schema import is_strict
from provider_calls import KEY, Caller, ask
from provider_server import END, chat, chat_events, chunk, event, head, whole

STRICT = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string"}}},
    "required": ["names"],
    "additionalProperties": False,
}


def test_what_goes_out(caller: Caller) -> None:
    caller.server.answer(chat("Ann."))
    call = Call(
        messages=(Message("system", "Be brief."), Message("user", "Who? \udce9")),
        generation=Generation(max_output_tokens=100, temperature=0.5, stop=("END",), seed=3),
        json_schema=STRICT,
    )
    caller.send(caller.settings(), call)
    (asked,) = caller.server.asked
    assert asked.line == "POST /v1/chat/completions HTTP/1.1"
    assert asked.body == {
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who? ?"},
        ],
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "stop": ["END"],
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": STRICT, "strict": True},
        },
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_what_comes_of_it(caller: Caller, finish: str) -> None:
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    events = map(chunk, chat_events("Ann", " led", " it.", finish=finish, usage=usage))
    caller.server.answer([head("200 OK", "text/event-stream", "x-request-id: 1"), *events, END])
    result = caller.send(caller.settings())
    assert isinstance(result, Reply)
    assert result.text == "Ann led it." and caller.shown == ["Ann", " led", " it."]
    assert (result.finish, result.model, result.request_id) == (finish, "some-1", "1")
    assert (result.usage.input_tokens, result.usage.cached_input_tokens) == (120, 100)
    assert (result.usage.output_tokens, result.usage.is_estimated) == (5, False)


def test_of_usage_in_every_event_that_of_the_end_counts(caller: Caller) -> None:
    def counted(said: str, made: int, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": said}, "finish_reason": finish}
        usage = {"prompt_tokens": 50, "completion_tokens": made, "prompt_cache_hit_tokens": 40}
        return chunk(event({"choices": [choice], "usage": usage}))

    pieces = [counted("Ann", 1), counted(" led", 2), counted(" it.", 3, "stop")]
    caller.server.answer([head(), *pieces, chunk(event("[DONE]")), END])
    result = caller.send(caller.settings())
    assert isinstance(result, Reply) and not result.usage.is_estimated
    assert (result.usage.output_tokens, result.usage.cached_input_tokens) == (3, 40)


def test_usage_that_is_missing_is_estimated_from_the_texts(caller: Caller) -> None:
    caller.server.answer(chat("x" * 300, usage=None))
    result = caller.send(caller.settings(), ask("y" * 3_000))
    assert isinstance(result, Reply) and result.usage.is_estimated
    assert result.usage.output_tokens == 100
    assert 1_000 < result.usage.input_tokens < 1_020


def test_halves_of_a_character_find_each_other_and_lone_ones_are_replaced(caller: Caller) -> None:
    def piece(escaped: str) -> bytes:
        return chunk(event(f'{{"choices": [{{"delta": {{"content": "{escaped}"}}}}]}}'))

    pieces = map(piece, ("one \\ud83d", "\\ude00 two \\ude00", " three \\ud83d"))
    caller.server.answer([head(), *pieces, *chat()[1:]])
    result = caller.send(caller.settings())
    assert isinstance(result, Reply)
    assert result.text == "one \U0001f600 two \ufffd three \ufffd" == "".join(caller.shown)


def test_no_key_sends_none(caller: Caller) -> None:
    caller.server.answer(chat("Ann."))
    assert isinstance(caller.send(caller.settings("openai_compatible", api_key=None)), Reply)
    assert "authorization" not in caller.server.asked[0].headers


def test_a_key_is_read_at_each_call(caller: Caller) -> None:
    settings = caller.settings(api_key="file:key")
    caller.server.answer(chat("Ann."))
    for key in ("first-key-1", "second-key-2"):
        (caller.project.root / "key").write_text(f"{key}\n")
        assert isinstance(caller.send(settings), Reply)
    sent = [asked.headers["authorization"] for asked in caller.server.asked]
    assert sent == ["Bearer first-key-1", "Bearer second-key-2"] and KEY not in sent


def test_refused_text_is_the_answer(caller: Caller) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    caller.server.answer(whole("200 OK", {"choices": [choice]}))
    result = caller.send(caller.settings())
    assert isinstance(result, Reply)
    assert (result.finish, result.text) == ("refused", "I cannot.")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (STRICT, True),
        ({"type": "string"}, True),
        ({**STRICT, "additionalProperties": True}, False),
        ({**STRICT, "required": []}, False),
        ({"type": "object"}, False),
        ({"type": ["object", "null"]}, False),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, False),
        ({"anyOf": [STRICT, {"type": "object"}]}, False),
        ({**STRICT, "$defs": {"a": {"type": "object"}}}, False),
        ({**STRICT, "$defs": {"a": STRICT}}, True),
    ],
)
def test_a_schema_is_strict_where_nothing_is_left_open(schema: Any, expected: bool) -> None:
    assert is_strict(schema) is expected
