"""Whether each configured language model would answer now: key, endpoint, model, price, one token.

It is a person who asks: no breaker, limit or budget refuses it, and of what is found only the cost
is kept, in the ledger.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from modelyard.answering import breaker
from modelyard.answering.local_models import LocalModels
from modelyard.answering.money.bill import call_cost_usd
from modelyard.answering.money.ledger import Reservation, reserve
from modelyard.answering.money.listed_prices import load_price_list
from modelyard.answering.money.price_check import CheckedPrices, check_prices
from modelyard.answering.money.pricing import worst_cost_usd
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.integration import Budgets
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import ModelyardError, NoData
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.deployments.effective_settings import EffectiveModel
from modelyard.deployments.models_in_use import models_in_use
from modelyard.deployments.revisions import not_deployed
from modelyard.deployments.running import running_snapshot
from modelyard.providers.call import Call, CallFailure, Provider, Reply
from modelyard.providers.hosted import HostedModel
from modelyard.providers.listing import find_model
from modelyard.providers.open import open_provider
from modelyard.records.sample import new_answer_id
from modelyard.secrets.references import NoUsableKey

Spend = Callable[..., Reservation]
"""Reserves `worst_usd` for `answer_id` in the ledger."""
Aspect = Literal["key", "endpoint", "model", "price", "call"]
State = Literal["ok", "warning", "failed", "skipped"]

WITHOUT_A_DOMAIN = "requests without a domain"
_TIMEOUT_S = 20.0
_MOST_DAYS = 90
"""Age at which a list of prices says nothing about today's, as in `models prices check`."""
_MOST_INPUT_TOKENS = 200
"""More than the question has, with all that a provider puts around it."""
_QUESTION = Message("user", "Say OK.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing that was checked of a model."""

    aspect: Aspect
    """What was checked."""
    state: State
    """`warning`: it may answer all the same. `skipped`: it was not tried."""
    said: str
    """What was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedModel:
    """A configured language model, and whether it would answer."""

    model: str
    """Its name in the configs."""
    provider: str
    """Who runs it."""
    provider_model: str
    """What its provider calls it; of a local one the base."""
    used_by: tuple[str, ...]
    """The domains whose requests it may get; none: it is configured, and not used."""
    works: bool
    """Whether nothing of it failed."""
    checks: tuple[Checked, ...]
    """What was checked, in order."""


def check_providers(
    project: Project, environment: str, *, make_call: bool
) -> tuple[CheckedModel, ...]:
    """Every language model of an environment, those that are used first.

    make_call: whether each also generates one token, which a hosted one charges for.
    Raises what `running_snapshot` raises, NotDeployed, and NoData where there is no model.
    """
    number, snapshot = running_snapshot(project, environment)
    if not number and environment != DEFAULT_ENVIRONMENT:
        raise not_deployed(environment)
    used = models_in_use(snapshot, environment, number)
    models: dict[str, LanguageModel] = {
        name: snapshot.settings(f"language_models/{name}")
        for name in snapshot.names("language_models")
    }
    if not models:
        raise NoData(
            f"there are no language models in {environment}",
            hint="each is a file in configs/language_models/; `models init` writes some",
        )
    prices = _listed_prices(environment, models, frozenset(used))
    spend = partial(
        reserve,
        project,
        environment=environment,
        organisation=None,
        budgets=Budgets(),
        max_cost_usd=None,
        lease_s=3 * _TIMEOUT_S,
    )

    def check(name: str) -> CheckedModel:
        settings, uses = models[name], used.get(name, {})
        if settings.provider == "local":
            variants = list(uses.values()) or [EffectiveModel(name=name, settings=settings)]
            checks = tuple(_check_local(project, environment, variants, make_call))
        elif settings.provider == "builtin":
            checks = (_found("call", "ok", "needs nothing, and so cannot fail"),)
        else:
            model = open_provider(settings, project)
            checks = tuple(_check_hosted(model, prices.get(name), make_call, spend))
            if any((one.aspect, one.state) == ("call", "ok") for one in checks):
                breaker.close(project, f"{environment}/{name}")
        return CheckedModel(
            model=name,
            provider=settings.provider,
            provider_model=settings.model,
            used_by=tuple(domain or WITHOUT_A_DOMAIN for domain in uses),
            works=all(one.state != "failed" for one in checks),
            checks=checks,
        )

    hosted = [name for name, settings in models.items() if not settings.in_process]
    found = _at_once(check, hosted)
    # Those that load weights one after the other.
    found += [check(name) for name in models if name not in hosted]
    return tuple(sorted(found, key=lambda one: (not one.used_by, one.model)))


def _at_once(check: Callable[[str], CheckedModel], names: Sequence[str]) -> list[CheckedModel]:
    """The checks of several models, each in a thread that ^C does not wait for."""
    done: queue.SimpleQueue[CheckedModel | BaseException] = queue.SimpleQueue()

    def run(name: str) -> None:
        try:
            done.put(check(name))
        except BaseException as error:
            done.put(error)

    for name in names:
        threading.Thread(target=run, args=[name], name=f"check-{name}", daemon=True).start()
    found = []
    for _ in names:
        result = done.get()
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


def _found(aspect: Aspect, state: State, said: str) -> Checked:
    return Checked(aspect=aspect, state=state, said=said)


_NO_TOKEN = _found("call", "skipped", "no token was asked for")


def _check_hosted(
    model: HostedModel, prices: CheckedPrices | None, make_call: bool, spend: Spend
) -> Iterator[Checked]:
    try:
        has_key = model.read_key() is not None
        answer = find_model(model, timeout_s=min(_TIMEOUT_S, model.settings.timeout_s))
    except NoUsableKey as error:
        yield _found("key", "failed", str(error))
        yield _price_of(prices)
        return
    refused = isinstance(answer, CallFailure) and answer.status in (401, 403)
    if isinstance(answer, CallFailure) and refused:
        yield _found("key", "failed", answer.reason)
    else:
        yield _found("key", "ok", f"{model.settings.api_key}" if has_key else "none is needed")
    if isinstance(answer, CallFailure) and not refused:
        yield _found("endpoint", "failed", answer.reason)
        yield _price_of(prices)
        return
    yield _found("endpoint", "ok", model.endpoint)
    if not refused:
        yield _known(model, answer)
    yield _price_of(prices)
    if not refused:
        yield _paid_token(model, spend) if make_call else _NO_TOKEN


def _known(model: HostedModel, answer: object) -> Checked:
    name = model.settings.model
    if answer is True:
        return _found("model", "ok", name)
    if answer is None:
        return _found("model", "warning", f"{name}: the endpoint lists no models")
    if model.settings.provider == "openai_compatible":
        return _found("model", "warning", f"{name} is not in the endpoint's list")
    return _found("model", "failed", f"{name} does not exist, or the key may not use it")


def _listed_prices(
    environment: str, models: Mapping[str, LanguageModel], used: frozenset[str]
) -> Mapping[str, CheckedPrices]:
    """The prices of the models that may send a bill, compared with the list."""
    today = datetime.now(UTC).date()
    found = check_prices(
        environment,
        models,
        used,
        load_price_list(today),
        today=today,
        max_age_s=_MOST_DAYS * 86_400,
    )
    return {one.model: one for one in found.models}


def _price_of(found: CheckedPrices | None) -> Checked:
    if found is None:
        return _found("price", "ok", "none: it is on this machine")
    match found.state:
        case "missing":
            said = (
                "none: it is refused where a budget applies; give `prices`, $0 for one of your own"
            )
            return _found("price", "warning", said)
        case "same":
            return _found("price", "ok", f"as listed for {found.listed_as}")
        case "stale":
            return _found("price", "warning", "as listed, and the list is old")
        case "unlisted":
            return _found("price", "warning", "as configured; the list does not know the model")
        case _:
            keys = ", ".join(dict.fromkeys(each.key for each in found.differences))
            said = f"not as listed ({keys}): `models prices check` shows both"
            return _found("price", "warning", said)


def _check_local(
    project: Project, environment: str, variants: Sequence[EffectiveModel], make_call: bool
) -> Iterator[Checked]:
    """The model with each adapter that a domain wants on it."""
    by_adapter = {variant.settings.adapter: variant for variant in variants}
    with closing(LocalModels(project)) as models:
        for variant in by_adapter.values():
            try:
                local = models.find(variant, environment)
                yield _found("model", "ok", f"{local.name} is on this machine")
                if make_call:
                    provider, load_s = models.open(local, None)
                    yield _token(_ask(provider, _TIMEOUT_S), f", loaded in {load_s:.1f} s")
            except ModelyardError as error:
                hint = f"; {error.hint}" if error.hint else ""
                yield _found("model", "failed", f"{error}{hint}")
    if not make_call:
        yield _NO_TOKEN


def _paid_token(model: HostedModel, spend: Spend) -> Checked:
    """One token, whose cost the ledger counts; no budget refuses it."""
    worst_usd = worst_cost_usd(
        model.settings.prices, input_tokens=_MOST_INPUT_TOKENS, max_output_tokens=1
    )
    reservation = None
    if worst_usd is not None:
        with suppress(ModelyardError):  # a state.db that cannot be written hides no answer
            reservation = spend(worst_usd=worst_usd, answer_id=new_answer_id())
    answer = _ask(model, model.settings.timeout_s)
    if reservation is not None:
        with suppress(ModelyardError):
            cost_usd = call_cost_usd(
                model.settings, answer.usage, seconds=0.0, local_cost_per_hour_usd=None
            )
            reservation.settle(cost_usd)
    return _token(answer)


def _ask(provider: Provider, timeout_s: float) -> Reply | CallFailure:
    call = Call(messages=(_QUESTION,), generation=Generation(max_output_tokens=1))
    return provider.send(call, timeout_s=min(timeout_s, _TIMEOUT_S), on_text=None)


def _token(answer: Reply | CallFailure, loaded: str = "") -> Checked:
    tokens = answer.usage.output_tokens if answer.usage else 0
    if isinstance(answer, Reply) or (answer.kind == "broken" and tokens):
        return _found("call", "ok", f"{counted(tokens, 'token')}{loaded}")
    return _found("call", "failed", answer.reason)
