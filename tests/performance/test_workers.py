"""Jobs at once: a job that hangs is given up, and its thread holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from modelyard.performance.workers import Workers


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a job waits for that hangs; set at the end, so that its thread ends."""
    event = threading.Event()
    yield event
    event.set()


def test_a_job_that_hangs_is_given_up_and_the_others_are_done(never: threading.Event) -> None:
    def do(job: int) -> str:
        if job in (1, 2):
            never.wait()
        return f"done {job}"

    workers = Workers(do, longest_s=lambda _: 0.2, give_up=lambda job, began_s: f"given up {job}")
    found = sorted(workers.results(range(6), at_once=2))
    assert found == ["done 0", "done 3", "done 4", "done 5", "given up 1", "given up 2"]


def test_what_a_job_raises_is_raised_and_ends_the_others() -> None:
    done: list[int] = []

    def do(job: int) -> int:
        if job == 3:
            raise ValueError("three")
        done.append(job)
        return job

    workers = Workers(do, longest_s=lambda _: 60, give_up=lambda job, _: job)
    with pytest.raises(ValueError, match="three"):
        list(workers.results(range(100), at_once=1))
    assert done == [0, 1, 2]


def test_no_more_run_at_once_than_are_allowed() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def do(job: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return job

    workers = Workers(do, longest_s=lambda _: 60, give_up=lambda job, _: job)
    assert sorted(workers.results(range(20), at_once=3)) == list(range(20))
    assert most == 3
    assert list(workers.results([], at_once=3)) == []


def test_an_iterator_that_is_closed_begins_no_further_job() -> None:
    done: list[int] = []

    def do(job: int) -> int:
        done.append(job)
        time.sleep(0.02)
        return job

    results = Workers(do, longest_s=lambda _: 60, give_up=lambda job, _: job).results(
        range(50), at_once=1
    )
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    assert len(done) <= 3
