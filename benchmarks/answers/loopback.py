"""A provider on loopback, in a process of its own, that writes down when each request arrived.

    python -m benchmarks.answers.loopback LOG --output-tokens N [--delay-s S] [--status 503]

It bills a request as soon as it is there, whether its client lives to see the answer or not. It is
plain asyncio, so that it costs little beside the clients that are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the provider answers."""

    output_tokens: int
    """The tokens that it reports, and bills."""
    delay_s: float = 0.0
    """Seconds from a request to its answer."""
    status: int = 200
    """The HTTP status."""


class Loopback:
    """The provider, while the block lasts."""

    def __init__(self, log: Path, answers: Answers) -> None:
        self._log, self._answers = log, answers

    def __enter__(self) -> Loopback:
        command = [sys.executable, "-m", "benchmarks.answers.loopback", str(self._log)]
        command += ["--output-tokens", str(self._answers.output_tokens)]
        command += ["--delay-s", str(self._answers.delay_s), "--status", str(self._answers.status)]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def arrivals(self) -> list[float]:
        """When each request arrived so far, in seconds since 1970, ascending."""
        return sorted(float(line) for line in self._log.read_text().split())


def event(value: object) -> bytes:
    """One event of a stream."""
    data = value if isinstance(value, str) else json.dumps(value)
    return f"data: {data}\n\n".encode()


def stream(output_tokens: int) -> bytes:
    """A whole answer as OpenAI streams it."""
    about = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    usage = {"prompt_tokens": 10, "completion_tokens": output_tokens}
    usage["total_tokens"] = sum(usage.values())
    said = {"index": 0, "delta": {"role": "assistant", "content": "Ann."}, "finish_reason": None}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return b"".join(
        [
            event({**about, "choices": [said]}),
            event({**about, "choices": [ended]}),
            event({**about, "choices": [], "usage": usage}),
            event("[DONE]"),
        ]
    )


def response(answers: Answers) -> bytes:
    """The bytes of each answer."""
    ok = answers.status == 200
    body = stream(answers.output_tokens) if ok else b'{"error": {"message": "busy"}}'
    kind = "text/event-stream" if ok else "application/json"
    head = f"HTTP/1.1 {answers.status} X\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def serve(log: Path, answers: Answers) -> None:
    """Answer until the process is ended; the port is printed first."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sent = response(answers)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                os.write(handle, f"{time.time():.6f}\n".encode())
                if answers.delay_s:
                    await asyncio.sleep(answers.delay_s)
                writer.write(sent)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers.loopback")
    parser.add_argument("log", type=Path)
    parser.add_argument("--output-tokens", type=int, required=True)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    asked = parser.parse_args()
    asyncio.run(serve(asked.log, Answers(asked.output_tokens, asked.delay_s, asked.status)))
