"""An embeddings API on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class EmbeddingServer(ThreadingHTTPServer):
    """An embeddings API on loopback: a text's vector is its length and its first letter."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        self.answers: list[tuple[int, dict[str, str], str]] = []
        """What to answer the next requests with, instead of vectors."""
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, str], str]] | None = None
        """What to answer a request by its body, instead of vectors."""
        self.spoil: Any = None
        """A function over the rows of an answer."""
        self.usage: Callable[[list[str]], dict[str, int]] | None = None
        """What an answer says of its tokens, by its texts; None: nothing."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        if self.server.answers:
            return self._send(*self.server.answers.pop(0))
        if self.server.answer is not None:
            return self._send(*self.server.answer(body))
        rows = [
            {"index": place, "embedding": [float(len(text)), float(ord(text[0])), 1.0]}
            for place, text in enumerate(body["input"])
        ]
        rows.reverse()  # the order is the index's business
        if self.server.spoil is not None:
            rows = self.server.spoil(rows)
        usage = self.server.usage
        said = {} if usage is None else {"usage": usage(body["input"])}
        return self._send(200, {}, json.dumps({"data": rows, **said}))

    def _send(self, status: int, headers: dict[str, str], text: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
