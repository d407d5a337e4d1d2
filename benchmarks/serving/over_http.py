"""The service as a process of its own, and eight clients that read streams from it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.engine.systems import Batch
from benchmarks.serving.bench_project import BenchProject, adapter_name

_START_S = 120.0
_POLL_S = 0.02


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Served:
    """`models serve` of a project. A context: it is stopped with the block."""

    def __init__(self, project: Path, *options: str) -> None:
        """Start it, and wait until it is ready to answer."""
        self.port = free_port()
        models = Path(sys.executable).with_name("models")
        began_s = time.perf_counter()
        self.process = subprocess.Popen(
            [str(models), "serve", "--port", str(self.port), *options],
            env={**os.environ, "MODELS_PROJECT": str(project), "HF_HUB_OFFLINE": "1"},
        )
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() - began_s > _START_S:
                self.process.kill()
                raise SystemExit(f"`models serve` did not start: {self.process.wait()}")
            time.sleep(_POLL_S)
        self.start_s = time.perf_counter() - began_s
        """Seconds from its start until it is ready."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> HTTPConnection:
        """A connection of one client."""
        return HTTPConnection("127.0.0.1", self.port, timeout=_START_S)

    def _is_ready(self) -> bool:
        connection = self.connect()
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def chat_body(model: str, question: str, *, new_tokens: int) -> dict[str, Any]:
    """A request for the likeliest answer as a stream."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": new_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def read_stream(connection: HTTPConnection, key: str, body: Mapping[str, Any]) -> tuple[str, int]:
    """The text of an answer, and its tokens. Raises SystemExit when there is none."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"the service answered {response.status}: {response.read()!r}")
    pieces, tokens = [], 0
    while line := response.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise SystemExit(f"the service broke off: {event}")
        if event.get("usage"):
            tokens = event["usage"]["completion_tokens"]
        pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
    return "".join(pieces), tokens


class OverHttp:
    """Clients of a service, one for each stream (`engine.systems.System`)."""

    name = "service"

    def __init__(
        self, served: Served, bench: BenchProject, questions: Mapping[Sequence[int], str]
    ) -> None:
        self._served, self._bench, self._questions = served, bench, questions
        self._clients = ThreadPoolExecutor(64)

    @property
    def pid(self) -> int:
        return self._served.pid

    def tokens_per_s(self, batch: Batch) -> float:
        """New tokens a second over the batch, from its first byte to its last."""
        bodies = []
        for prompt, adapter in zip(batch.prompts, batch.adapters, strict=True):
            assert adapter is not None
            question = self._questions[tuple(prompt)]
            body = chat_body(adapter_name(adapter), question, new_tokens=batch.new_tokens)
            bodies.append((self._bench.keys[adapter], body))
        began_s = time.perf_counter()
        answers = list(self._clients.map(self._ask, *zip(*bodies, strict=True)))
        seconds = time.perf_counter() - began_s
        expected = batch.new_tokens * len(batch.prompts)
        if sum(tokens for _, tokens in answers) != expected:
            raise SystemExit(f"{self.name}: not {batch.new_tokens} tokens each: {answers}")
        return expected / seconds

    def _ask(self, key: str, body: Mapping[str, Any]) -> tuple[str, int]:
        with closing(self._served.connect()) as connection:
            return read_stream(connection, key, body)
