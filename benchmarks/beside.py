"""Work beside processes that keep the cores busy, as shares of the rate that it has alone.

    python benchmarks/beside.py [--beside 0,2,4] [--only train] [--seconds 20] [--repeats 1]

A busy process computes without a pause, on one core. For each number of them two processes do the
work: in one the load is there from the start and ends, in the other it begins after a while and
ends. With 0 the work alone is compared with the same work under OpenMP's own way of waiting.
Run by `make bench-train beside=2,4`; nothing else should be running.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.layout import Project, find_project
from modelyard.core.progress import Silent

if TYPE_CHECKING:
    from modelyard.inference.engine import LoadedModel

ROOT = Path(__file__).parent.parent
BASE = "smollm2-135m-instruct"
STEPS_BEFORE_LOAD = 10
RETURN_WINDOW_S, RETURN_LIMIT_S = 6.0, 60.0
TURN_S = 5.0
AS_BEFORE = {"GOMP_SPINCOUNT": "300000"}
"""libgomp's own default; as a setting of the user it keeps this project from changing it."""


@dataclass(frozen=True)
class Point:
    """How much work was done at a time."""

    at_s: float
    steps: int
    work: float


class Job:
    """A process that works until it is ended, and the file in which it says how much it did."""

    def __init__(self, name: str, folder: Path, **variables: str) -> None:
        self._done = folder / "done.jsonl"
        command = [sys.executable, __file__, "--work", name, str(self._done)]
        if name == "train":
            command = training_command(folder)
            self._done = folder / "experiments/bench/metrics.jsonl"
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "MODELS_PROJECT": str(folder), **variables},
            stdout=subprocess.DEVNULL,
            stderr=(folder / "stderr").open("w"),
            preexec_fn=end_with_parent,
        )
        self._errors = folder / "stderr"
        self.points: list[Point] = []

    def watch(self, enough: Callable[[], bool], limit_s: float = 900.0) -> None:
        """Note each piece of work when it is seen, until it is enough."""
        begun_s = time.monotonic()
        while not enough():
            if self._process.poll() is not None:
                raise SystemExit(f"the work ended:\n{self._errors.read_text()[-3000:]}")
            if time.monotonic() - begun_s > limit_s:
                raise SystemExit(f"too little work in {limit_s:.0f} s")
            time.sleep(0.1)
            lines = self._done.read_text().splitlines() if self._done.exists() else []
            for line in lines[len(self.points) :]:
                row = json.loads(line)
                work = row.get("work", row.get("elapsed_s", 0) * row.get("tokens_per_s", 0))
                self.points.append(Point(time.monotonic(), row["step"], work))

    def rate_since(self, start_s: float) -> float:
        """Work a second from a time to the last piece that was seen."""
        last = self.points[-1]
        before = [point for point in self.points if point.at_s <= start_s]
        after = next((point for point in self.points if point.at_s > start_s), None)
        if after is None:
            return 0.0
        begun = after.work  # nothing is known of work before the first piece
        if before:
            passed = (start_s - before[-1].at_s) / (after.at_s - before[-1].at_s)
            begun = before[-1].work + passed * (after.work - before[-1].work)
        else:
            start_s = after.at_s
        return (last.work - begun) / (last.at_s - start_s) if last.at_s > start_s else 0.0

    def measure(self, seconds: float) -> float:
        """Work a second from now on, for so long and until a piece of work ends."""
        start_s = time.monotonic()
        self.watch(lambda: bool(self.points) and self.points[-1].at_s > start_s + seconds)
        return self.rate_since(start_s)

    def watch_pieces(self, count: int) -> None:
        """Note so many pieces more."""
        wanted = len(self.points) + count
        self.watch(lambda: len(self.points) >= wanted)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def training_command(folder: Path) -> list[str]:
    """`models fine-tune` on TechCorp's rows, in a project in `folder`, without an end."""
    (folder / "configs").mkdir()
    for part in (f"models/base/{BASE}", "datasets/techcorp"):
        shutil.copytree(ROOT / part, folder / part)
    settings = {
        "lora.rank": 16,
        "schedule.max_steps": 20_000,
        "schedule.epochs": 1000,
        "schedule.rows_per_step": 8,
        "keep.evaluate_every_steps": "never",
        "keep.checkpoint_every_steps": 20_000,
    }
    command = [sys.executable, "-m", "modelyard", "fine-tune", "--dataset", "techcorp"]
    command += ["--base-model", BASE, "--experiment", "bench", "--adapter", "bench"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command


def pieces_of_evaluation(project: Project) -> Iterator[int]:
    """Losses of 16 rows at a time, counted in tokens."""
    from modelyard.chatdata.dataset import load_dataset
    from modelyard.chatdata.tokenizing import tokenize_conversations

    model = load_model(project, use_grid=False)
    dataset = load_dataset(project, "techcorp")
    rows = tokenize_conversations(dataset.train[:16], model.tokenizer, max_length=1024).rows
    while True:
        model.engine.row_losses([(model, row) for row in rows])
        yield sum(len(row.input_ids) for row in rows)


def pieces_of_generation(project: Project) -> Iterator[int]:
    """One answer of at most 16 tokens at a time, as `models generate` computes it."""
    from modelyard.chatdata.dataset import load_dataset
    from modelyard.inference.sampling import Sampling

    model = load_model(project, use_grid=True)
    question = load_dataset(project, "techcorp").train[0].messages[:-1]
    prompt = model.tokenizer.encode_prompt(question)
    while True:
        answer = model.stream(prompt, Sampling(max_new_tokens=16))
        for _ in answer:
            pass
        yield answer.output_tokens


def load_model(project: Project, *, use_grid: bool) -> LoadedModel:
    from modelyard.inference.engine import Engine
    from modelyard.inference.machine import probe_machine
    from modelyard.weights.pull import require_base

    base = require_base(project, BASE, progress=Silent())
    machine = probe_machine()
    return Engine.load(
        base, machine=machine, use_grid=use_grid, note=lambda text: print(text, file=sys.stderr)
    ).base


def pieces_of_embedding(project: Project) -> Iterator[int]:
    """32 chunks of 60 to 200 words at a time, with the engine for many of them."""
    from modelyard.configs.kinds.embedding_models import Encoder
    from modelyard.encoders import open_encoder

    settings = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
    encoder = open_encoder(project, settings, for_bulk=True)
    words = (ROOT / "docs/architecture.md").read_text().split()
    texts = [" ".join(words[7 * n : 7 * n + 60 + n % 140]) for n in range(32)]
    while True:
        encoder.encode(texts)
        yield len(texts)


PIECES: Mapping[str, Callable[[Project], Iterator[int]]] = {
    "evaluate": pieces_of_evaluation,
    "generate": pieces_of_generation,
    "embed": pieces_of_embedding,
}


def work_forever(name: str, done: Path) -> None:
    total = 0
    with done.open("w") as stream:
        for step, piece in enumerate(PIECES[name](find_project(ROOT)), 1):
            total += piece
            stream.write(json.dumps({"step": step, "work": total}) + "\n")
            stream.flush()


def end_with_parent() -> None:
    """Called in a new process: let the kernel kill it when this one dies, however that happens."""
    set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute without a pause."""
    command = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(command, preexec_fn=end_with_parent) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def working(name: str, **variables: str) -> Iterator[Job]:
    with tempfile.TemporaryDirectory() as folder:
        job = Job(name, Path(folder), **variables)
        try:
            yield job
        finally:
            job.end()


def warm_up(job: Job) -> None:
    job.watch(lambda: bool(job.points) and job.points[-1].steps >= 3)


@dataclass(frozen=True)
class Beside:
    """Rates beside busy processes as shares of the rate alone, and the way back to it."""

    from_start: float
    from_later: float
    back_s: float
    """Seconds until a window of six reached 90% again, the window included."""


def measure_beside(name: str, count: int, seconds: float) -> Beside:
    with working(name) as job:
        warm_up(job)
        job.watch(lambda: job.points[-1].steps >= STEPS_BEFORE_LOAD)
        alone = job.measure(seconds)
        with busy(count):
            later = job.measure(seconds)
        ended_s = time.monotonic()
        while job.measure(RETURN_WINDOW_S) < 0.9 * alone:
            if time.monotonic() - ended_s > RETURN_LIMIT_S:
                break
        back_s = time.monotonic() - ended_s
    with working(name) as job:
        with busy(count):
            job.watch(lambda: bool(job.points))
            start = job.measure(seconds)
        job.measure(RETURN_WINDOW_S)
        alone_again = job.measure(seconds)
    rates = f"alone {alone:.1f} and {alone_again:.1f} a second, {start:.1f} from the start"
    print(
        f"  {name} beside {count}: {rates}, {later:.1f} later, back after {back_s:.1f} s",
        file=sys.stderr,
        flush=True,
    )
    return Beside(start / alone_again, later / alone, back_s)


def measure_alone(name: str, seconds: float) -> float:
    """The rate alone, as a share of the one under OpenMP's own way of waiting.

    A process of each kind works in turn, for some seconds while the other is stopped.
    """
    with working(name, **AS_BEFORE) as before, working(name) as now:
        now.stop()
        warm_up(before)
        before.stop()
        now.go_on()
        warm_up(now)
        now.stop()
        shares = []
        for _ in range(max(1, round(seconds / TURN_S))):
            rates = []
            for job in (before, now):
                job.go_on()
                job.watch_pieces(1)
                rates.append(job.measure(TURN_S))
                job.stop()
            shares.append(rates[1] / rates[0])
    shown = ", ".join(f"{share:.2f}" for share in shares)
    print(f"  {name} alone, by turn: {shown}", file=sys.stderr, flush=True)
    return statistics.median(shares)


def report(names: Sequence[str], counts: Sequence[int], seconds: float, repeats: int) -> None:
    from modelyard.inference.machine import probe_machine

    print(
        f"{probe_machine().describe()} · load {os.getloadavg()[0]:.2f} · Linux {os.uname().release}"
    )
    print("| work | beside | from the start | from later on | back at 90% after |")
    print("|---|---:|---:|---:|---:|")
    for name in names:
        for count in counts:
            if count == 0:
                shares = [measure_alone(name, seconds) for _ in range(repeats)]
                print(f"| {name} | 0 | {statistics.median(shares):.0%} | | |", flush=True)
                continue
            found = [measure_beside(name, count, seconds) for _ in range(repeats)]
            start, later, back_s = (
                statistics.median(getattr(item, part) for item in found)
                for part in ("from_start", "from_later", "back_s")
            )
            print(f"| {name} | {count} | {start:.0%} | {later:.0%} | {back_s:.0f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", default="0,2,4")
    parser.add_argument("--only", default="train,evaluate,generate,embed")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--work", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work_forever(given.work[0], Path(given.work[1]))
        return
    counts = [int(count) for count in given.beside.split(",")]
    report(given.only.split(","), counts, given.seconds, given.repeats)


if __name__ == "__main__":
    main()
