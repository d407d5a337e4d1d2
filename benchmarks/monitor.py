"""`models monitor` against its bars: recording, many processes, and many samples.

Recording is the caller's time, each call by itself. Reading is CPU seconds, from roll-ups and from
the samples themselves; the command is timed as a process, beside one in an empty project. Medians
of repeats that alternate.

    python benchmarks/monitor.py [--samples 1000000] [--days 30]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from modelyard.core.layout import Project
from modelyard.monitoring import periods
from modelyard.monitoring.chosen_answers import choose_answers
from modelyard.monitoring.fold import fold
from modelyard.monitoring.periods import Period, read_period
from modelyard.monitoring.samples import open_traffic, read_samples
from modelyard.records.sample import Sample, new_answer_id
from modelyard.records.spool import Recorder
from modelyard.setup.init import init_project

REPEATS = 5
RECORDED = 50_000
WRITERS, EACH = 8, 12_500
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


def time_recording(project: Project) -> tuple[float, float]:
    """Microseconds of recording a sample: the median and the 99th percentile."""
    recorder = Recorder(project)
    seconds = []
    for number in range(RECORDED):
        one = sample_at(number)
        started = time.perf_counter()
        recorder.record(one)
        seconds.append(time.perf_counter() - started)
    recorder.close()
    assert recorder.lost == 0
    seconds.sort()
    return median(seconds) * 1e6, seconds[len(seconds) * 99 // 100] * 1e6


def record_together(project: Project) -> tuple[float, int, int]:
    """Seconds until WRITERS processes have recorded EACH samples; how many are lost, and twice."""
    start = multiprocessing.get_context("fork").Barrier(WRITERS + 1)
    children = []
    for writer in range(WRITERS):
        child = os.fork()
        if child == 0:
            samples = [sample_at(writer * EACH + number) for number in range(EACH)]
            start.wait()
            recorder = Recorder(project)
            for one in samples:
                recorder.record(one)
            os._exit(recorder.lost > 0)
        children.append(child)
    start.wait()
    started = time.perf_counter()
    failed = [os.waitpid(child, 0)[1] for child in children]
    seconds = time.perf_counter() - started
    assert failed == [0] * WRITERS
    ids = Counter(sample.answer_id for sample in read_samples(project))
    return seconds, WRITERS * EACH - len(ids), sum(count > 1 for count in ids.values())


def sample_at(number: int) -> Sample:
    """A sample with every field that an answer of a deployed adapter has."""
    return Sample(
        answer_id=f"{number:016x}",
        answered_at_ms=1_800_000_000_000 + number,
        organisation="techcorp",
        domain="code_analysis",
        profile="balanced",
        language_model="local_llm",
        model="techcorp-demo@3",
        adapter_digest="sha256:" + "ab" * 32,
        environment="production",
        config_revision=12,
        prompt_tokens=number % 4000,
        output_tokens=number % 700,
        token_source="counted",
        load_s=0.0,
        first_token_s=0.1234,
        latency_s=1.2345,
        cost_usd=0.0,
        calls=1,
        route="local_llm answered",
        outcome="answered",
    )


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


def command_s(project: Project, days: int) -> tuple[float, float]:
    """Seconds of the command as a process, by the clock and of CPU."""
    words = [sys.executable, "-m", "modelyard", "monitor", "--since", f"{days}d"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(words, cwd=project.root, check=False, capture_output=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def say(what: str, figure: str, bar: str, *, met: bool) -> None:
    """One line against its bar."""
    print(f"{what:<44}{figure:<26}bar {bar:<12}{'met' if met else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the files are written")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        rounds = [time_recording(Project(Path(folder) / f"one{turn}")) for turn in range(REPEATS)]
        middle, late = (median(each) for each in zip(*rounds, strict=True))
        say("recording, median", f"{middle:.1f} us", "20 us", met=middle <= 20)
        say("recording, p99", f"{late:.1f} us", "200 us", met=late <= 200)
        together = [record_together(Project(Path(folder) / f"all{turn}")) for turn in range(3)]
        seconds = median(each[0] for each in together)
        lost, twice = (sum(each[place] for each in together) for place in (1, 2))
        what = f"{WRITERS} processes x {EACH:,} samples"
        found = f"{seconds:.2f} s, lost {lost}, twice {twice}"
        say(what, found, "3 s, 0, 0", met=seconds <= 3 and not lost + twice)
        full, empty = Project(Path(folder) / "full"), Project(Path(folder) / "empty")
        for project in (full, empty):
            init_project(project.root)
        fill(full, asked.samples, asked.days)
        started = time.process_time()
        fold(full)
        folded_s = time.process_time() - started
        rows, samples = read_both(full, asked.days)
        commands = [(command_s(full, asked.days), command_s(empty, asked.days)) for _ in range(9)]
        with open_traffic(full) as traffic:
            (count,) = traffic.execute("SELECT count(*) FROM rollups").fetchone()
    of_full, of_empty = (
        [median(each) for each in zip(*side, strict=True)] for side in zip(*commands, strict=True)
    )
    ratio = of_full[0] / of_empty[0]
    found = f"{of_full[0]:.2f} s / {of_empty[0]:.2f} s = {ratio:.2f}"
    say(f"`models monitor`, {asked.samples:,} / 0 samples", found, "2.5", met=ratio <= 2.5)
    print(f"{count:,} roll-ups of {asked.days} days; CPU seconds")
    print(f"folding a sample      {folded_s / asked.samples * 1e6:.1f} us")
    print(f"reading, from samples {samples:.3f} s; from roll-ups {rows:.3f} s")
    print(f"the command           {of_full[1]:.2f} s; in an empty project {of_empty[1]:.2f} s")


if __name__ == "__main__":
    main()
