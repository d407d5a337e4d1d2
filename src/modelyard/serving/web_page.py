"""The page at `/`: a chat with the models of a key, and how the service fares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "Cache-Control": "no-cache",
}


def mount_page(app: FastAPI) -> None:
    """Let an app answer with the page; it needs no key, and holds nothing of the project."""
    for path, (name, media_type) in _FILES.items():
        content = files("modelyard.serving").joinpath("page", name).read_bytes()
        give = _giving(content, media_type)
        app.add_api_route(
            path, give, methods=["GET", "HEAD"], include_in_schema=False, response_model=None
        )


def _giving(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def give(http: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return give
