"""What was spent and what is reserved, against each budget: read from the ledger, changing nothing.

A day is a UTC day, a month a UTC calendar month, and a cost counts for the day on which it was
reserved. Amounts are whole nano-dollars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from modelyard.answering.money.pricing import NANO
from modelyard.answering.request import AccountedKey
from modelyard.configs.kinds.integration import Budgets

ALL = ""
"""In place of an organisation: all together. Of one reservation: that it is of none."""

_TOTALS = """
SELECT
    (SELECT coalesce(sum(nano_usd), 0) FROM spending WHERE environment = :environment
        AND organisation = :organisation AND day BETWEEN :period AND :period || '~') AS settled,
    (SELECT coalesce(sum(unknown), 0) FROM spending WHERE environment = :environment
        AND organisation = :organisation AND day BETWEEN :period AND :period || '~') AS unknown,
    coalesce(sum(nano_usd) FILTER (WHERE lapses_at_ms <= :now_ms), 0) AS lapsed,
    count(*) FILTER (WHERE lapses_at_ms <= :now_ms AND nano_usd IS NULL) AS lapsed_unknown,
    coalesce(sum(nano_usd) FILTER (WHERE lapses_at_ms > :now_ms), 0) AS reserved
FROM reservations WHERE environment = :environment AND day BETWEEN :period AND :period || '~'
    AND (:organisation = '' OR organisation = :organisation)
"""

_TOTALS_OF_KEY = """
SELECT
    (SELECT coalesce(sum(nano_usd), 0) FROM key_spending
        WHERE key_id = :key_id AND day BETWEEN :period AND :period || '~') AS settled,
    (SELECT coalesce(sum(unknown), 0) FROM key_spending
        WHERE key_id = :key_id AND day BETWEEN :period AND :period || '~') AS unknown,
    coalesce(sum(nano_usd) FILTER (WHERE lapses_at_ms <= :now_ms), 0) AS lapsed,
    count(*) FILTER (WHERE lapses_at_ms <= :now_ms AND nano_usd IS NULL) AS lapsed_unknown,
    coalesce(sum(nano_usd) FILTER (WHERE lapses_at_ms > :now_ms), 0) AS reserved
FROM reservations WHERE key_id = :key_id AND day BETWEEN :period AND :period || '~'
"""

Query = Callable[[str, Mapping[str, Any]], list[Any]]
"""Gives the rows of a query on state.db."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was spent in some time, and what is reserved, in nano-dollars."""

    spent: int
    """Settled, or reserved by a process that died."""
    reserved: int
    """The most that calls under way can cost."""
    unknown: int
    """How often a cost was not known; it is in neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent in one day or month."""

    key: str | None
    """Its key in the config, such as `per_day`; None where the config has none."""
    limit_usd: float | None
    """What may be spent; None: there is no limit."""
    organisation: str | None
    """The organisation that it is for; None: all together."""
    period: str
    """`2026-11-30`, or `2026-11`."""
    ends_at: datetime
    """When the next such time begins."""
    key_id: str | None = None
    """The API key that it is for, in all environments; None: it is for none."""

    @property
    def limit(self) -> int | None:
        """What may be spent, in nano-dollars."""
        return None if self.limit_usd is None else round(self.limit_usd * NANO)

    @property
    def words(self) -> str:
        """Such as `the budget of acme for 2026-11-30`."""
        whose = f" of {self.organisation}" if self.organisation is not None else ""
        if self.key_id is not None:
            whose = f" of the API key {self.key_id}"
        return f"the budget{whose} for {self.period}"


def budgets_now(
    budgets: Budgets, organisation: str | None, now_s: float, key: AccountedKey | None = None
) -> tuple[Budget, ...]:
    """The budgets that a request counts for at a time (seconds since 1970), limited or not."""
    found = [
        _budget("per_day", budgets.per_day_usd, None, "day", now_s),
        _budget("per_month", budgets.per_month_usd, None, "month", now_s),
    ]
    if organisation is not None:
        limit_usd = budgets.per_organisation_per_day_usd
        found.append(
            _budget("per_organisation_per_day", limit_usd, organisation, "day", now_s),
        )
        found.append(_budget(None, None, organisation, "month", now_s))
    if key is not None:
        of_key = _budget(None, key.per_month_usd, None, "month", now_s)
        found.append(replace(of_key, key_id=key.id))
    return tuple(found)


def _budget(
    key: str | None,
    limit_usd: float | None,
    organisation: str | None,
    length: Literal["day", "month"],
    now_s: float,
) -> Budget:
    now = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    in_next_month = now.replace(day=1) + timedelta(days=32)
    return Budget(
        key=key,
        limit_usd=limit_usd,
        organisation=organisation,
        period=day_of(now_s) if length == "day" else day_of(now_s)[:7],
        ends_at=now + timedelta(days=1) if length == "day" else in_next_month.replace(day=1),
    )


def day_of(now_s: float) -> str:
    """The UTC day of a time (seconds since 1970), such as `2026-11-30`."""
    return f"{datetime.fromtimestamp(now_s, UTC):%Y-%m-%d}"


def read_spending(query: Query, environment: str, budget: Budget, now_s: float) -> Spending:
    """What counts for a budget at a time (seconds since 1970)."""
    values = {
        "environment": environment,
        "organisation": budget.organisation or ALL,
        "key_id": budget.key_id,
        "period": budget.period,
        "now_ms": int(now_s * 1000),
    }
    for row in query(_TOTALS if budget.key_id is None else _TOTALS_OF_KEY, values):
        return Spending(
            spent=row["settled"] + row["lapsed"],
            reserved=row["reserved"],
            unknown=row["unknown"] + row["lapsed_unknown"],
        )
    return Spending(spent=0, reserved=0, unknown=0)
