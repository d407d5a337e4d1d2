"""Limits of a minute and of calls under way, held across all processes of a project.

Each call has a row in traffic.db that counts against its limits. What the other side counts is when
a request arrives, which nobody here knows: it is between the moment at which the call may begin and
its end. So a row counts from the first until a minute after the second, where a request is taken to
have arrived after `_LONGEST_WAY_MS` at the latest. At no moment do more rows count than the limit;
so no minute of the other side, wherever it begins, has more requests than that.

A call for which there is no room yet books the first moment at which there is, and sleeps until
then: callers do not race each other, and none looks again and again. A booked moment is never taken
away by a call that comes later, and that of a process that died is free after its minute.
"""

from __future__ import annotations

import itertools
import math
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter

from modelyard.configs.kinds.integration import ServiceLimits
from modelyard.configs.kinds.language_models import RateLimits
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.monitoring.traffic_db import count_traffic
from modelyard.pacing.pacer import Pause, pause

Clock = Callable[[], float]
"""Seconds since 1970."""

_WINDOW_MS = 60_000
_LONGEST_WAY_MS = 2000
"""The longest that a request takes from its turn until it arrives."""
_COUNTS_MS = _WINDOW_MS + _LONGEST_WAY_MS
_LATE_MS = 500
"""Who comes so much later still has a booked moment: the rest of the way is long enough."""
_LOOK_AGAIN_MS = 100
"""The longest wait between two looks whether a call under way has ended."""
_LONGEST_HOLD_MS = 600_000
"""The longest that calls are held back; an end after that is from before the clock was set back."""
_FURTHEST_MS = 3_600_000
"""A row that begins later than that is from before the clock was set back."""
_LONGEST_CALL_S = 3600.0
"""After so long the process of a call is taken for dead, where the caller does not say."""
_TIDIES_UP = 64
"""One call in so many removes old rows of all scopes, also of those that nobody uses any more."""

_COUNTED = "SELECT count(*), total(tokens) FROM turns WHERE scope = ? AND counts_to_ms > ?"
_ROWS = "SELECT begins_at_ms, counts_to_ms, tokens FROM turns WHERE scope = ? AND counts_to_ms > ?"
_UNDER_WAY = "SELECT count(*) FROM turns WHERE scope = ? AND holds_to_ms > ?"
_HELD_TO = "SELECT ends_at_ms FROM holds WHERE scope = ? AND ends_at_ms <= ?"
_WRITE = "INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?)"
_END = """
UPDATE turns SET counts_to_ms = min(counts_to_ms, ?), holds_to_ms = 0 WHERE scope = ? AND id = ?
"""
_REMOVE_OLD = """
DELETE FROM turns WHERE (counts_to_ms <= ? AND holds_to_ms <= ? OR begins_at_ms > ?)
"""
_HOLD = """
INSERT INTO holds VALUES (:scope, :ends)
ON CONFLICT DO UPDATE SET ends_at_ms =
    iif(ends_at_ms > :furthest, excluded.ends_at_ms, max(ends_at_ms, excluded.ends_at_ms))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitScope:
    """What is limited together, such as all calls of a model."""

    name: str
    """Its name, the same in all processes."""
    requests_per_minute: int | None = None
    """Requests in any 60 seconds; None: no limit."""
    tokens_per_minute: int | None = None
    """Tokens in any 60 seconds; None: no limit. A call that has more goes alone."""
    concurrent_requests: int | None = None
    """Requests under way at once; None: no limit."""

    @property
    def is_limited(self) -> bool:
        """Whether anything of it is limited."""
        return self.has_minute or self.concurrent_requests is not None

    @property
    def has_minute(self) -> bool:
        """Whether a minute of it is limited."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def has_room(self, calls: int, tokens: int, more_tokens: int) -> bool:
        """Whether a call of `more_tokens` may count beside so many calls with so many tokens."""
        if self.requests_per_minute is not None and calls >= self.requests_per_minute:
            return False
        allowed = self.tokens_per_minute
        return allowed is None or calls == 0 or tokens + more_tokens <= allowed


def model_scope(
    environment: str, model: str, limits: RateLimits, *, is_local: bool = False
) -> LimitScope:
    """What the provider of a language model allows.

    is_local: whether it runs here. Then its engine has a line in which organisations take turns, so
    as many as come are under way unless the config says otherwise.
    """
    return LimitScope(
        name=f"{environment}/model/{model}",
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_requests=limits.concurrent_requests if is_local else limits.at_once,
    )


def service_scopes(
    environment: str, limits: ServiceLimits, organisation: str | None
) -> tuple[LimitScope, ...]:
    """How many requests this service accepts, of all and of one organisation."""
    of_all = LimitScope(
        name=f"{environment}/service",
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
    )
    if organisation is None:
        return (of_all,)
    of_one = LimitScope(
        name=f"{environment}/organisation/{organisation}",
        requests_per_minute=limits.requests_per_minute_per_organisation,
    )
    return of_all, of_one


def key_scope(key_id: str, requests_per_minute: int | None) -> LimitScope:
    """How many requests an API key may send, in all environments."""
    return LimitScope(name=f"key/{key_id}", requests_per_minute=requests_per_minute)


class Turn:
    """A call that may be sent now. A context manager: when it is left, the call has ended."""

    def __init__(
        self, project: Project, number: int, scopes: Sequence[LimitScope], clock: Clock
    ) -> None:
        self._project, self._number, self._scopes, self._clock = project, number, scopes, clock

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        """Let another call take its place.

        Where traffic.db cannot be written, its lease does: the answer is there, and is not lost.
        """
        if not self._scopes:
            return
        ends_ms = int(self._clock() * 1000) + _WINDOW_MS

        def end(traffic: sqlite3.Connection) -> None:
            for scope in self._scopes:
                traffic.execute(_END, (ends_ms, scope.name, self._number))

        with suppress(ModelyardError):
            count_traffic(self._project, end)


def take_turn(
    project: Project,
    scopes: Iterable[LimitScope],
    *,
    tokens: int,
    within_s: float,
    pause: Pause = pause,
    lease_s: float = _LONGEST_CALL_S,
    clock: Clock = time.time,
) -> Turn | float:
    """Wait for room for a call of so many tokens in every scope, and count it.

    within_s: the longest wait.
    pause: waits; when it is ended early, no call is counted.
    lease_s: longer than any call takes: after it, the process of the call is taken for dead.
    Returns the turn, to be left when the call has ended; or, with nothing counted, the seconds
    until there may be room, when that is too late.
    Where traffic.db cannot be written, the limits hold within this process.
    Raises ModelyardError when traffic.db is damaged.
    """
    named = list({scope.name: scope for scope in scopes if scope.is_limited}.values())
    place = _Place(named, tokens, lease_ms=math.ceil(lease_s * 1000))
    until_ms, waited_s = (clock() + within_s) * 1000, 0.0

    def advance(traffic: sqlite3.Connection) -> tuple[int, float, int | None]:
        now_ms = int(clock() * 1000)
        # The clock may have been set back meanwhile; and where there is room, none is too late.
        latest_ms = max(now_ms, min(until_ms, now_ms + (within_s - waited_s) * 1000))
        return now_ms, latest_ms, place.advance(traffic, now_ms, latest_ms)

    while named:
        now_ms, until_ms, wait_ms = count_traffic(project, advance)
        if wait_ms is None:
            break
        if now_ms + wait_ms > until_ms:
            return wait_ms / 1000
        waited_s += wait_ms / 1000
        if pause(wait_ms / 1000):
            count_traffic(project, place.leave)
            return wait_ms / 1000
    return Turn(project, place.number, named, clock)


def hold(project: Project, name: str, wait_s: float, *, clock: Clock = time.time) -> None:
    """Let no call of a limited scope begin for so long: its service asked one of them to wait.

    Ten minutes at most.
    """
    now_ms = int(clock() * 1000)
    ends_ms = now_ms + math.ceil(min(wait_s * 1000, _LONGEST_HOLD_MS))
    values = {"scope": name, "ends": ends_ms, "furthest": now_ms + _LONGEST_HOLD_MS}
    count_traffic(project, lambda traffic: traffic.execute(_HOLD, values))


class _Place:
    """The place of one call among the others of its scopes."""

    def __init__(self, scopes: Sequence[LimitScope], tokens: int, *, lease_ms: int) -> None:
        self.number = random.getrandbits(62)
        self._scopes, self._tokens, self._lease_ms = scopes, tokens, lease_ms
        self._booked_ms: int | None = None

    def advance(self, traffic: sqlite3.Connection, now_ms: int, until_ms: float) -> int | None:
        """Begin and return None, or return the milliseconds until that may be possible.

        Where that is later than `until_ms`, nothing is left of it.
        """
        old = (now_ms, now_ms, now_ms + _FURTHEST_MS)
        if self.number % _TIDIES_UP == 0:
            traffic.execute(_REMOVE_OLD, old)
        for scope in self._scopes:
            traffic.execute(f"{_REMOVE_OLD} AND scope = ?", (*old, scope.name))
        begins_ms = self._first_moment(traffic, now_ms)
        if begins_ms > until_ms:
            self.leave(traffic)
        elif begins_ms > now_ms:
            if begins_ms != self._booked_ms:
                self._write(traffic, begins_ms, holds_to_ms=0)
        elif not self._is_full(traffic, now_ms):
            self._write(traffic, self._booked_ms or now_ms, holds_to_ms=now_ms + self._lease_ms)
            return None
        else:
            wait_ms = 1 + int(random.uniform(0, _LOOK_AGAIN_MS))
            if now_ms + wait_ms > until_ms:
                self.leave(traffic)
            return wait_ms
        return begins_ms - now_ms

    def leave(self, traffic: sqlite3.Connection) -> None:
        """Give up what is booked."""
        if self._booked_ms is not None:
            for scope in self._scopes:
                values = (scope.name, self.number)
                traffic.execute("DELETE FROM turns WHERE scope = ? AND id = ?", values)
            self._booked_ms = None

    def _first_moment(self, traffic: sqlite3.Connection, now_ms: int) -> int:
        """The first moment from now on at which no limit of a minute is in the way."""
        first_ms = now_ms
        for scope in self._scopes:
            held = (scope.name, now_ms + _LONGEST_HOLD_MS)
            for (ends_at_ms,) in traffic.execute(_HELD_TO, held).fetchall():
                first_ms = max(first_ms, ends_at_ms)
        booked_ms = self._booked_ms
        if booked_ms is not None:
            if first_ms <= booked_ms + _LATE_MS:
                return max(booked_ms, now_ms)
            self.leave(traffic)
        limited = [scope for scope in self._scopes if scope.has_minute]
        while True:
            later_ms = max(
                (self._room_in(traffic, scope, first_ms) for scope in limited), default=first_ms
            )
            if later_ms == first_ms:
                return first_ms
            first_ms = later_ms

    def _room_in(self, traffic: sqlite3.Connection, scope: LimitScope, from_ms: int) -> int:
        """The first moment from then on at which a scope has room for a whole minute."""
        calls, tokens = traffic.execute(_COUNTED, (scope.name, from_ms)).fetchone()
        if scope.has_room(calls, tokens, self._tokens):
            return from_ms
        rows = traffic.execute(_ROWS, (scope.name, from_ms)).fetchall()
        return first_room_ms(scope, rows, self._tokens, from_ms)

    def _is_full(self, traffic: sqlite3.Connection, now_ms: int) -> bool:
        """Whether a scope has all the calls under way that it may have."""
        return any(
            traffic.execute(_UNDER_WAY, (scope.name, now_ms)).fetchone()[0]
            >= scope.concurrent_requests
            for scope in self._scopes
            if scope.concurrent_requests is not None
        )

    def _write(self, traffic: sqlite3.Connection, begins_ms: int, *, holds_to_ms: int) -> None:
        for scope in self._scopes:
            counts_to_ms = begins_ms + _COUNTS_MS if scope.has_minute else 0
            values = (self.number, scope.name, begins_ms, counts_to_ms, self._tokens, holds_to_ms)
            traffic.execute(_WRITE, values)
        self._booked_ms = begins_ms


def first_room_ms(
    scope: LimitScope, rows: Iterable[Sequence[int]], tokens: int, from_ms: int
) -> int:
    """The first moment from `from_ms` on from which a scope has room for as long as a row counts.

    rows: begin, end and tokens of those that count.
    """
    changes = sorted(
        change
        for begins_ms, ends_ms, its_tokens in rows
        for change in (
            (max(begins_ms, from_ms), 1, its_tokens),
            (ends_ms, -1, -its_tokens),
        )
    )
    found_ms, calls, counted = from_ms, 0, 0
    for at_ms, following in itertools.groupby(changes, key=itemgetter(0)):
        # What counted until now did so up to this moment.
        if not scope.has_room(calls, counted, tokens):
            found_ms = at_ms
        elif at_ms >= found_ms + _COUNTS_MS:
            break
        for _, call, its_tokens in following:
            calls, counted = calls + call, counted + its_tokens
    return found_ms
