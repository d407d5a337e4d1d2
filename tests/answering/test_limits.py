"""Limits of a minute and of calls under way: on a compressed clock, and across real processes."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from killed import SOAK, fork
from modelyard.answering import limits
from modelyard.answering.limits import (
    LimitScope,
    Turn,
    first_room_ms,
    hold,
    model_scope,
    service_scopes,
    take_turn,
)
from modelyard.configs.kinds.integration import ServiceLimits
from modelyard.configs.kinds.language_models import RateLimits
from modelyard.core.layout import Project
from modelyard.monitoring.traffic_db import read_traffic

NOW = 1_800_000_000.0


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = NOW

    def __call__(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> bool:
        self.now_s += seconds
        return False


def taken(turn: Turn | float) -> Turn:
    assert isinstance(turn, Turn), f"no room for {turn} s"
    return turn


def most_in_a_minute(arrivals: list[float], minute_s: float = 60) -> int:
    """The most arrivals within any minute."""
    ordered, first, most = sorted(arrivals), 0, 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - minute_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_no_minute_has_more_requests_than_the_limit_and_most_are_used(place: Project) -> None:
    clock, chance, arrivals = Clock(), random.Random(1), []
    scope = LimitScope(name="model", requests_per_minute=10)
    for _ in range(100):
        turn = take_turn(place, [scope], tokens=1, within_s=100, pause=clock.pause, clock=clock)
        with taken(turn):
            arrivals.append(clock.now_s + chance.uniform(0, 0.05))
            clock.now_s += 0.05
    assert most_in_a_minute(arrivals) == 10
    assert len(arrivals) / (10 * (clock.now_s - NOW) / 60) >= 0.9


def test_a_request_may_take_its_time_to_arrive(place: Project) -> None:
    """The first of ten arrives late, and the eleventh at once, and both are in one minute."""
    clock = Clock()
    scope = LimitScope(name="model", requests_per_minute=10)
    turns = [taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock)) for _ in range(10)]
    late = clock.now_s + 1.9
    clock.now_s += 30
    for turn in turns:
        turn.__exit__()
    taken(take_turn(place, [scope], tokens=1, within_s=100, pause=clock.pause, clock=clock))
    assert clock.now_s >= late + 60


def test_tokens_are_limited_and_a_call_with_more_goes_alone(place: Project) -> None:
    clock = Clock()
    scope = LimitScope(name="model", tokens_per_minute=1000)

    def take(tokens: int, within_s: float = 0) -> Turn | float:
        return take_turn(
            place, [scope], tokens=tokens, within_s=within_s, pause=clock.pause, clock=clock
        )

    with taken(take(600)), taken(take(400)):
        pass
    refused = take(1)
    assert isinstance(refused, float) and 59 <= refused <= 62
    began_s = clock.now_s
    with taken(take(5000, within_s=200)):
        pass
    assert 59 <= clock.now_s - began_s <= 62
    assert isinstance(take(1), float)


def test_what_has_no_room_in_time_is_refused_and_counts_nothing(place: Project) -> None:
    clock = Clock()
    scope = LimitScope(name="model", requests_per_minute=1)
    with taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock)):
        pass
    for _ in range(3):
        refused = take_turn(place, [scope], tokens=1, within_s=30, pause=clock.pause, clock=clock)
        assert refused == pytest.approx(60, abs=0.01)
    assert clock.now_s == NOW
    clock.now_s += 60.01
    taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock))


def test_who_stops_waiting_leaves_its_place(place: Project) -> None:
    clock = Clock()
    scope = LimitScope(name="model", requests_per_minute=1)
    with taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock)):
        pass
    stopped = take_turn(place, [scope], tokens=1, within_s=300, pause=lambda _: True, clock=clock)
    assert isinstance(stopped, float)
    clock.now_s += 60.01
    taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock))


def test_one_organisation_that_waits_does_not_stop_the_others(place: Project) -> None:
    clock = Clock()
    allowed = ServiceLimits(requests_per_minute=10, requests_per_minute_per_organisation=2)

    def take(organisation: str, within_s: float) -> Turn | float:
        scopes = service_scopes("production", allowed, organisation)
        return take_turn(place, scopes, tokens=1, within_s=within_s, pause=clock.pause, clock=clock)

    for _ in range(2):
        taken(take("acme", 0)).__exit__()
    booked = threading.Event()

    def pause(seconds: float) -> bool:
        booked.set()
        return True

    scopes = service_scopes("production", allowed, "acme")
    take_turn(place, scopes, tokens=1, within_s=90, pause=pause, clock=clock)
    assert booked.is_set()
    for _ in range(2):
        taken(take("other", 0)).__exit__()
    assert isinstance(take("other", 0), float)
    assert isinstance(take("acme", 0), float)


def test_calls_under_way_are_limited_and_a_dead_process_gives_its_place_up(
    place: Project,
) -> None:
    clock = Clock()
    scope = model_scope("production", "gpt4", RateLimits(concurrent_requests=2))

    def take(within_s: float = 0) -> Turn | float:
        return take_turn(
            *(place, [scope]),
            tokens=1,
            within_s=within_s,
            lease_s=90,
            pause=clock.pause,
            clock=clock,
        )

    first, _dead = taken(take()), taken(take())
    assert isinstance(take(5), float)
    with first:
        pass
    with taken(take()):
        assert isinstance(take(), float)
        taken(take(within_s=95))


def test_a_scope_on_hold_lets_nothing_begin(place: Project) -> None:
    clock = Clock()
    scope = LimitScope(name="model", concurrent_requests=5)
    hold(place, "model", 20, clock=clock)
    hold(place, "model", 5, clock=clock)
    assert take_turn(place, [scope], tokens=1, within_s=10, clock=clock) == pytest.approx(20)
    taken(take_turn(place, [scope], tokens=1, within_s=30, pause=clock.pause, clock=clock))
    assert clock.now_s - NOW >= 20


def test_without_limits_nothing_is_written(place: Project) -> None:
    scopes = service_scopes("production", ServiceLimits(), "acme")
    with taken(take_turn(place, scopes, tokens=1, within_s=0)):
        pass
    assert not place.root.exists()


def test_a_scope_that_nobody_uses_any_more_leaves_no_rows(place: Project) -> None:
    clock, count = Clock(), "SELECT count(*) FROM turns"
    random.seed(7)
    for number in range(200):
        scope = LimitScope(name=f"organisation {number}", requests_per_minute=1)
        with taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock)):
            clock.now_s += 1
    rows = read_traffic(place, count)[0][0]
    assert rows < 200, "none was removed"


def test_a_clock_that_was_set_back_shuts_nobody_out(place: Project) -> None:
    clock = Clock()
    scope = LimitScope(name="model", requests_per_minute=1)
    taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock))
    hold(place, "model", 1e307, clock=clock)
    clock.now_s -= 86_400
    taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock))
    hold(place, "model", 20, clock=clock)
    assert take_turn(place, [scope], tokens=1, within_s=15, clock=clock) == pytest.approx(62)


def test_a_clock_that_is_set_back_makes_no_wait_longer(place: Project) -> None:
    clock, waits = Clock(), list[float]()

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        clock.now_s += seconds - (1800 if len(waits) == 1 else 0)
        return len(waits) > 10

    scope = LimitScope(name="model", requests_per_minute=1)
    taken(take_turn(place, [scope], tokens=1, within_s=0, clock=clock))
    found = take_turn(place, [scope], tokens=1, within_s=70, pause=pause, clock=clock)
    assert isinstance(found, float)
    assert waits == [62.0]


def test_the_first_room_is_the_first_and_is_one() -> None:
    """Against a search that tries each moment."""
    chance, length = random.Random(2), 62_000
    for _ in range(150):
        rows = [
            (begin, begin + chance.choice([60_000, length]), chance.randint(1, 9))
            for begin in (chance.randrange(0, 150_000, 1000) for _ in range(chance.randint(0, 12)))
        ]
        scope = LimitScope(
            name="model",
            requests_per_minute=chance.choice([None, 1, 2, 4]),
            tokens_per_minute=chance.choice([1, 8, 20]),
        )
        tokens = chance.randint(1, 9)
        rows = [row for row in rows if row[1] > 40_000]
        assert first_room_ms(scope, rows, tokens, 40_000) == next(
            moment
            for moment in range(40_000, 400_000, 1000)
            if all(fits(scope, rows, tokens, at) for at in range(moment, moment + length, 1000))
        )


def fits(scope: LimitScope, rows: list[tuple[int, int, int]], tokens: int, at: int) -> bool:
    counting = [its_tokens for begins, ends, its_tokens in rows if begins <= at < ends]
    return scope.has_room(len(counting), sum(counting), tokens)


PROCESSES, THREADS = 8, 4
SCOPE = LimitScope(name="model", requests_per_minute=600 if SOAK > 1 else 60)


@pytest.fixture
def minute_s(monkeypatch: pytest.MonkeyPatch) -> float:
    """A minute is two seconds in `make test`, and itself in `make soak`."""
    if SOAK == 1:
        for name, value in (("_WINDOW_MS", 2000), ("_LONGEST_WAY_MS", 1000), ("_COUNTS_MS", 3000)):
            monkeypatch.setattr(limits, name, value)
    return limits._WINDOW_MS / 1000


def test_processes_together_stay_within_the_limit(
    place: Project, tmp_path: Path, minute_s: float
) -> None:
    until_s = time.time() + 2.5 * minute_s

    def work() -> None:
        def send() -> None:
            while (left_s := until_s - time.time()) > 0:
                turn = take_turn(place, [SCOPE], tokens=1, within_s=left_s)
                if isinstance(turn, Turn):
                    with turn:
                        time.sleep(chance.uniform(0, 0.01))
                        arrived.append(time.time())
                        time.sleep(0.01)

        arrived: list[float] = []
        chance = random.Random(os.getpid())
        threads = [threading.Thread(target=send) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        path = tmp_path / f"arrived-{os.getpid()}"
        path.write_text("".join(f"{at!r}\n" for at in arrived))

    began_s = time.time()
    children = [fork(work) for _ in range(PROCESSES)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
    arrivals = [
        float(line) for path in tmp_path.glob("arrived-*") for line in path.read_text().split()
    ]
    allowed = SCOPE.requests_per_minute or 0
    most = most_in_a_minute(arrivals, minute_s)
    # The last half minute is one in which nothing has room: all of it came before.
    used = len(arrivals) / (allowed * 3)
    print(
        f"{PROCESSES} x {THREADS} threads, {until_s - began_s:.0f} s: at most {most} of {allowed} "
        f"in any {minute_s:.0f} s; {used:.0%} of what three of them allow"
    )
    assert allowed * (0.9 if SOAK > 1 else 0.5) <= most <= allowed
    assert used >= (0.9 if SOAK > 1 else 0.4)
