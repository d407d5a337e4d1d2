"""Every bar of the engine, measured beside its peers in one run, in one table: `make bench-engine`.

    python -m benchmarks.engine [--vllm PYTHON] [--llamacpp PYTHON] [--before DIR]
        [--only PART]... [--rounds N]
    python -m benchmarks.engine --soak MINUTES

Parts: speed, latency, bank, evaluate. PYTHON is the interpreter of an environment that has the
peer (vLLM; xllamacpp), DIR a checkout of this repository before the engine. Exits 1 when a bar is
missed. Nothing else should be running: what other processes computed is named beside each figure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.engine import evaluating
from benchmarks.engine.bars import MIXED_ADAPTERS, RESIDENT_ADAPTERS
from benchmarks.engine.latency import LONG_PROMPT
from benchmarks.engine.parts import Bench
from benchmarks.engine.soak import soak
from benchmarks.engine.systems import Command
from benchmarks.engine.table import Row, render
from benchmarks.engine.workload import (
    base_gguf,
    load_long_prompts,
    load_prompts,
    write_adapters,
    write_lora_gguf,
)
from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Silent
from modelyard.inference.machine import Machine, probe_machine
from modelyard.weights.local import LocalBase
from modelyard.weights.pull import require_base

_BASE = "smollm2-135m-instruct"
_PARTS = ("speed", "latency", "bank", "evaluate")


def log(line: str) -> None:
    """A line of progress on stderr."""
    print(f"  {line}", file=sys.stderr, flush=True)


def main() -> int:
    asked = _parse()
    project = find_project(Path(__file__).parent.parent.parent)
    base = require_base(project, _BASE, progress=Silent())
    if not base.has_grid:
        raise SystemExit(
            "the base was converted before its four-bit integers were kept: run "
            f"`models base pull {_BASE} --force`"
        )
    machine = probe_machine()
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as place:
        bench = _prepare(asked, project, base, machine, Path(place))
        if asked.soak:
            with bench.engine(bench.adapters) as engine:
                return int(not soak(engine, bench.prompts, minutes=asked.soak, report=log))
        rows: list[Row] = []
        for name in asked.only or _PARTS:
            log(f"{name} ...")
            if name == "evaluate":
                rows += evaluating.measure(
                    project,
                    base,
                    bench.adapters[0],
                    before=asked.before,
                    folder=Path(place) / "evaluate",
                    repeats=asked.repeats,
                    report=log,
                )
            else:
                rows += bench.parts[name]()
    print(f"{machine.describe()}, {machine.precision}, {asked.rounds} rounds\n\n{render(rows)}")
    return int(any(row.verdict == "missed" for row in rows))


def _prepare(
    asked: argparse.Namespace, project: Project, base: LocalBase, machine: Machine, folder: Path
) -> Bench:
    many = asked.soak or not asked.only or "bank" in asked.only
    adapters = write_adapters(
        base.path, folder / "adapters", RESIDENT_ADAPTERS if many else MIXED_ADAPTERS
    )
    peers: dict[str, Command] = {}
    if asked.llamacpp:
        gguf, threads = base_gguf(project, base), str(machine.threads)
        lora = write_lora_gguf(base.path, adapters[0], folder / "lora.gguf")
        module = "benchmarks.engine.peer_llamacpp"
        peers["llama.cpp"] = asked.llamacpp, module, threads, gguf
        peers["llama.cpp with the adapter"] = asked.llamacpp, module, threads, gguf, lora
    if asked.vllm:
        mixed = adapters[:MIXED_ADAPTERS]
        module = "benchmarks.engine.peer_vllm"
        peers["vLLM"] = asked.vllm, module, base.path, machine.precision, *mixed
    return Bench(
        base=base.path,
        setting=machine.precision,
        prompts=load_prompts(project, base),
        long_prompts=load_long_prompts(project, base, tokens=LONG_PROMPT),
        adapters=adapters,
        peers=peers,
        rounds=asked.rounds,
        report=log,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--vllm", type=Path, metavar="PYTHON", help="of an environment that has vLLM"
    )
    parser.add_argument(
        "--llamacpp", type=Path, metavar="PYTHON", help="of an environment that has xllamacpp"
    )
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="a checkout that `models evaluate` is run from"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=_PARTS,
        help="one part (may be given again)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each figure (default: 5)")
    parser.add_argument("--repeats", type=int, default=1, help="of evaluate (default: 1)")
    parser.add_argument(
        "--soak", type=float, default=0, metavar="MINUTES", help="only watch memory under load"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
