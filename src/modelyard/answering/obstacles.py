"""What keeps a model from being asked now: found before anything is sent, and changing nothing."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.answering import breaker
from modelyard.answering.input_size import InputSize
from modelyard.answering.local_models import LocalModels
from modelyard.answering.money.ledger import UNKNOWN_PRICE_HINT, check_budget
from modelyard.answering.request import LeftOut, LeftOutFor
from modelyard.answering.unanswered import is_damage
from modelyard.configs.kinds.endpoints import endpoint_url
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.secrets.references import NoUsableKey, read_key


def find_obstacle(
    project: Project,
    effective: Effective,
    model: EffectiveModel,
    local_models: LocalModels,
    *,
    needs_json: bool,
    size: InputSize,
) -> LeftOut | None:
    """Why a model cannot be asked, its cost and its limits aside; None when it can."""
    settings, name = model.settings, model.name
    if settings.provider == "builtin":
        if needs_json:
            reason = "it quotes what is found, and the answer must be JSON"
            return LeftOut(model=name, why="no_json", reason=reason)
        return None
    if settings.provider == "local":
        try:
            local_models.find(model, effective.environment)
        except ModelyardError as error:
            hint = f" ({error.hint})" if error.hint else ""
            why: LeftOutFor = "damaged" if is_damage(error) else "not_local"
            return LeftOut(model=name, why=why, reason=f"{error}{hint}")
    try:
        if settings.endpoint is not None:
            endpoint_url(settings.endpoint)
        if settings.api_key is not None:
            read_key(settings.api_key, project, of=f"the model {name}")
    except NoUsableKey as error:
        return LeftOut(model=name, why="no_key", reason=str(error))
    if size.least >= settings.context_tokens:
        reason = f"{size.about:,} tokens of input, and its context has {settings.context_tokens:,}"
        return LeftOut(model=name, why="too_long", reason=reason)
    seen = breaker.peek(project, f"{effective.environment}/{name}", effective.fallback_strategy)
    if seen.state == "open":
        return LeftOut(model=name, why="breaker", reason=seen.words)
    return None


def find_stand_in(model: EffectiveModel, damaged: Mapping[str, str]) -> LeftOut | None:
    """Why a bare base is not asked in the place of its adapter whose files are damaged.

    Whoever asks could not tell its answers from the adapter's. damaged: by the name of a base, the
    adapter of it that could not be used.
    """
    settings = model.settings
    adapter = damaged.get(settings.model)
    if settings.provider != "local" or settings.adapter is not None or adapter is None:
        return None
    reason = f"{adapter} is damaged, and its base does not answer in its place"
    return LeftOut(model=model.name, why="damaged", reason=reason)


def find_budget_obstacle(
    project: Project,
    effective: Effective,
    model: EffectiveModel,
    *,
    organisation: str | None,
    worst_usd: float | None,
) -> LeftOut | None:
    """Why a request that could cost so much would be refused now; None when it would not."""
    if model.settings.provider == "builtin":
        return None
    reason = check_budget(
        project,
        environment=effective.environment,
        organisation=organisation,
        budgets=effective.budgets,
        max_cost_usd=effective.max_cost_per_request_usd,
        worst_usd=worst_usd,
    )
    if reason is None:
        return None
    if worst_usd is None:
        reason = f"{reason} ({UNKNOWN_PRICE_HINT})"
        return LeftOut(model=model.name, why="unknown_price", reason=reason)
    return LeftOut(model=model.name, why="budget", reason=reason)
