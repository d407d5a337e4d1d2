"""What texts for an encoder behind an API cost, counted against the budgets of an environment."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.answering.money.ledger import reserve
from modelyard.answering.request import OverLimit
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_integration
from modelyard.encoders import Charge
from modelyard.records.sample import new_answer_id

_LEASE_S = 600.0
"""Longer than an encoder is asked again for the same texts."""


def embedding_charge(project: Project, environment: str) -> Charge:
    """Reserves the cost of texts in the ledger of an environment, of no organisation.

    It raises OverLimit when a budget leaves no room for them.
    """

    def charge(worst_usd: float) -> Callable[[float], None]:
        integration = load_integration(environment, project=project)
        try:
            reservation = reserve(
                project,
                environment=environment,
                organisation=None,
                answer_id=new_answer_id(),
                budgets=integration.model_integration.budgets if integration else Budgets(),
                max_cost_usd=None,
                worst_usd=worst_usd,
                lease_s=_LEASE_S,
            )
        except OverLimit as error:
            refused = OverLimit(
                f"the next texts are not sent to the encoder: {error.message}",
                hint=f"{error.hint}; what was embedded is kept",
            )
            refused.is_budget = True
            raise refused from error
        return reservation.settle

    return charge
