"""A provider on loopback: it answers each request with the bytes that it is told, and when."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Step = bytes | float | str
"""Bytes to send, seconds to wait, or `reset`: close with RST instead of FIN."""


@dataclass
class Asked:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: Any


@dataclass
class ProviderServer:
    """Answers with the next of its scripts, and with the last one again when they are used up.

    A path in `routes` always has the same answer.
    """

    scripts: list[Iterable[Step]] = field(default_factory=list)
    routes: dict[str, list[Step]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._context: ssl.SSLContext | None = None
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> ProviderServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._context = context

    def answer(self, *scripts: Iterable[Step]) -> None:
        """Answer the next requests so."""
        self.scripts = list(scripts)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
                self.connections += 1
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), self._encrypted(plain) as connection:
            while asked := self._read(connection):
                path = asked.line.split()[1]
                if not self._send(connection, self.routes.get(path) or self._next()):
                    break
        self._open.discard(plain)

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        return self._context.wrap_socket(plain, server_side=True) if self._context else plain

    def _next(self) -> Iterable[Step]:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    def _read(self, connection: socket.socket) -> Asked | None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in rest)}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        asked = Asked(line, headers, json.loads(body) if body else None)
        self.asked.append(asked)
        return asked

    def _send(self, connection: socket.socket, script: Iterable[Step]) -> bool:
        """Whether the connection can be used again."""
        steps = list(script) if isinstance(script, (list, tuple)) else script
        for step in steps:
            if isinstance(step, float):
                if self._stopped.wait(step):
                    return False
            elif step == "reset":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            else:
                assert isinstance(step, bytes)
                connection.sendall(step)
        return isinstance(steps, list) and bool(steps) and steps[-1] == END


END = b"0\r\n\r\n"
"""The end of a body in chunks."""


def head(status: str = "200 OK", content_type: str = "text/event-stream", *more: str) -> bytes:
    """A status and headers of a body in chunks."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", "Transfer-Encoding: chunked"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """Data as one chunk of a body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def whole(status: str, body: bytes | str | dict[str, Any], *headers: str) -> list[Step]:
    """An answer at once; JSON unless its headers say something else."""
    data = json.dumps(body) if isinstance(body, dict) else body
    data = data.encode() if isinstance(data, str) else data
    kind = (
        []
        if any(h.lower().startswith("content-type") for h in headers)
        else ["Content-Type: application/json"]
    )
    lines = [
        f"HTTP/1.1 {status}",
        *kind,
        *headers,
        f"Content-Length: {len(data)}",
        "Connection: close",
    ]
    return ["\r\n".join([*lines, "", ""]).encode() + data]


def event(data: Any, name: str | None = None) -> bytes:
    """A server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def drip(data: bytes, wait_s: float) -> Iterator[Step]:
    """One byte at a time."""
    for place in range(len(data)):
        yield data[place : place + 1]
        yield wait_s


def endless(data: bytes, every_s: float = 0.0) -> Iterator[Step]:
    """The same for ever, or rather for ten seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        yield data
        if every_s:
            yield every_s


def chat(
    *texts: str, finish: str | None = "stop", usage: Any = (12, 5), done: bool = True
) -> list[Step]:
    """A streamed answer of Chat Completions, a text in each event."""
    return [head(), *map(chunk, chat_events(*texts, finish=finish, usage=usage, done=done)), END]


def chat_events(
    *texts: str, finish: str | None = "stop", usage: Any = (12, 5), done: bool = True
) -> list[bytes]:
    """The events of it. usage: tokens of input and output, what stands there instead, or None."""
    events = [chat_event({"content": text}) for text in texts]
    if finish is not None:
        events.append(chat_event({}, finish))
    if isinstance(usage, tuple):
        usage = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    if usage is not None:
        events.append(event({"id": "chat-1", "model": "some-1", "choices": [], "usage": usage}))
    return [*events, *([event("[DONE]")] if done else [])]


def chat_event(delta: Any, finish: Any = None) -> bytes:
    """A chunk of Chat Completions."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "chat-1", "model": "some-1", "choices": [choice]})


def message(*texts: str, stop: Any = "end_turn", usage: Any = (12, 5)) -> list[Step]:
    """A streamed answer of Anthropic's Messages, a text in each event."""
    return [head(), *map(chunk, message_events(*texts, stop=stop, usage=usage)), END]


def message_events(*texts: str, stop: Any = "end_turn", usage: Any = (12, 5)) -> list[bytes]:
    """The events of it."""
    given, made = usage if isinstance(usage, tuple) else (usage, usage)
    started = {"id": "msg-1", "model": "some-1", "usage": {"input_tokens": given}}
    block = {"index": 0, "content_block": {"type": "text", "text": ""}}
    return [
        named_event("message_start", message=started),
        named_event("ping"),
        named_event("content_block_start", **block),
        *(text_event(text) for text in texts),
        named_event("content_block_stop", index=0),
        named_event("message_delta", delta={"stop_reason": stop}, usage={"output_tokens": made}),
        named_event("message_stop"),
    ]


def text_event(text: str) -> bytes:
    """A piece of text of Anthropic's Messages."""
    return named_event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def named_event(kind: str, **more: Any) -> bytes:
    """An event of Anthropic's Messages."""
    return event({"type": kind, **more}, kind)
