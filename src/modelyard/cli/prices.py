"""`models prices check`: configured prices against what providers are known to charge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import flush_results, print_json, print_note, print_table, print_warning
from modelyard.core.errors import GateBreached, InvalidInput, NoData
from modelyard.core.layout import find_project
from modelyard.settings.units import DURATION, MONEY, TOKENS

if TYPE_CHECKING:
    from modelyard.answering.money.price_check import CheckedPrices, PriceDifference


def check(
    max_age: Annotated[
        str,
        typer.Option(
            "--max-age",
            metavar="DURATION",
            help="How old the list may be and still say that a price is right.",
        ),
    ] = "90 days",
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Compare configured prices with what providers charge.

    The list is that of genai-prices. It comes with its package, with the prices of long inputs and
    of caches; nothing is fetched. A model that it does not know is shown as unlisted.

    Exit code 4: a model in use has other prices than the list, or none. Exit code 5: they agree,
    and the list is older than --max-age, which says nothing about today's prices.

    \b
    models prices check --env production
    models prices check --max-age "30 days" --json
    """
    from modelyard.answering.money.listed_prices import load_price_list
    from modelyard.answering.money.price_check import WRONG, check_prices
    from modelyard.deployments.models_in_use import models_in_use
    from modelyard.deployments.running import running_settings, running_snapshot

    max_age_s = DURATION.parse(max_age)
    if max_age_s is None:
        raise InvalidInput(
            f"--max-age {max_age!r} is not a duration",
            hint="such as " + ", ".join(DURATION.examples),
        )
    project = find_project()
    asked = chosen_environment(project, environment)
    models = running_settings(project, asked, "language_models")
    number, snapshot = running_snapshot(project, asked)
    today = datetime.now(UTC).date()
    found = check_prices(
        asked,
        models,
        frozenset(models_in_use(snapshot, asked, number)),
        load_price_list(today),
        today=today,
        max_age_s=max_age_s,
    )
    if as_json:
        print_json(found)
    else:
        print_table(
            ("model", "provider", "its name", "in use", "prices", "differences"),
            [_row(model) for model in found.models],
        )
        when = f", checked by its authors until {found.checked_on}" if found.checked_on else ""
        print_note(f"Compared with {found.price_list}{when}.")
    flush_results()
    if wrong := found.in_state(*WRONG):
        raise GateBreached(
            f"{len(wrong)} of the models in use in {asked} have wrong prices: "
            + ", ".join(f"{model.model} ({model.state})" for model in wrong),
            hint="correct `prices` in configs/language_models/, and deploy them",
        )
    if stale := found.in_state("stale"):
        raise NoData(
            f"the list is older than {max_age}, so it cannot say whether the prices of "
            f"{', '.join(model.model for model in stale)} are right",
            hint="update genai-prices in this environment",
        )
    for model in found.in_state("unlisted"):
        print_warning(f"{model.model} is in use, and {found.price_list} does not know its price")


def _row(model: CheckedPrices) -> tuple[str, ...]:
    return (
        model.model,
        model.provider,
        model.provider_model,
        "yes" if model.in_use else "no",
        model.state,
        "; ".join(map(_words, model.differences)),
    )


def _words(difference: PriceDifference) -> str:
    above = difference.above_input_tokens
    tier = "" if above is None else f" above {TOKENS.show(above)} tokens"
    listed, configured = (
        "none" if price is None else MONEY.show(price)
        for price in (difference.listed_usd, difference.configured_usd)
    )
    return f"{difference.key}{tier} {configured}, listed {listed}"
