"""What it costs to record an answer, and how fast the spool is folded and read.

`python benchmarks/traffic.py` works in a folder of its own below --folder (default: the one for
temporary files; a tmpfs is faster than a disk). Prints medians of --rounds rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.core.layout import Project
from modelyard.monitoring.fold import fold
from modelyard.monitoring.samples import read_samples
from modelyard.records.sample import Sample, new_answer_id
from modelyard.records.spool import Recorder


def make_samples(count: int) -> list[Sample]:
    """Samples with every field that an answer of a deployed adapter has."""
    return [
        Sample(
            answer_id=new_answer_id(),
            answered_at_ms=1_800_000_000_000 + number,
            organisation="techcorp",
            domain="code_analysis",
            model="techcorp-demo@3",
            adapter_digest="sha256:" + "ab" * 32,
            environment="production",
            config_revision=12,
            prompt_tokens=number % 4000,
            output_tokens=number % 700,
            load_s=0.0,
            first_token_s=0.1234,
            latency_s=1.2345,
            cost_usd=0.0,
            outcome="answered",
        )
        for number in range(count)
    ]


def time_each(samples: list[Sample], work: Callable[[Sample], object]) -> list[float]:
    """Seconds of `work` for each sample, sorted."""
    seconds = []
    for sample in samples:
        started = time.perf_counter()
        work(sample)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


def append_bare(folder: Path, samples: list[Sample]) -> list[float]:
    """The same lines, each in one write(2) and nothing else."""
    lines = [b"\n%b\n" % sample.to_line() for sample in samples]
    handle = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seconds = []
    for line in lines:
        started = time.perf_counter()
        os.write(handle, line)
        seconds.append(time.perf_counter() - started)
    os.close(handle)
    return sorted(seconds)


def record_all(project: Project, samples: list[Sample]) -> list[float]:
    """The seconds of recording each."""
    recorder = Recorder(project)
    seconds = time_each(samples, recorder.record)
    recorder.close()
    assert recorder.lost == 0
    return seconds


def record_beside(project: Project, samples: list[Sample], writers: int) -> list[float]:
    """The same while other processes record too."""
    children = []
    for _ in range(writers - 1):
        child = os.fork()
        if child == 0:
            record_all(project, samples)
            os._exit(0)
        children.append(child)
    seconds = record_all(project, samples)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
    return seconds


def measure(folder: Path, samples: list[Sample]) -> dict[str, float]:
    """One round; microseconds of an append, thousands a second of the rest, bytes of a sample."""
    project = Project(folder / "project")
    figures: dict[str, float] = {}

    def append(name: str, seconds: list[float]) -> None:
        figures[f"{name}, median us"] = statistics.median(seconds) * 1e6
        figures[f"{name}, p99 us"] = seconds[len(seconds) * 99 // 100] * 1e6

    append("bare write", append_bare(folder, samples))
    append("record", record_all(project, samples))
    size = sum(path.stat().st_size for path in project.traffic_segments)
    started = time.perf_counter()
    assert fold(project).samples == len(samples)
    figures["folded, thousand/s"] = len(samples) / (time.perf_counter() - started) / 1e3
    started = time.perf_counter()
    assert sum(1 for _ in read_samples(project)) == len(samples)
    figures["read, thousand/s"] = len(samples) / (time.perf_counter() - started) / 1e3
    figures["in the spool, bytes"] = size / len(samples)
    figures["in traffic.db, bytes"] = project.traffic_db.stat().st_size / len(samples)
    append("record beside 3 others", record_beside(Project(folder / "other"), samples, 4))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000, help="in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (default: 5)")
    parser.add_argument("--folder", type=Path, help="where the files are written")
    asked = parser.parse_args()
    samples = make_samples(asked.samples)
    rounds = []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            rounds.append(measure(Path(folder), samples))
    print(f"{asked.samples:,} samples, {asked.rounds} rounds")
    for name in rounds[0]:
        print(f"{name:<36}{statistics.median(one[name] for one in rounds):>10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
