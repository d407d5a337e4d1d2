from __future__ import annotations

import random
import threading
from collections.abc import Callable
from email.message import Message

import pytest

from modelyard.pacing.answers import Header, is_temporary, read_asked_wait_s
from modelyard.pacing.pacer import Pacer
from modelyard.pacing.retries import Failure, GaveUp, RetryPolicy, call_with_retries

POLICY = RetryPolicy(attempts=5, unreached_attempts=3, first_wait_s=1, longest_wait_s=4)
BUSY = Failure(reason="busy", is_temporary=True, status=503)
UNREACHED = Failure(reason="nobody there", is_temporary=True)


class Time:
    """A clock that only the pauses move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return False


def pacer_of(
    time: Time, *, requests: int | None = None, tokens: int | None = None, at_once: int = 8
) -> Pacer:
    return Pacer(
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        concurrent_requests=at_once,
        clock=time,
    )


def send(
    time: Time,
    answers: list[str | Failure],
    policy: RetryPolicy = POLICY,
    pacer: Pacer | None = None,
) -> tuple[str | GaveUp, list[float]]:
    """The result of a call that is answered so, and when each attempt was sent."""
    sent: list[float] = []

    def call(left_s: float) -> str | Failure:
        sent.append(time.now)
        return answers[len(sent) - 1]

    pacer = pacer or pacer_of(time)
    return call_with_retries(call, policy, pacer, tokens=1, pause=time.pause), sent


def headers(**given: str) -> Header:
    message = Message()
    for name, value in given.items():
        message[name.replace("_", "-")] = value
    return message.get


def test_a_call_is_repeated_until_it_succeeds() -> None:
    result, sent = send(Time(), [BUSY, UNREACHED, "done"])
    assert result == "done"
    assert len(sent) == 3


def test_a_call_is_given_up_after_its_attempts() -> None:
    assert send(Time(), [BUSY] * 9)[0] == GaveUp(BUSY, 5)
    assert send(Time(), [UNREACHED] * 9)[0] == GaveUp(UNREACHED, 3)


def test_a_lasting_failure_is_not_repeated() -> None:
    refused = Failure(reason="no such model", is_temporary=False, status=404)
    assert send(Time(), [refused, "done"])[0] == GaveUp(refused, 1)


def test_waits_double_to_the_longest_and_are_drawn_from_all_of_it() -> None:
    random.seed(7)
    for attempt, longest in [(1, 1), (2, 2), (3, 4), (4, 4)]:
        waits = [POLICY.wait_s(BUSY, attempt) or 0.0 for _ in range(400)]
        assert 0 <= min(waits) < longest * 0.05
        assert longest * 0.95 < max(waits) <= longest
    assert POLICY.wait_s(BUSY, 5) is None
    many = RetryPolicy(attempts=10_000, unreached_attempts=1)
    assert 0 <= (many.wait_s(BUSY, 9_000) or 0.0) <= 40


def test_the_wait_that_a_service_asks_for_is_kept_by_all_its_callers() -> None:
    time = Time()
    pacer = pacer_of(time)
    asked = Failure(reason="slow down", is_temporary=True, status=429, asked_wait_s=20)
    result, sent = send(time, [asked, "done"], pacer=pacer)
    assert result == "done"
    assert 20 <= sent[1] - sent[0] <= 21
    pacer.hold(30)
    before = time.now
    assert send(time, ["done"], pacer=pacer)[1] == [before + 30]


def test_a_service_that_asks_for_too_long_a_wait_is_given_up_at_once() -> None:
    time = Time()
    pacer = pacer_of(time)
    asked = Failure(reason="come back tomorrow", is_temporary=True, status=429, asked_wait_s=86400)
    assert send(time, [asked, "done"], pacer=pacer)[0] == GaveUp(asked, 1)
    assert send(time, ["done"], pacer=pacer)[0] == "done"
    assert time.pauses == []


def test_the_deadline_counts_turns_attempts_and_waits() -> None:
    time = Time()
    policy = RetryPolicy(attempts=9, unreached_attempts=9, deadline_s=30)
    left: list[float] = []

    def slow(left_s: float) -> str | Failure:
        left.append(left_s)
        time.now += 12
        return BUSY

    result = call_with_retries(slow, policy, pacer_of(time), tokens=1, pause=time.pause)
    assert result == GaveUp(BUSY, 3)
    assert left[0] == 30
    assert left[0] > left[1] > left[2] > 0

    full = pacer_of(time, requests=1)
    assert send(time, ["done"], policy, full)[0] == "done"
    result, sent = send(time, ["done"], policy, full)
    assert isinstance(result, GaveUp)
    assert (result.attempts, sent) == (0, [])
    assert "no room" in result.failure.reason


def test_a_pause_that_is_ended_gives_the_call_up() -> None:
    stop = threading.Event()
    stop.set()
    result = call_with_retries(lambda _: BUSY, POLICY, pacer_of(Time()), tokens=1, pause=stop.wait)
    assert result == GaveUp(BUSY, 1)


def test_an_error_of_a_call_frees_its_slot() -> None:
    time = Time()
    pacer = pacer_of(time, at_once=1)

    def fail(left_s: float) -> str | Failure:
        raise RuntimeError("a bug")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            call_with_retries(fail, POLICY, pacer, tokens=1, pause=time.pause)


def take(pacer: Pacer, time: Time, tokens: int = 1) -> float:
    """When a call of so many tokens has its turn."""
    assert pacer.take_turn(tokens, pause=time.pause)
    pacer.end_turn()
    return time.now


def test_no_minute_has_more_requests_than_allowed() -> None:
    time = Time()
    pacer = pacer_of(time, requests=3)
    sent = []
    for _ in range(10):
        sent.append(take(pacer, time))
        time.now += 7
    assert all(later - sooner >= 60 for sooner, later in zip(sent, sent[3:], strict=False))
    assert sent[9] - sent[0] < 200


def test_no_minute_has_more_tokens_than_allowed() -> None:
    time = Time()
    pacer = pacer_of(time, tokens=100)
    assert take(pacer, time, 60) == 1000
    assert take(pacer, time, 40) == 1000
    assert take(pacer, time, 30) == pytest.approx(1060, abs=0.01)
    assert take(pacer, time, 500) == pytest.approx(1120, abs=0.02)  # larger than allowed: alone
    assert take(pacer, time, 1) == pytest.approx(1180, abs=0.03)


def test_no_more_calls_run_at_once_than_allowed() -> None:
    pacer = Pacer(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=2)
    running, most, lock = [0], [0], threading.Lock()
    both_run = threading.Barrier(2, timeout=10)

    def call(left_s: float) -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both_run.wait()
        with lock:
            running[0] -= 1
        return "done"

    threads = [
        threading.Thread(target=call_with_retries, args=(call, POLICY, pacer), kwargs={"tokens": 1})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [2]
    assert pacer.take_turn(1, within_s=0)
    assert pacer.take_turn(1, within_s=0)
    assert not pacer.take_turn(1, within_s=0)


@pytest.mark.parametrize(
    ("status", "temporary"),
    [
        (400, False), (401, False), (403, False), (404, False), (408, True), (409, True),
        (422, False), (425, True), (429, True), (500, True), (501, False), (502, True),
        (503, True), (504, True), (505, False), (529, True), (307, False),
    ],
)  # fmt: skip
def test_a_status_says_whether_a_failure_is_temporary(status: int, temporary: bool) -> None:
    assert is_temporary(status, headers()) is temporary


def test_a_service_may_say_itself_whether_to_try_again() -> None:
    assert is_temporary(400, headers(X_Should_Retry="true"))
    assert not is_temporary(429, headers(X_Should_Retry="FALSE"))
    assert is_temporary(429, headers(X_Should_Retry="perhaps"))


DAY = "Wed, 21 Oct 2026 07:28:"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (headers(), None),
        (headers(Retry_After="0"), 0),
        (headers(Retry_After=" 17 "), 17),
        (headers(Retry_After="1.5"), 1.5),
        (headers(Retry_After="20", Retry_After_Ms="1250"), 1.25),
        (headers(Retry_After=f"{DAY}31 GMT", Date=f"{DAY}01 GMT"), 30),
        (headers(Retry_After=f"{DAY}01 GMT", Date=f"{DAY}31 GMT"), 0),
        (headers(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), 0),
        (headers(Retry_After="Wed, 21 Oct 2026 07:28:31", Date=f"{DAY}01 +0000"), 30),
        (headers(Retry_After="-5"), None),
        (headers(Retry_After="inf"), None),
        (headers(Retry_After="nan"), None),
        (headers(Retry_After="²"), None),
        (headers(Retry_After="١٢"), None),
        (headers(Retry_After="1_000"), None),
        (headers(Retry_After="1e3"), None),
        (headers(Retry_After="+5"), None),
        (headers(Retry_After=".5"), None),
        (headers(Retry_After="1.5s"), None),
        (headers(Retry_After="7", Retry_After_Ms="1_0"), 7),
        (headers(Retry_After="soon"), None),
        (headers(Retry_After="Wed, 99 Oct 2026 07:28:31 GMT"), None),
        (headers(Retry_After="9" * 400), None),
    ],
)
def test_the_asked_wait_is_read_in_seconds_milliseconds_and_as_a_date(
    given: Callable[[str], str | None], seconds: float | None
) -> None:
    assert read_asked_wait_s(given) == seconds
