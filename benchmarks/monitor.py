"""`models monitor` over many samples: read from roll-ups, and from the samples themselves.

CPU seconds, medians of repeats that alternate; also of the whole command, beside an empty project.

    python benchmarks/monitor.py [--samples 200000] [--days 30]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from modelyard.core.layout import Project
from modelyard.monitoring import periods
from modelyard.monitoring.chosen_answers import choose_answers
from modelyard.monitoring.fold import fold
from modelyard.monitoring.periods import Period, read_period
from modelyard.monitoring.samples import open_traffic
from modelyard.records.sample import Sample, new_answer_id
from modelyard.records.spool import Recorder
from modelyard.setup.init import init_project

REPEATS = 5
DAY_MS = 86_400_000


def fill(project: Project, count: int, days: int) -> None:
    """Record answers of 4 organisations, 3 domains, 2 models and 2 profiles, evenly in time."""
    chance = random.Random(5)
    now_ms = time.time_ns() // 1_000_000
    recorder = Recorder(project)
    for number in range(count):
        model = chance.choice(["gpt4", "claude"])
        recorder.record(
            Sample(
                answer_id=new_answer_id(),
                answered_at_ms=now_ms - int(days * DAY_MS * (1 - number / count)),
                organisation=chance.choice(["acme", "beta", "gamma", None]),
                domain=chance.choice(["code_analysis", "summarization", "translation"]),
                profile=chance.choice(["balanced", "high_accuracy"]),
                language_model=model,
                model=f"model:{model}",
                environment="development",
                prompt_tokens=chance.randrange(200, 2000),
                output_tokens=chance.randrange(20, 400),
                latency_s=chance.lognormvariate(0.1, 0.5),
                cost_usd=chance.lognormvariate(-4.5, 0.6),
                outcome="failed" if chance.random() < 0.01 else "answered",
            )
        )
    recorder.close()


def read_both(project: Project, days: int) -> tuple[float, float]:
    """CPU seconds of reading the days from roll-ups, and from samples."""
    now_ms = time.time_ns() // 1_000_000
    period = Period(start_ms=now_ms - days * DAY_MS, end_ms=now_ms + 1, pieces=24)
    chosen = choose_answers(project, "development", None)
    taken: tuple[list[float], list[float]] = ([], [])
    from_rollups = periods._SAMPLES_SUFFICE_MS
    with open_traffic(project) as traffic:
        for _ in range(REPEATS):
            for seconds, suffices_ms in zip(taken, (from_rollups, period.end_ms), strict=True):
                periods._SAMPLES_SUFFICE_MS = suffices_ms
                started = time.process_time()
                read_period(traffic, chosen, period)
                seconds.append(time.process_time() - started)
    return median(taken[0]), median(taken[1])


def command_s(project: Project, days: int) -> float:
    """CPU seconds of the command as a process."""
    words = [sys.executable, "-m", "modelyard", "monitor", "--since", f"{days}d"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=project.root, check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    asked = parser.parse_args()
    os.environ.pop("MODELS_PROJECT", None)
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Project(Path(folder) / "full"), Project(Path(folder) / "empty")
        init_project(full.root)
        init_project(empty.root)
        fill(full, asked.samples, asked.days)
        started = time.process_time()
        fold(full)
        folded_s = time.process_time() - started
        rows, samples = read_both(full, asked.days)
        commands = [(command_s(full, asked.days), command_s(empty, asked.days)) for _ in range(5)]
        with open_traffic(full) as traffic:
            (count,) = traffic.execute("SELECT count(*) FROM rollups").fetchone()
    of_full, of_empty = (median(each) for each in zip(*commands, strict=True))
    print(f"{asked.samples:,} samples, {count:,} roll-ups, {asked.days} days; CPU seconds")
    print(f"folding a sample      {folded_s / asked.samples * 1e6:.1f} µs")
    print(f"reading, from samples {samples:.3f} s; from roll-ups {rows:.3f} s")
    print(f"the command           {of_full:.2f} s; in an empty project {of_empty:.2f} s")


if __name__ == "__main__":
    main()
