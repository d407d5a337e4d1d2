"""The service against its bars, beside the engine and its peers, in one run: `make bench-serve`.

    python -m benchmarks.serving [--vllm PYTHON] [--only PART]... [--rounds N]
    python -m benchmarks.serving --soak SECONDS

Parts: speed, start. PYTHON is the interpreter of an environment that has vLLM. Exits 1 when a bar
is missed. Nothing else should be running: what others computed is named beside each figure.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.engine.speed import Case, Ratio, measure_speeds, render_speeds
from benchmarks.engine.systems import Command, System
from benchmarks.engine.table import Bar, Row, render
from benchmarks.serving.bench_project import (
    BenchProject,
    load_questions,
    write_project,
)
from benchmarks.serving.over_http import OverHttp, Served
from benchmarks.serving.soak import soak
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Silent
from modelyard.inference.machine import Machine, probe_machine
from modelyard.weights.local import LocalBase
from modelyard.weights.pull import require_base

_BASE = "smollm2-135m-instruct"
_PARTS = ("speed", "start")
_PYTHON = Path(sys.executable)
_HTTP = Case("service", "8 adapters", 8)
_RATIOS = (
    Ratio(
        Bar(what="over HTTP ÷ `Answerer` in process, 8 streams", prototype="", least=0.95),
        _HTTP,
        Case("in process", "8 adapters", 8),
    ),
    Ratio(
        Bar(what="the same ÷ the engine alone", prototype="", least=0.95),
        _HTTP,
        Case("engine", "8 adapters", 8),
    ),
    Ratio(
        Bar(what="the same ÷ transformers base, at 8", prototype="", least=0.9),
        _HTTP,
        Case("transformers", "base", 8),
    ),
    Ratio(
        Bar(what="the same ÷ vLLM on CPU with these adapters", prototype="", least=1.5),
        _HTTP,
        Case("vLLM", "8 adapters", 8),
    ),
)
_START = Bar(
    what="ready after start, less 1.3 × importing torch and transformers",
    prototype="vLLM 42 s",
    most=3000,
    unit="ms",
)
_IMPORT_SHARE = 1.3


def log(line: str) -> None:
    """A line of progress on stderr."""
    print(f"  {line}", file=sys.stderr, flush=True)


def main() -> int:
    asked = _parse()
    repository = find_project(Path(__file__).parent.parent.parent)
    base = require_base(repository, _BASE, progress=Silent())
    machine = probe_machine()
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as place:
        bench = write_project(Path(place) / "project", base, repository)
        if asked.soak:
            _, texts = load_questions(repository, base)
            return int(not soak(bench, list(texts.values()), seconds=asked.soak, report=log))
        rows: list[Row] = []
        if "speed" in (asked.only or _PARTS):
            rows += _measure_speed(asked, repository, bench, base, machine)
        if "start" in (asked.only or _PARTS):
            rows.append(_measure_start(bench, rounds=asked.rounds))
    print(f"{machine.describe()}, {machine.precision}, {asked.rounds} rounds\n\n{render(rows)}")
    return int(any(row.verdict == "missed" for row in rows))


def _measure_speed(
    asked: argparse.Namespace,
    repository: Project,
    bench: BenchProject,
    base: LocalBase,
    machine: Machine,
) -> Sequence[Row]:
    """Tokens a second of all, in interleaved rounds."""
    prompts, texts = load_questions(repository, base)
    setting = machine.precision
    commands: dict[str, Command] = {
        "in process": (
            *(_PYTHON, "benchmarks.serving.in_process"),
            *(bench.project.root, _BASE, repository.root),
        ),
        "engine": (
            _PYTHON,
            "benchmarks.engine.this_project",
            base.path,
            setting,
            *bench.folders,
        ),
        "transformers": (_PYTHON, "benchmarks.engine.peer_transformers", base.path, setting),
    }
    if asked.vllm:
        commands["vLLM"] = (
            asked.vllm,
            "benchmarks.engine.peer_vllm",
            base.path,
            setting,
            *bench.folders,
        )
    with ExitStack() as stack:
        systems: dict[str, System | OverHttp] = {}
        for name, command in commands.items():
            systems[name] = system = stack.enter_context(System(name, command))
            log(f"{name}: {system.start_s:.1f} s to start")
        served = stack.enter_context(Served(bench.project.root))
        systems["service"] = OverHttp(served, bench, texts)
        cases = [case for ratio in _RATIOS for case in (ratio.ours, ratio.other)]
        speeds = measure_speeds(systems, cases, prompts, rounds=asked.rounds, report=log)
    print(render_speeds(speeds) + "\n")
    return [ratio.row(speeds) for ratio in _RATIOS]


def _measure_start(bench: BenchProject, *, rounds: int) -> Row:
    """The service and the bare imports in turn, each a new process."""
    served_s, imported_s = [], []
    for _ in range(rounds):
        began_s = time.perf_counter()
        subprocess.run([_PYTHON, "-c", "import torch, transformers"], check=True)
        imported_s.append(time.perf_counter() - began_s)
        with Served(bench.project.root) as served:
            served_s.append(served.start_s)
    over_s = statistics.median(
        ours - _IMPORT_SHARE * theirs for ours, theirs in zip(served_s, imported_s, strict=True)
    )
    figures = f"{statistics.median(served_s):.2f} s against {statistics.median(imported_s):.2f} s"
    return _START.measured(1000 * over_s, figures)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--vllm", type=Path, metavar="PYTHON")
    parser.add_argument("--only", action="append", default=[], choices=_PARTS)
    parser.add_argument("--rounds", type=int, default=5, help="of each figure (default: 5)")
    parser.add_argument("--soak", type=float, default=0, metavar="SECONDS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
