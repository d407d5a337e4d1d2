"""Spent, reserved and left, of the day and the month, of all together and of organisations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelyard.answering.money.pricing import NANO
from modelyard.answering.money.spending import ALL, Budget, budgets_now, day_of, read_spending
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.settings.units import MONEY

_ORGANISATIONS = """
SELECT organisation FROM spending WHERE environment = :environment AND day >= :month
UNION SELECT organisation FROM reservations WHERE environment = :environment AND day >= :month
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetShown:
    """One day or month of all together, or of one organisation."""

    organisation: str | None
    """The organisation; null: all together, with requests of no organisation."""
    period: str
    """The UTC day or month, such as `2026-11-30` or `2026-11`."""
    spent_usd: float
    """What answers cost; of those whose process died, the most that they could."""
    reserved_usd: float
    """The most that answers under way can cost."""
    limit_usd: float | None
    """What may be spent; null: there is no limit."""
    left_usd: float | None
    """What may still be reserved; null: there is no limit."""
    is_near: bool
    """Whether the share of the budget is spent at which `warn_at` gives a warning."""
    unknown: int
    """How often the cost of an answer was not known; it is in no other figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReport:
    """What was spent in an environment, against its budgets."""

    environment: str
    """The environment."""
    budgets: tuple[BudgetShown, ...]
    """Today and this month: all together, then each organisation that spent something."""

    def warnings(self) -> Iterator[str]:
        """A sentence for each budget of which the share is spent that `warn_at` says."""
        for shown in self.budgets:
            if shown.is_near and shown.limit_usd is not None:
                whose = f" of {shown.organisation}" if shown.organisation is not None else ""
                spent = MONEY.show(round(shown.spent_usd, 4))
                yield (
                    f"{spent} of {MONEY.show(shown.limit_usd)} are spent of the budget{whose} for "
                    f"{shown.period} in {self.environment}"
                )


def report_budgets(
    project: Project,
    environment: str,
    budgets: Budgets,
    *,
    organisation: str | None,
    now_s: float,
) -> BudgetReport:
    """What counts for the budgets at a time (seconds since 1970).

    organisation: only this one; None: all together, and each that spent something this month.
    """
    query = partial(read_state, project)
    values = {"environment": environment, "month": day_of(now_s)[:7]}
    if organisation is None:
        names = [row["organisation"] for row in query(_ORGANISATIONS, values)]
        shown = [None, *(name for name in names if name != ALL)]
    else:
        shown = [organisation]
    return BudgetReport(
        environment=environment,
        budgets=tuple(
            _shown(query, environment, budget, budgets.warn_at, now_s)
            for name in shown
            for budget in budgets_now(budgets, name, now_s)
            if budget.organisation == name
        ),
    )


def _shown(
    query: Any, environment: str, budget: Budget, warn_at: float, now_s: float
) -> BudgetShown:
    counted = read_spending(query, environment, budget, now_s)
    limit = budget.limit
    left = None if limit is None else max(0, limit - counted.spent - counted.reserved)
    return BudgetShown(
        organisation=budget.organisation,
        period=budget.period,
        spent_usd=counted.spent / NANO,
        reserved_usd=counted.reserved / NANO,
        limit_usd=budget.limit_usd,
        left_usd=None if left is None else left / NANO,
        is_near=limit is not None and counted.spent > 0 and counted.spent >= warn_at * limit,
        unknown=counted.unknown,
    )
