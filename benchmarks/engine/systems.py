"""A system under test: a process that stays, answers a batch when it is asked, and times it itself.

Systems live in environments of their own, so both ends of the pipe are here and need nothing but
Python: `System` in the benchmark, `serve` in the process. A line of JSON each way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent

Command = Sequence[str | Path]
"""An interpreter, the module that it runs, and that module's arguments."""
Reply = Mapping[str, Any]
Handler = Callable[..., Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts that are given at one time, and the adapter of each."""

    prompts: Sequence[Sequence[int]]
    """Token ids of each prompt."""
    adapters: Sequence[int | None]
    """The number of each prompt's adapter; None: the bare base."""
    new_tokens: int
    """How many tokens each answer has, whatever they are."""


class System:
    """One system's process. A context: it ends with the block."""

    def __init__(self, name: str, command: Command) -> None:
        """Start `PYTHON -m MODULE ...` in this repository and wait until it has loaded."""
        self.name = name
        python, *words = command
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [str(python), "-m", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()
        self.start_s = time.perf_counter() - began
        """How long it took until it could answer."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, what: str, **arguments: Any) -> Reply:
        """The reply of one of its handlers. Raises SystemExit when the process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it said last is on stderr
        return self._read()

    def tokens_per_s(self, batch: Batch) -> float:
        """New tokens a second over the batch, from its arrival to its last token."""
        reply = self.ask(
            "answer",
            prompts=[list(prompt) for prompt in batch.prompts],
            adapters=list(batch.adapters),
            new_tokens=batch.new_tokens,
        )
        expected = batch.new_tokens * len(batch.prompts)
        if reply["tokens"] != expected:
            raise SystemExit(f"{self.name} gave {reply['tokens']} tokens, not {expected}")
        return expected / float(reply["seconds"])

    def _read(self) -> Reply:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}")
        reply: Reply = json.loads(line)
        return reply

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()  # serve() ends with its input
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def serve(load: Callable[[], Mapping[str, Handler]]) -> None:
    """Load a system, then answer lines until there are no more.

    Whatever its libraries print goes to stderr: stdout carries replies only.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(value: Reply) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    handlers = load()
    reply({})
    for line in sys.stdin:
        asked = json.loads(line)
        reply(handlers[asked.pop("do")](**asked))


def timed(work: Callable[[], int]) -> Reply:
    """The reply of an `answer`: its seconds, and the tokens that `work` says it made."""
    began = time.perf_counter()
    tokens = work()
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def weight_options(setting: str) -> dict[str, Any]:
    """What `load_weights` is asked for by a SETTING: bf16, fp32, 4bit or 8bit."""
    if setting in ("4bit", "8bit"):
        return {"precision": "bf16", "quantize": setting}
    return {"precision": setting}
