"""The breaker: what opens it, and that one call at a time tries again, of all processes."""

from __future__ import annotations

import os
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import pytest

from killed import SOAK, fork, kill_after
from modelyard.answering.breaker import (
    CLOSED,
    admit,
    peek,
    record_failure,
    record_nothing,
    record_success,
)
from modelyard.configs.kinds.integration import FallbackStrategy
from modelyard.core.layout import Project
from modelyard.monitoring.traffic_db import read_traffic

NOW = 1_800_000_000.0
STRATEGY = FallbackStrategy(failure_threshold=3, cool_down_s=30)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def fail(place: Project, now_s: float = NOW, *, at_once: bool = False) -> str:
    found = record_failure(
        place, "gpt4", STRATEGY, "timeout", opens_at_once=at_once, clock=lambda: now_s
    )
    return found.state


def ask(place: Project, now_s: float = NOW) -> str:
    return admit(place, "gpt4", STRATEGY, lease_s=60, clock=lambda: now_s).state


def test_it_opens_at_the_third_failure_in_a_row(place: Project) -> None:
    assert admit(place, "gpt4", STRATEGY) is CLOSED
    record_success(place, "gpt4")
    assert not place.root.exists(), "nothing is written while all is well"
    assert [fail(place), fail(place)] == ["closed", "closed"]
    record_success(place, "gpt4")
    assert [fail(place), fail(place), fail(place)] == ["closed", "closed", "open"]
    found = peek(place, "gpt4", STRATEGY, clock=lambda: NOW + 10)
    assert found.words == "breaker open since 08:00:00 UTC, 3 failures in a row: timeout"
    assert found.retry_at_s == NOW + 30
    assert ask(place, NOW + 29.9) == "open"
    assert admit(place, "claude", STRATEGY) is CLOSED


def test_after_the_cool_down_one_call_tries_and_decides(place: Project) -> None:
    fail(place, at_once=True)
    later = NOW + 30
    assert peek(place, "gpt4", STRATEGY, clock=lambda: later).state == "probe"
    assert [ask(place, later), ask(place, later), ask(place, later)] == ["probe", "open", "open"]
    assert peek(place, "gpt4", STRATEGY, clock=lambda: later).state == "open"
    assert fail(place, later + 5) == "open"
    assert ask(place, later + 34.9) == "open", "another whole cool-down"
    assert [ask(place, later + 35), ask(place, later + 35)] == ["probe", "open"]
    record_success(place, "gpt4")
    assert [ask(place, later + 36), ask(place, later + 36)] == ["closed", "closed"]
    assert read_traffic(place, "SELECT * FROM breakers") == []


def test_calls_from_before_it_opened_neither_close_it_nor_keep_it_open(place: Project) -> None:
    for _ in range(3):
        fail(place)
    fail(place, NOW + 20)
    record_success(place, "gpt4")
    assert ask(place, NOW + 29) == "open"
    assert ask(place, NOW + 30) == "probe"


def test_a_probe_that_says_nothing_lets_another_try(place: Project) -> None:
    fail(place, at_once=True)
    record_nothing(place, "gpt4")
    assert ask(place, NOW + 30) == "probe"
    record_nothing(place, "gpt4")
    assert ask(place, NOW + 30) == "probe"


def test_a_probe_whose_process_died_gives_its_place_up(place: Project) -> None:
    fail(place, at_once=True)
    assert ask(place, NOW + 30) == "probe"
    assert ask(place, NOW + 89) == "open"
    assert [ask(place, NOW + 91), ask(place, NOW + 91)] == ["probe", "open"]


def test_a_clock_that_was_set_back_keeps_no_breaker_open(place: Project) -> None:
    fail(place, at_once=True)
    assert ask(place, NOW - 86_400) == "probe"


def test_a_long_reason_is_cut(place: Project) -> None:
    record_failure(place, "gpt4", STRATEGY, "x" * 10_000, opens_at_once=True)
    assert len(peek(place, "gpt4", STRATEGY).reason or "") == 200


PROCESSES, ROUNDS = 6, 10 * SOAK
SHORT = FallbackStrategy(failure_threshold=3, cool_down_s=1)


def test_three_failures_in_three_processes_and_one_probe_in_each_round(
    place: Project, tmp_path: Path
) -> None:
    """Rounds of a compressed clock; processes ask at once in each."""
    for process in range(3):
        child = fork(lambda: record_failure(place, "gpt4", SHORT, "reset", clock=lambda: NOW))
        assert os.waitpid(child, 0)[1] == 0
        assert peek(place, "gpt4", SHORT, clock=lambda: NOW).state == (
            "open" if process == 2 else "closed"
        )
    pipes, ended = [os.pipe() for _ in range(PROCESSES)], os.pipe()

    def work(start: int) -> None:
        for number in range(ROUNDS):
            os.read(start, 1)
            clock = repeat(NOW + 2 * (number + 1)).__next__
            for _ in range(5):
                if admit(place, "gpt4", SHORT, lease_s=600, clock=clock).state == "probe":
                    with (tmp_path / "probes").open("a") as probes:
                        probes.write(f"{number}\n")
                    record_failure(place, "gpt4", SHORT, "reset", clock=clock)
            os.write(ended[1], b".")

    children = [fork(partial(work, start)) for start, _ in pipes]
    for _ in range(ROUNDS):
        for _, start in pipes:
            os.write(start, b".")
        for _ in pipes:
            os.read(ended[0], 1)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
    for handle in (*ended, *chain(*pipes)):
        os.close(handle)
    probes = [int(line) for line in (tmp_path / "probes").read_text().split()]
    print(f"{len(probes)} probes in {ROUNDS} rounds of {PROCESSES} processes")
    assert sorted(probes) == list(range(ROUNDS))


def test_a_killed_probe_never_shuts_a_model_out(place: Project) -> None:
    fail(place, at_once=True)
    clock = [NOW]

    def work() -> None:
        while True:
            if ask(place, clock[0]) == "probe":
                fail(place, clock[0])
            clock[0] += 0.5

    for number in range(1, 1 + 3 * SOAK):
        clock[0] = NOW + number * 10_000
        kill_after(work, 0.03)
        assert ask(place, NOW + (number + 1) * 10_000) == "probe"
        record_nothing(place, "gpt4")
