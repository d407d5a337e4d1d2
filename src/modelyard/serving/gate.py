"""What stands before every route: the header of each answer, and the end of the service."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.serving.problems import stopping, style_of

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Sent with every answer."""


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

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self._retry_after_s is not None:
                    headers["Connection"] = "close"
            await send(message)

        if self._retry_after_s is None:
            self.under_way += 1
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                self.under_way -= 1
            return
        problem = stopping(self._retry_after_s)
        response = JSONResponse(
            problem.body(style_of(scope["path"])), problem.status, dict(problem.headers)
        )
        await response(scope, receive, send_with_headers)
