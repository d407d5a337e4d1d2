"""What a hosted job takes of its environment's budget: reserved before it, settled after it.

The reservation is named by the job's key, so the process that sees the job end settles what another
one reserved. What is never settled counts in full, as with every reservation.
"""

from __future__ import annotations

from modelyard.answering.money.ledger import check_budget, find_reservation, reserve
from modelyard.answering.request import OverLimit
from modelyard.core.layout import Project
from modelyard.training.hosted.plan import HostedPlan
from modelyard.training.hosted.record import JobRecord

_LEASE_S = 30 * 86_400.0
"""How long a job is waited for before what it can cost at most counts as spent."""


def require_budget(project: Project, plan: HostedPlan, key: str | None) -> None:
    """Raise OverLimit unless the budget allows what the job can cost at most.

    key: that of a job which an earlier process began and may have reserved for; None without one.
    """
    if key is not None and find_reservation(project, key) is not None:
        return
    base = plan.request.base
    refused = check_budget(
        project,
        environment=base.environment,
        organisation=plan.org,
        budgets=plan.budgets,
        max_cost_usd=None,
        worst_usd=plan.most_cost_usd,
    )
    if refused is None:
        return
    if plan.most_cost_usd is None:
        raise OverLimit(
            f"the price of tuning {base.model} is unknown, and {base.environment} has a budget",
            hint="write `fine_tuning: {price_per_million_training_tokens: $...}` in the config of "
            f"{base.name}",
        )
    raise OverLimit(
        f"in {base.environment}, {refused}",
        hint="take fewer rows or passes (--set schedule.epochs=1), or raise the budget in "
        "configs/integration.yaml",
    )


def reserve_for(project: Project, plan: HostedPlan, key: str) -> None:
    """Reserve what the job can cost at most, once for its key. Raises OverLimit."""
    if find_reservation(project, key) is None:
        reserve(
            project,
            environment=plan.request.base.environment,
            organisation=plan.org,
            answer_id=key,
            budgets=plan.budgets,
            max_cost_usd=None,
            worst_usd=plan.most_cost_usd,
            lease_s=_LEASE_S,
        )


def settle_job(project: Project, record: JobRecord) -> None:
    """Put what a job that ended did cost in place of its reservation; unknown: all of it."""
    if (reservation := find_reservation(project, record.key)) is not None:
        reservation.settle(record.cost_usd)


def release(project: Project, key: str) -> None:
    """Give back what was reserved for a job that the provider refused to create."""
    if (reservation := find_reservation(project, key)) is not None:
        reservation.settle(0.0)
