"""Mixed load on a service while versions are promoted and rolled back: errors, foreign answers,
memory."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product

import psutil

from benchmarks.serving.bench_project import ORGANISATIONS, BenchProject, adapter_name
from benchmarks.serving.over_http import Served, chat_body, read_stream
from modelyard.adapters.promote import promote_version
from modelyard.adapters.rollback import roll_back
from modelyard.adapters.versions import load_version

_CLIENTS = 12
_QUESTIONS = 4
_BEGINNING = 12
"""Letters of an answer that tell whose adapter gave it: these do not depend on batch mates."""
_SECONDS_BETWEEN_MOVES = 2.0
_FLAT = 0.05
"""How much more memory the second half may have at its end than at its beginning."""


class _Load:
    """What the clients found."""

    def __init__(self, bench: BenchProject, served: Served, questions: Sequence[str]) -> None:
        self._bench, self._served = bench, served
        self._questions = questions
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self.found: Counter[str] = Counter()
        self.errors: list[str] = []
        self._owners: dict[tuple[int, str], set[int]] = {}
        """By question and beginning: whose answer it is."""

    def learn(self) -> None:
        """Ask each version each question alone, to know its answers."""
        connection = self._served.connect()
        for number, version, place in product(
            range(ORGANISATIONS), (1, 2), range(len(self._questions))
        ):
            body = chat_body(
                f"{adapter_name(number)}@{version}", self._questions[place], new_tokens=16
            )
            text, _ = read_stream(connection, self._bench.keys[number], body)
            self._owners.setdefault((place, text[:_BEGINNING]), set()).add(number)

    def client(self, seed: int) -> None:
        """Ask until the end; runs in a thread."""
        chance, connection = random.Random(seed), self._served.connect()
        while not self._ends.is_set():
            number, place = chance.randrange(ORGANISATIONS), chance.randrange(len(self._questions))
            tokens = chance.randrange(16, 80)
            body = chat_body(adapter_name(number), self._questions[place], new_tokens=tokens)
            try:
                text, _ = read_stream(connection, self._bench.keys[number], body)
            except (SystemExit, Exception) as error:
                connection.close()
                with self._lock:
                    self.errors.append(f"{type(error).__name__}: {error}")
                continue
            owners = self._owners.get((place, text[:_BEGINNING]), set())
            kind = "own" if number in owners else "foreign" if owners else "of no one"
            with self._lock:
                self.found[kind] += 1

    def move(self) -> None:
        """Promote and roll back until the end; runs in a thread."""
        chance, project = random.Random(0), self._bench.project
        while not self._ends.wait(_SECONDS_BETWEEN_MOVES):
            name = adapter_name(chance.randrange(ORGANISATIONS))
            promote_version(project, load_version(project, name, 2))
            self._ends.wait(_SECONDS_BETWEEN_MOVES)
            roll_back(project, name)
            with self._lock:
                self.found["moves"] += 2

    def run(self, seconds: float, watch: Callable[[], None]) -> None:
        """Put the load on the service for so long; `watch` is called every second."""
        works = [threading.Thread(target=self.client, args=(seed,)) for seed in range(_CLIENTS)]
        works.append(threading.Thread(target=self.move))
        for work in works:
            work.start()
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            watch()
            time.sleep(1)
        self._ends.set()
        for work in works:
            work.join()


def soak(
    bench: BenchProject, questions: Sequence[str], *, seconds: float, report: Callable[[str], None]
) -> bool:
    """Whether all went well; `report` takes a line of figures."""
    with Served(bench.project.root) as served:
        load = _Load(bench, served, questions[:_QUESTIONS])
        load.learn()
        process, memory_mb = psutil.Process(served.pid), []
        load.run(seconds, lambda: memory_mb.append(process.memory_info().rss / 1e6))
    half = memory_mb[len(memory_mb) // 2 :]
    tenth = max(1, len(half) // 10)
    first, last = statistics.median(half[:tenth]), statistics.median(half[-tenth:])
    for error in load.errors[:10]:
        report(error)
    report(
        f"{load.found['own']:,} answers of the organisation's own versions, "
        f"{load.found['foreign']} foreign, {load.found['of no one']} of no one; "
        f"{load.found['moves']} moves; {len(load.errors)} errors; "
        f"memory of the second half: {first:,.0f} to {last:,.0f} MB"
    )
    return not (load.errors or load.found["foreign"] or last > (1 + _FLAT) * first)
