"""The real clients against servers that misbehave, each in one named way.

Whatever comes, a call ends in time, with an answer or with a failure of the right class, after one
request, and the key is in nothing that it gives.
"""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from modelyard.providers.call import CallFailure, Reply
from provider_calls import KEY, Caller, ask
from provider_server import (
    END,
    Step,
    chat,
    chat_event,
    chat_events,
    chunk,
    drip,
    endless,
    event,
    head,
    whole,
)

Script = Callable[[], Iterable[Step]]
HELLO = chat_event({"content": "Hello"})
CHAT_END = [*map(chunk, chat_events(" there")), END]
BEGUN = [head(), chunk(HELLO)]
"""The beginning of a streamed answer, one piece of text long."""
PAGE = "<!DOCTYPE html><html><body>Sign in</body></html>"
HTML = "Content-Type: text/html"


def body_of(length: str, data: bytes) -> list[Step]:
    line = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\n\r\n"
    return [line.encode() + data]


def completion(**changes: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "Ann."}
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return {"id": "chat-2", "model": "some-1", "choices": [choice], "usage": usage, **changes}


def tool_call() -> bytes:
    call = {"index": 0, "id": "call-1", "function": {"name": "search", "arguments": "{}"}}
    return chat_event({"tool_calls": [call]})


def with_usage(usage: Any) -> list[Step]:
    return chat("Ann leads", " sales.", usage=usage)


WAYS: dict[str, tuple[Iterable[Step] | Script, str]] = {
    # When bytes come, and whether they do.
    "slow first byte": ([10.0], "timeout"),
    "silence after the headers": ([head(), 10.0], "timeout"),
    "stall in the middle": ([*BEGUN, 10.0], "cut_off"),
    "headers that drip past the deadline": (lambda: drip(head() * 50, 0.02), "timeout"),
    "body that drips past the deadline": (
        lambda: [head(), *drip(chunk(b": waiting\n\n") * 50, 0.02)],
        "timeout",
    ),
    "keep-alive comments for ever": (
        lambda: [head(), *[chunk(b": keep-alive\n\n"), 0.05] * 200],
        "timeout",
    ),
    "1xx for ever": (lambda: endless(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "timeout"),
    "answer in single bytes": (lambda: drip(b"".join(chat("Ann leads sales.")), 0.0), "answered"),
    "1xx before the answer": ([b"HTTP/1.1 100 Continue\r\n\r\n", *chat("Ann.")], "answered"),
    # Connections.
    "reset before the answer": (["reset"], "unreachable"),
    "closed without a word": ([], "unreachable"),
    "reset after the headers": ([head(), 0.05, "reset"], "unreachable"),
    "reset in the middle": ([*BEGUN, 0.05, "reset"], "cut_off"),
    "closed in the middle": (BEGUN, "cut_off"),
    "end of the stream in the middle": ([*BEGUN, END], "cut_off"),
    # HTTP.
    "no HTTP": ([b"220 mail.example.com ESMTP\r\n\r\n"], "broken"),
    "content length too long": (body_of("Content-Length: 99999", HELLO), "cut_off"),
    "content length too short": (body_of("Content-Length: 20", HELLO), "broken"),
    "two content lengths": (body_of("Content-Length: 5\r\nContent-Length: 6", HELLO), "broken"),
    "content length of letters": (body_of("Content-Length: many", HELLO), "broken"),
    "chunk of no size": ([head(), b"zz\r\nHello\r\n"], "broken"),
    "headers without end": (lambda: endless(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000), "broken"),
    "protocol switched": (
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        "broken",
    ),
    "204": ([b"HTTP/1.1 204 No Content\r\n\r\n"], "broken"),
    "205 and nothing": (whole("205 Reset Content", b""), "broken"),
    "206": ([head("206 Partial Content"), *chat("Ann.")[1:]], "answered"),
    "304": ([b"HTTP/1.1 304 Not Modified\r\n\r\n"], "no_access"),
    "status 999": (whole("999 Denied", b"no"), "busy"),
    "empty body": (whole("200 OK", b""), "broken"),
    "empty stream": ([head(), END], "broken"),
    "only [DONE]": ([head(), chunk(event("[DONE]")), END], "broken"),
    "page with 200": (whole("200 OK", PAGE, HTML), "broken"),
    "page with 502": (whole("502 Bad Gateway", PAGE, HTML), "busy"),
    "wrong content type": ([head(content_type="text/plain"), *chat("Ann.")[1:]], "answered"),
    "no content type": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chat("Ann.")[1:]],
        "answered",
    ),
    "text and no events": (whole("200 OK", "Ann.", "Content-Type: text/plain"), "broken"),
    "headers twice": (
        [
            head("200 OK", "text/event-stream", "x-request-id: 1", "x-request-id: 2"),
            *chat("Ann.")[1:],
        ],
        "answered",
    ),
    "cookies": (
        [head("200 OK", "text/event-stream", "Set-Cookie: a=b; Path=/"), *chat("Ann.")[1:]],
        "answered",
    ),
    "redirect to another host": (
        whole("307 Temporary Redirect", b"", f"Location: http://127.0.0.2/?token={KEY}"),
        "no_access",
    ),
    "redirect to the same host": (whole("301 Moved", b"", "Location: /v1/chat"), "no_access"),
    # Sizes.
    "endless body": (lambda: [head(), *([chunk(b"data: " + b"x" * 65_536)] * 40)], "broken"),
    "huge line": (lambda: [head(), chunk(b"data: " + b"x" * 3_000_000), END], "broken"),
    "many events": (lambda: [*BEGUN, *([chunk(HELLO * 1_000)] * 20)], "cut_off"),
    "compressed, which was not asked for": (
        whole(
            "200 OK",
            gzip.compress(b"".join(chat_events("Ann."))),
            "Content-Type: text/event-stream",
            "Content-Encoding: gzip",
        ),
        "broken",
    ),
    "gzip bomb": (
        lambda: whole("200 OK", gzip.compress(b"x" * 20_000_000), "Content-Encoding: gzip"),
        "broken",
    ),
    "gzip bomb with an error": (
        lambda: whole("400 Bad", gzip.compress(b"x" * 20_000_000), "Content-Encoding: gzip"),
        "broken",
    ),
    "endless error": (lambda: [head("503 Busy"), *([chunk(b"x" * 65_536)] * 40)], "busy"),
    "error that stalls": ([head("429 Too Many"), chunk(b'{"error": '), 10.0], "busy"),
    # Events.
    "broken JSON": ([head(), chunk(b'data: {"choices": [\n\n'), END], "broken"),
    "broken JSON in the middle": ([*BEGUN, chunk(b"data: {oops\n\n"), END], "cut_off"),
    "JSON nested too deeply": (
        [head(), chunk(b"data: " + b"[" * 200_000 + b"\n\n"), END],
        "broken",
    ),
    "number of 5,000 digits": ([head(), chunk(b"data: " + b"9" * 5_000 + b"\n\n"), END], "broken"),
    "event that is a list": ([head(), chunk(event("[1, 2]")), END], "broken"),
    "event that is null": ([head(), chunk(event("null")), *CHAT_END], "broken"),
    "half of a UTF-8 character": (
        [head(), chunk(b'data: {"x": "\xe2\x82"}\n\n'), END],
        "broken",
    ),
    "UTF-8 character in two chunks": (
        lambda: [
            head(),
            *(chunk(bytes([byte])) for byte in b"".join(chat_events("caf\u00e9 \U0001f600"))),
        ],
        "answered",
    ),
    "fields of no event": (
        [head(), chunk(b"nonsense\nretry: soon\nid: \0\n\n"), *CHAT_END],
        "answered",
    ),
    "line ends of old Macs": (
        [head(), chunk(b"".join(chat_events("Ann.")).replace(b"\n", b"\r")), END],
        "answered",
    ),
    "byte order mark": ([head(), chunk(b"\xef\xbb\xbf"), *CHAT_END], "answered"),
    "missing [DONE]": (chat("Ann.", done=False), "answered"),
    "missing [DONE] and a stall": ([*chat("Ann.", done=False)[:-1], 10.0], "answered"),
    "trailing garbage": ([*chat("Ann.")[:-1], chunk(b"data: {oops\n\nmore"), END], "answered"),
    "garbage after the end": ([*chat("Ann."), b"\x00\xff garbage"], "answered"),
    "end of the events twice": (
        [head(), *map(chunk, [*chat_events("Ann.", done=False), *chat_events(usage=(12, 5))]), END],
        "answered",
    ),
    "text after the end": (
        [head(), *map(chunk, chat_events("Ann.", done=False)), chunk(HELLO), END],
        "answered",
    ),
    "error event in the middle": (
        [*BEGUN, chunk(event({"error": {"message": "overloaded", "code": 503}})), END],
        "cut_off",
    ),
    "error event at once": (
        [head(), chunk(event({"error": {"message": "no slot", "type": "server_error"}})), END],
        "busy",
    ),
    # Answers.
    "200 with an error": (whole("200 OK", {"error": {"message": "oh", "code": "x"}}), "busy"),
    "200 with an error of vLLM": (
        whole("200 OK", {"object": "error", "message": "bad", "code": 400}),
        "invalid",
    ),
    "whole answer instead of a stream": (whole("200 OK", completion()), "answered"),
    "whole answer without choices": (whole("200 OK", completion(choices=[])), "unreachable"),
    "whole answer that is no JSON": (whole("200 OK", b"{oops"), "broken"),
    "whole answer that is a list": (whole("200 OK", b"[]"), "broken"),
    "empty choices": ([head(), *[chunk(event({"choices": []}))] * 3, END], "unreachable"),
    "choices that are none": ([head(), chunk(event({"choices": "no"})), END], "broken"),
    "choice that is none": ([head(), chunk(event({"choices": ["no"]})), END], "broken"),
    "delta that is none": ([head(), chunk(chat_event(["no"])), END], "broken"),
    "null content": (
        [head(), chunk(chat_event({"role": "assistant", "content": None})), *CHAT_END],
        "answered",
    ),
    "nothing but null content": (
        [head(), chunk(chat_event({"content": None})), *chat()[1:]],
        "broken",
    ),
    "content that is a number": ([head(), chunk(chat_event({"content": 5})), END], "broken"),
    "content in parts": (
        [head(), chunk(chat_event({"content": [{"type": "text", "text": "Ann."}]})), *chat()[1:]],
        "answered",
    ),
    "empty answer": (chat(""), "broken"),
    "answer of spaces": (chat("  \n"), "broken"),
    "no text within the limit": (chat(finish="length"), "broken"),
    "cut at the limit": (chat("Ann leads", finish="length"), "answered"),
    "a tool call that nobody asked for": ([head(), chunk(tool_call()), *chat()[1:]], "broken"),
    "a tool call after text": ([*BEGUN, chunk(tool_call()), END], "cut_off"),
    "an end for a tool": (chat(finish="tool_calls"), "broken"),
    "an end for an unknown reason": (chat(finish="abort"), "broken"),
    "an end that is a number": ([head(), chunk(chat_event({}, 5)), END], "broken"),
    "a second choice": (
        [
            head(),
            chunk(event({"choices": [{"index": 1, "delta": {"content": "Bob."}}]})),
            *chat("Ann.")[1:],
        ],
        "answered",
    ),
    "content filter": (chat("I", finish="content_filter"), "refused"),
    "refusal": ([head(), chunk(chat_event({"refusal": "I cannot."})), *chat()[1:]], "refused"),
    # Usage.
    "usage missing": (with_usage(None), "estimated"),
    "usage of nothing": (with_usage((0, 0)), "estimated"),
    "usage negative": (with_usage((-5, 7)), "estimated"),
    "usage absurd": (with_usage((10**15, 7)), "estimated"),
    "usage of text": (with_usage({"prompt_tokens": "12", "completion_tokens": "x"}), "estimated"),
    "usage of true": (with_usage({"prompt_tokens": True, "completion_tokens": 5}), "estimated"),
    "usage of a list": (with_usage([1, 2]), "estimated"),
    "more cached than sent": (
        with_usage(
            {
                "prompt_tokens": 5,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 6},
            }
        ),
        "estimated",
    ),
}


def test_a_server_that_does_not_read(caller: Caller) -> None:
    """Longer than what the system takes for it: the deadline holds for sending too."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        settings = caller.settings(endpoint=endpoint)
        result = caller.send(settings, ask("long " * 4_000_000), timeout_s=1)
    assert outcome_of(result) == "timeout" and caller.took_s < 8


def outcome_of(result: Reply | CallFailure) -> str:
    if isinstance(result, CallFailure):
        return result.kind
    if result.finish == "refused":
        return "refused"
    return "estimated" if result.usage.is_estimated else "answered"


@pytest.mark.parametrize("way", WAYS)
def test_a_call_ends_in_time_and_in_the_right_class(caller: Caller, way: str) -> None:
    script, expected = WAYS[way]
    stalls = expected == "timeout" or (isinstance(script, list) and 10.0 in script)
    timeout_s = 0.5 if stalls else 20.0
    caller.server.answer(script() if callable(script) else script)
    result = caller.send(caller.settings(), timeout_s=timeout_s)
    assert outcome_of(result) == expected, result
    assert not stalls or caller.took_s < 8  # the server would have taken ten
    assert caller.count() == 1
    assert KEY not in repr(result) and KEY not in "".join(caller.shown)
    if isinstance(result, Reply):
        assert "".join(caller.shown) == result.text
    else:
        assert result.reason and "\n" not in result.reason and len(result.reason) < 400
        assert (result.kind == "cut_off") == bool("".join(caller.shown).strip())
        if result.kind == "cut_off":
            assert not result.is_temporary
            assert result.usage is not None and result.usage.is_estimated
