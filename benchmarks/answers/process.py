"""`models ask` as a process, against a process that imports the client and makes the same call."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.answers.asking import LONGEST_ANSWER, REQUEST, asked_project
from benchmarks.engine.table import Bar, Row

PROCESS = Bar(
    what="`models ask` as a process, against importing openai and one call by the bare client",
    prototype="",
    most=1.35,
)
_BARE = """\
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
pieces = client.chat.completions.create(
    model="bench", messages=[{"role": "user", "content": sys.argv[2]}],
    max_tokens=int(sys.argv[3]), stream=True, stream_options={"include_usage": True},
)
print(*(piece.choices[0].delta.content or "" for piece in pieces if piece.choices), sep="")
"""


def measure_process(*, rounds: int = 15, warm_up: int = 2) -> Sequence[Row]:
    """The two in turn, each a new process, with a provider that answers at once."""
    with asked_project(worst_usd=1e-5) as (project, _, provider):
        question = REQUEST.question
        models = Path(sys.executable).with_name("models")
        ways: Sequence[Sequence[str]] = (
            (sys.executable, "-c", _BARE, provider.url, question, str(LONGEST_ANSWER)),
            (str(models), "ask", question),
        )
        environment = {**os.environ, "MODELS_PROJECT": str(project.root)}
        times_s: list[list[float]] = [[] for _ in ways]
        for number in range(warm_up + rounds):
            for way, taken in zip(ways, times_s, strict=True):
                began_s = time.perf_counter()
                subprocess.run(way, env=environment, check=True, capture_output=True)
                if number >= warm_up:
                    taken.append(time.perf_counter() - began_s)
    bare, ask = times_s
    ratio = statistics.median(more / less for more, less in zip(ask, bare, strict=True))
    figures = f"median {statistics.median(ask):.2f} s against {statistics.median(bare):.2f} s"
    return [PROCESS.measured(ratio, figures)]
