"""`models budgets`: what was spent, what is reserved, and what is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import print_json, print_table, print_warning
from modelyard.core.layout import check_name, find_project
from modelyard.core.wording import counted
from modelyard.settings.units import MONEY

if TYPE_CHECKING:
    from modelyard.answering.money.budget_report import BudgetShown


def budgets(
    organisation: Annotated[
        str | None,
        typer.Option(
            "--org", metavar="ORG", help="Only this organisation. Default: all, and their sum."
        ),
    ] = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Show what is spent, reserved and left of the budgets.

    Reserved is the most that answers under way can cost; when they end, what they did cost takes
    its place. Days and months are of UTC, and a cost counts for the day on which it was reserved.
    Answers of local models cost what `local_cost_per_hour` says, and else nothing.

    A budget of which the share `warn_at` is spent has a warning on stderr. Nothing is changed.

    \b
    models budgets --env production
    models budgets --org acme --json
    """
    from modelyard.answering.money.budget_report import report_budgets
    from modelyard.configs.kinds.integration import Budgets
    from modelyard.deployments.effective import load_integration

    if organisation is not None:
        check_name(organisation, "organisation")
    project = find_project()
    asked = chosen_environment(project, environment)
    integration = load_integration(asked, project=project)
    report = report_budgets(
        project,
        asked,
        integration.model_integration.budgets if integration else Budgets(),
        organisation=organisation,
        now_s=time.time(),
    )
    for warning in report.warnings():
        print_warning(warning)
    if as_json:
        print_json(report)
        return
    print_table(
        ("organisation", "period", ">spent", ">reserved", ">left", ">budget"),
        [_row(shown) for shown in report.budgets],
    )
    for shown in report.budgets:
        if shown.unknown:
            whose = f" of {shown.organisation}" if shown.organisation is not None else ""
            print_warning(
                f"in {shown.period} the cost of {counted(shown.unknown, 'answer')}{whose} is "
                "unknown, and in none of these figures"
            )


def _row(shown: BudgetShown) -> tuple[str, ...]:
    return (
        "all" if shown.organisation is None else shown.organisation,
        shown.period,
        MONEY.show(shown.spent_usd),
        MONEY.show(shown.reserved_usd),
        "no limit" if shown.left_usd is None else MONEY.show(shown.left_usd),
        "" if shown.limit_usd is None else MONEY.show(shown.limit_usd),
    )
