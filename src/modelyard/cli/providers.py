"""`models providers check`: whether the configured language models would answer now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from modelyard.answering.check_providers import CheckedModel
from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import print_json, print_table, print_text
from modelyard.core.errors import GateBreached
from modelyard.core.layout import find_project
from modelyard.core.wording import counted


@dataclass(frozen=True, kw_only=True)
class ProvidersChecked:
    """The language models of an environment, and whether they would answer."""

    environment: str
    """The environment."""
    models: tuple[CheckedModel, ...]
    """Each configured one, those that are used first."""


def check(
    environment: Environment = None,
    call: Annotated[
        bool,
        typer.Option(
            "--call/--no-call", help="Have each model generate one token, which a provider charges."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Check that the configured language models would answer.

    Of each: its key, whether the endpoint answers and knows the model, its price, and whether it
    generates one token; one that does is called again, where it failed before. Ends with exit code
    4 when a model that is used would not work.

    \b
    models providers check
    models providers check --env production --no-call
    """
    from modelyard.answering.check_providers import check_providers

    project = find_project()
    chosen = chosen_environment(project, environment)
    with showing_progress() as progress:
        progress.stage(f"check: the language models of {chosen}")
        found = check_providers(project, chosen, make_call=call)
    if as_json:
        print_json(ProvidersChecked(environment=chosen, models=found))
    else:
        _print(found)
    broken = [one.model for one in found if one.used_by and not one.works]
    if broken:
        raise GateBreached(
            f"{counted(len(broken), 'model')} in use would not answer: {', '.join(broken)}",
            hint="each line above that says `failed` names what to correct",
        )


def _print(found: tuple[CheckedModel, ...]) -> None:
    print_table(
        ("model", "provider", "checked", "state", "found"),
        [
            (
                model.model if not place else "",
                model.provider if not place else "",
                one.aspect,
                one.state,
                one.said,
            )
            for model in found
            for place, one in enumerate(model.checks)
        ],
    )
    for model in found:
        if not model.used_by:
            print_text(f"{model.model} is configured, and nothing uses it.")
