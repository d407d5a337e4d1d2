"""The ledger: what answers may still cost, across all processes of a project.

Before a call the most that it can cost is reserved, in one transaction against every budget that
it counts for; after it the reservation gives way to what the call did cost. Spent and reserved
are together never above a budget, and never below the bill:

- A reservation is on the disk before the call is made. A process that dies leaves it there, and
  after its lease it counts as spent, in full.
- A settlement that a power cut undoes leaves the reservation, in full.
- A process that lives on after its lease settles as any other: the real cost takes the place of
  the full one.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.answering.money.pricing import NANO, to_nano_usd
from modelyard.answering.money.spending import ALL, Query, budgets_now, day_of, read_spending
from modelyard.answering.request import AccountedKey, OverLimit
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.core.state import change_state, read_state
from modelyard.pacing.pacer import Pause, pause
from modelyard.settings.units import MONEY

Clock = Callable[[], float]
"""Seconds since 1970."""

UNKNOWN_PRICE_HINT = "give the language model its `prices`; $0 for one of your own"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.3
"""Between two looks whether others have settled: the wait doubles, and is drawn from all of it."""
_OTHERS_SETTLE_S = 5.0
"""What a client is told to wait where calls under way hold the rest of a budget."""
_LAPSED_STAY_S = 86_400
"""How long a reservation that lapsed waits for its process before it is added to what is spent."""

_RESERVE = """
INSERT INTO reservations
    (environment, organisation, day, answer_id, nano_usd, lapses_at_ms, key_id)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_TAKE = """
DELETE FROM reservations WHERE {} RETURNING environment, organisation, day, nano_usd, key_id
"""
_ADD = """
INSERT INTO spending (environment, organisation, day, nano_usd, unknown) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    nano_usd = nano_usd + excluded.nano_usd, unknown = unknown + excluded.unknown
"""
_ADD_TO_KEY = """
INSERT INTO key_spending (key_id, day, nano_usd, unknown) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    nano_usd = nano_usd + excluded.nano_usd, unknown = unknown + excluded.unknown
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is to be reserved, and against what."""

    environment: str
    organisation: str | None
    budgets: Budgets
    max_cost_usd: float | None
    worst_usd: float | None
    key: AccountedKey | None = None

    @property
    def worst(self) -> int | None:
        """The most that it can cost, in nano-dollars."""
        return None if self.worst_usd is None else to_nano_usd(self.worst_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """Why something cannot be reserved."""

    reason: str
    hint: str
    wait_s: float | None = None
    """Seconds until there may be room; None where waiting does not help."""
    may_pass: bool = False
    """Whether there is room when others settle for less than they reserved."""

    def error(self) -> OverLimit:
        error = OverLimit(self.reason, hint=self.hint)
        error.wait_s = self.wait_s
        error.is_budget = True
        return error


class Reservation:
    """What calls of one answer may cost, until it is settled; threads may share it."""

    def __init__(self, project: Project, number: int | None, worst_usd: float | None) -> None:
        self.worst_usd = worst_usd
        """The most that they can cost; None: not known."""
        self._project = project
        self._number = number
        self._lock = threading.Lock()
        self._is_settled = number is None

    def settle(self, cost_usd: float | None) -> None:
        """Put what the calls did cost in its place; None: not known, so all of it is spent.

        Only the first settlement counts. Raises ModelyardError when state.db cannot be written:
        until it is settled it counts in full.
        """
        with self._lock:
            if self._is_settled:
                return
            # Not synced: what a power cut undoes leaves the reservation.
            with change_state(self._project, sync=False) as state:
                cost = None if cost_usd is None else to_nano_usd(cost_usd)
                _settle(state, "id = ?", self._number, cost)
            self._is_settled = True


def reserve(
    project: Project,
    *,
    environment: str,
    organisation: str | None,
    answer_id: str,
    budgets: Budgets,
    max_cost_usd: float | None,
    worst_usd: float | None,
    lease_s: float,
    key: AccountedKey | None = None,
    within_s: float = 0.0,
    pause: Pause = pause,
    clock: Clock = time.time,
) -> Reservation:
    """Reserve the most that the calls of an answer can cost, against every budget.

    organisation: who asks; None counts for no organisation's budget.
    max_cost_usd: what the request may cost; None: no limit.
    worst_usd: the most that it can; None: not known, which no budget and no limit allows. 0 is
        reserved without a trace.
    lease_s: after so long its process is taken for dead, and it counts as spent.
    key: the API key that it counts for besides.
    within_s: how long to wait for others to settle, where that can make room.
    pause: waits; when it is ended early, the request is refused.
    Raises OverLimit when a limit leaves no room, ModelyardError when state.db cannot be written.
    """
    wish = _Wish(
        environment=environment,
        organisation=organisation,
        budgets=budgets,
        max_cost_usd=max_cost_usd,
        worst_usd=worst_usd,
        key=key,
    )
    if refusal := _refused_by_itself(wish):
        raise refusal.error()
    if worst_usd == 0:
        return Reservation(project, None, worst_usd)
    until_s, wait_s, waited_s = clock() + within_s, _FIRST_WAIT_S, 0.0
    while True:
        if refusal is None:
            number, refusal = _try(project, wish, answer_id, lease_s, clock())
            if refusal is None:
                return Reservation(project, number, worst_usd)
        left_s = min(until_s - clock(), within_s - waited_s)  # the clock may be set back meanwhile
        this_wait_s = min(random.uniform(0, wait_s), left_s)
        if not refusal.may_pass or left_s <= 0 or pause(this_wait_s):
            raise refusal.error()
        waited_s += this_wait_s
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        refusal = _refused_by_budget(_reading(project), wish, clock())


def find_reservation(project: Project, answer_id: str) -> Reservation | None:
    """The reservation that some process made under an id and nobody settled; None without one.

    For what goes on longer than a process, such as a provider's fine-tuning job.
    """
    query = "SELECT id, nano_usd FROM reservations WHERE answer_id = ?"
    for row in read_state(project, query, (answer_id,)):
        nano_usd = row["nano_usd"]
        return Reservation(project, row["id"], None if nano_usd is None else nano_usd / NANO)
    return None


def check_budget(
    project: Project,
    *,
    environment: str,
    organisation: str | None,
    budgets: Budgets,
    max_cost_usd: float | None,
    worst_usd: float | None,
    clock: Clock = time.time,
) -> str | None:
    """Why `reserve` would refuse this now, without waiting; None when it would not."""
    wish = _Wish(
        environment=environment,
        organisation=organisation,
        budgets=budgets,
        max_cost_usd=max_cost_usd,
        worst_usd=worst_usd,
    )
    refusal = _refused_by_itself(wish)
    if refusal is None and worst_usd != 0:
        refusal = _refused_by_budget(_reading(project), wish, clock())
    return refusal.reason if refusal else None


def _try(
    project: Project, wish: _Wish, answer_id: str, lease_s: float, now_s: float
) -> tuple[int | None, _Refusal | None]:
    """The number of a new reservation, or why there is none."""
    with change_state(project) as state:
        _settle(state, "lapses_at_ms <= ?", int((now_s - _LAPSED_STAY_S) * 1000), None)
        refusal = _refused_by_budget(
            lambda query, values: state.execute(query, values).fetchall(), wish, now_s
        )
        if refusal is not None:
            return None, refusal
        row = (
            wish.environment,
            wish.organisation or ALL,
            day_of(now_s),
            answer_id,
            wish.worst,
            int((now_s + lease_s) * 1000),
            wish.key.id if wish.key is not None else None,
        )
        return state.execute(_RESERVE, row).lastrowid, None


def _settle(state: sqlite3.Connection, condition: str, value: object, cost: int | None) -> None:
    """Turn reservations into spending: what they cost in nano-dollars; None: all of it."""
    for row in state.execute(_TAKE.format(condition), (value,)).fetchall():
        spent = row["nano_usd"] if cost is None else cost
        for organisation in {ALL, row["organisation"]}:
            values = (row["environment"], organisation, row["day"], spent or 0, spent is None)
            state.execute(_ADD, values)
        if row["key_id"] is not None:
            of_key = (row["key_id"], row["day"], spent or 0, spent is None)
            state.execute(_ADD_TO_KEY, of_key)


def _refused_by_itself(wish: _Wish) -> _Refusal | None:
    """Why no state of the ledger would allow it."""
    limited = wish.max_cost_usd is not None or any(
        budget.limit is not None
        for budget in budgets_now(wish.budgets, wish.organisation, 0, wish.key)
    )
    if wish.worst_usd is None:
        return _UNKNOWN_PRICE if limited else None
    if wish.max_cost_usd is not None and wish.worst_usd > wish.max_cost_usd:
        return _Refusal(
            reason=f"it could cost {MONEY.show(wish.worst_usd)}, and a request may cost "
            f"{MONEY.show(wish.max_cost_usd)}",
            hint="ask for a shorter answer, send less, or raise max_cost_per_request of the "
            "performance profile",
        )
    return None


_UNKNOWN_PRICE = _Refusal(
    reason="its price is unknown, so no budget could hold",
    hint=UNKNOWN_PRICE_HINT,
)


def _reading(project: Project) -> Query:
    return lambda query, values: read_state(project, query, values)


def _refused_by_budget(query: Query, wish: _Wish, now_s: float) -> _Refusal | None:
    """The budget that leaves no room at a time."""
    worst = wish.worst
    for budget in budgets_now(wish.budgets, wish.organisation, now_s, wish.key):
        if budget.limit is None or worst is None:
            continue
        counted = read_spending(query, wish.environment, budget, now_s)
        if counted.spent + counted.reserved + worst <= budget.limit:
            continue
        fits_alone = worst <= budget.limit
        may_pass = counted.spent + worst <= budget.limit
        until_end_s = (budget.ends_at - datetime.fromtimestamp(now_s, UTC)).total_seconds()
        spent, reserved = (MONEY.show(part / NANO) for part in (counted.spent, counted.reserved))
        return _Refusal(
            reason=f"it could cost {MONEY.show(worst / NANO)}, and of {budget.words}, "
            f"{MONEY.show(budget.limit / NANO)}, {spent} is spent and {reserved} reserved by calls "
            "under way",
            hint=("use a key with more" if budget.key_id else f"raise budgets.{budget.key}")
            + ", or "
            + (f"wait until {budget.ends_at:%Y-%m-%d %H:%M} UTC" if fits_alone else "send less"),
            wait_s=_OTHERS_SETTLE_S if may_pass else until_end_s if fits_alone else None,
            may_pass=may_pass,
        )
    return None
