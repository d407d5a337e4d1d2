"""The Hugging Face hub on loopback, for the real client: one repository, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """As much of the Hugging Face hub as the real client asks for, with faults on request."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], *, repo: str = "acme/tiny") -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = dict(files)
        self.repo = repo
        """The one repository; that of a data set begins with `datasets/`."""
        self.former: dict[str, dict[str, bytes]] = {}
        """The files of earlier commits."""
        self.asked: list[tuple[str, str, str | None]] = []
        self.garbled: dict[str, bytes] = {}
        """Bytes to send instead of those that are announced."""
        self.refusal: tuple[int, str] | None = None
        """Status and X-Error-Code to answer every request for a file with."""
        self.cut_after_bytes: int | None = None
        """Where to break off the weights, the next time they are sent."""
        self.hold: threading.Event | None = None
        """If set, a broken-off answer keeps its connection open until this event."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""

    def ranges_of(self, name: str) -> list[str | None]:
        """The Range header of every GET of a file, in order."""
        return [
            asked_range
            for method, path, asked_range in self.asked
            if method == "GET" and path.endswith(f"/{name}")
        ]


class _HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path
        asked_range = self.headers.get("Range")
        self.server.asked.append((self.command, path, asked_range))
        repo = self.server.repo
        api = f"/api/{repo}" if repo.startswith("datasets/") else f"/api/models/{repo}"
        if path.startswith(f"{api}/tree/"):
            commit = path.removeprefix(f"{api}/tree/")
            files = self.server.former.get(commit, self.server.files)
            return self._send_json(200, [_entry(name, data) for name, data in files.items()])
        if path == api:
            newest = {"id": repo, "sha": COMMIT, "lastModified": "2026-11-02T10:00:00.000Z"}
            return self._send_json(200, newest)
        if path.startswith(f"{api}/revision/"):
            named = repo.removeprefix("datasets/")
            return self._send_json(200, {"id": named, "sha": COMMIT, "siblings": []})
        prefix = f"/{repo}/resolve/{COMMIT}/"
        path = path.replace(f"/{repo}/resolve/main/", prefix)
        if self.server.refusal and path.startswith(prefix):
            status, code = self.server.refusal
            return self._send_json(status, {"error": code}, {"X-Error-Code": code})
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in self.server.files:
            return self._send_json(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        return self._send_file(name, asked_range, with_body=with_body)

    def _send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, name: str, asked_range: str | None, *, with_body: bool) -> None:
        data = self.server.files[name]
        sent = self.server.garbled.get(name, data)
        start = int(asked_range.removeprefix("bytes=").split("-")[0]) if asked_range else 0
        self.send_response(206 if asked_range else 200)
        self.send_header("ETag", f'"{_etag(name, data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if asked_range:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not with_body:
            return
        cut = self.server.cut_after_bytes
        if cut is not None and name == "model.safetensors" and start == 0:
            self.wfile.write(data[:cut])
            self.wfile.flush()
            if self.server.hold is not None:
                self.server.hold.wait(60)
            self.server.cut_after_bytes = None
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(sent[start:])


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(data), "oid": _git_hash(data)}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": _etag(name, data), "size": len(data), "pointerSize": 134}
    return entry


def _etag(name: str, data: bytes) -> str:
    is_large = name.endswith(".safetensors")
    return hashlib.sha256(data).hexdigest() if is_large else _git_hash(data)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block the server answers, and HF_ENDPOINT names it."""
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield
    if server.hold is not None:
        server.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()
