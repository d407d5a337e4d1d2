"""`models config review`: what somebody should look at in the configs once a month."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import print_json, print_note, print_table, print_text
from modelyard.core.clock import utc_now_ms
from modelyard.core.layout import find_project
from modelyard.core.wording import counted

_MOST_DAYS_OF_PRICES = 90


def review(
    days: Annotated[
        int,
        typer.Option(
            "--days",
            metavar="N",
            min=1,
            max=3650,
            help="A model or domain without an answer in so many days is named.",
        ),
    ] = 30,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Name what is unused, mispriced or never asked.

    Unused is a language model that no domain, rule or fallback leads to, a profile that no domain
    has, and an embedding group that nothing searches. Fine-tuning settings and test suites are
    named by people, and are not looked at. Prices are compared as `models prices check` does; a
    list of more than 90 days says nothing.

    Nothing of this is judged, and the exit code is 0; `models validate-config` finds what is wrong.

    \b
    models config review --env production
    models config review --days 90 --json
    """
    from modelyard.answering.config_review import review_configs

    project = find_project()
    found = review_configs(
        project,
        chosen_environment(project, environment),
        days=days,
        most_days_of_prices=_MOST_DAYS_OF_PRICES,
        now_ms=utc_now_ms(),
    )
    if as_json:
        print_json(found)
        return
    if found.findings:
        print_table(
            ("config", "topic", "found"),
            [(finding.config, finding.topic, finding.said) for finding in found.findings],
        )
    else:
        print_text(f"nothing to look at in the {counted(found.configs, 'config')}")
    over = f"{counted(found.answers, 'answer')} of the last {counted(days, 'day')}"
    unknown = "" if found.answers else ", so what was never asked is not known"
    print_note(f"{counted(found.configs, 'config')} of {found.environment}, {over}{unknown}.")
