"""API keys, each with what its answers cost in the month that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from modelyard.access.keys import ApiKey, list_keys
from modelyard.answering.money.pricing import NANO
from modelyard.answering.money.spending import budgets_now, read_spending
from modelyard.answering.request import AccountedKey
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.results.json_form import published

_EVERY_ENVIRONMENT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """A key, and what its answers cost."""

    key: ApiKey = field(metadata=published(inline=True))
    """The key, without its secret."""
    spent_this_month_usd: float
    """What its answers cost in this month (UTC), in all environments; of those whose process died,
    the most that they could."""
    reserved_usd: float
    """The most that answers under way can cost."""
    unknown_this_month: int
    """How often the cost of an answer was not known; it is in no other figure."""


def report_keys(
    project: Project, organisation: str | None, *, now_s: float
) -> tuple[KeyReport, ...]:
    """The keys of an organisation, or all, at a time (seconds since 1970)."""
    return tuple(_report(project, key, now_s) for key in list_keys(project, organisation))


def _report(project: Project, key: ApiKey, now_s: float) -> KeyReport:
    accounted = AccountedKey(id=key.id, per_month_usd=key.per_month_usd)
    budgets = budgets_now(Budgets(), None, now_s, accounted)
    [budget] = [each for each in budgets if each.key_id is not None]
    counted = read_spending(partial(read_state, project), _EVERY_ENVIRONMENT, budget, now_s)
    return KeyReport(
        key=key,
        spent_this_month_usd=counted.spent / NANO,
        reserved_usd=counted.reserved / NANO,
        unknown_this_month=counted.unknown,
    )
