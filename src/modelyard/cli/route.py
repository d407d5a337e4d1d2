"""`models route explain`: who would answer, at which worst cost, and who would not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Environment, Json, chosen_environment, work_in_project_of
from modelyard.cli.render import print_json, print_lines, print_table, print_text
from modelyard.core.layout import check_name, find_project
from modelyard.settings.units import MONEY

if TYPE_CHECKING:
    from modelyard.answering.route_explained import ExplainedStep


def explain_route(
    domain: Annotated[
        str | None,
        typer.Option(metavar="DOMAIN", help="The domain. Default: requests without one."),
    ] = None,
    tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens of the request's input.")
    ] = 1000,
    profile: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="A performance profile instead of the domain's."),
    ] = None,
    organisation: Annotated[
        str | None, typer.Option("--org", metavar="ORG", help="Who would ask.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="USER", help="Who of them: decides the side of an A/B test."
        ),
    ] = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Show which models would answer, and which not.

    No call is made and nothing is changed. Left out are models whose breaker is open, for which a
    budget leaves no room, whose context is too short, whose key or files are not there, or that
    would leave this machine for a domain that is local_only.

    \b
    models route explain --domain code_analysis --tokens 12000 --env production
    """
    from modelyard.answering import route_explained
    from modelyard.answering.answer import Answerer
    from modelyard.answering.asked_model import load_asked

    work_in_project_of([domain, profile])
    project = find_project()
    asked = chosen_environment(project, environment)
    if organisation is not None:
        check_name(organisation, "organisation")
    effective = load_asked(project, asked, domain=domain, profile=profile)
    with Answerer(project) as answerer:
        route = route_explained.explain_route(
            answerer, effective, input_tokens=tokens, organisation=organisation, user=user
        )
    if as_json:
        print_json(route)
        return
    where = f"{route.domain or 'requests without a domain'} in {route.environment}"
    if route.variant is not None:
        where += f", variant {route.variant}"
    if route.asked:
        print_text(f"{where}, {route.strategy}:")
        print_table(
            ("", "model", "provider", "because", ">calls", ">at most", ">median"),
            [_row(place, step) for place, step in enumerate(route.asked, 1)],
        )
        print_lines(f"{step.model}: {step.note}" for step in route.asked if step.note)
    else:
        print_text(f"{where}: nobody would answer.")
    if route.left_out:
        print_text("Not asked:")
        print_lines(f"  {each.model}: {each.reason}" for each in route.left_out)


def _row(place: int, step: ExplainedStep) -> tuple[str, ...]:
    cost = "unknown" if step.worst_cost_usd is None else MONEY.show(step.worst_cost_usd)
    return (
        str(place),
        step.model,
        step.provider,
        step.reason,
        str(step.calls),
        cost,
        "" if step.typical_s is None else f"{step.typical_s:.2f} s",
    )
