"""What stands before every route: the header of each answer, and the end of the service.

A connection that is closed while its client still sends a body is reset, and the client never reads
why. So what is left of a body is taken, and thrown away, before such an answer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.serving.problems import stopping, style_of

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Sent with every answer."""
_TOO_SLOW = 408
"""The status of a request whose body did not come in time: its rest is not waited for."""
_THROWN_AWAY_S = 5.0
_THROWN_AWAY_BYTES = 64_000_000
"""The longest and the most that is taken of a body that nobody reads."""


class Gate:
    """Lets requests through until it is closed; from then on they get 503 and Retry-After."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._retry_after_s: float | None = None
        self.under_way = 0
        """Requests that were let through and are not answered to the last byte."""

    def close(self, retry_after_s: float) -> None:
        """Let no request through any more; another service may answer after so many seconds."""
        self._retry_after_s = retry_after_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            return

        body = _Body(scope, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self._retry_after_s is not None:
                    headers["Connection"] = "close"
                closes = body.closes or headers.get("Connection") == "close"
                if closes and message["status"] != _TOO_SLOW:
                    await body.throw_away()
            await send(message)

        if self._retry_after_s is None:
            self.under_way += 1
            try:
                await self._app(scope, body.receive, send_with_headers)
            finally:
                self.under_way -= 1
            return
        problem = stopping(self._retry_after_s)
        response = JSONResponse(
            problem.body(style_of(scope["path"])), problem.status, dict(problem.headers)
        )
        await response(scope, body.receive, send_with_headers)


class _Body:
    """The body of a request, as far as it is known to be read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        said = [word.strip().lower() for word in headers.get("connection", "").split(",")]
        self.closes = "close" in said or scope["http_version"] == "1.0"
        """Whether the connection ends with the answer."""
        self._waits = "expect" in headers
        self._receive = receive
        self._is_read = False

    async def receive(self) -> Message:
        """The next part of it."""
        message = await self._receive()
        self._waits = False
        self._is_read = not message.get("more_body", False)
        return message

    async def throw_away(self) -> None:
        """Take what is left of it, unless its client waits to be asked for it."""
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_THROWN_AWAY_S):
                while not self._is_read and not self._waits and taken < _THROWN_AWAY_BYTES:
                    taken += len((await self.receive()).get("body", b""))
