"""`models deployments`: what was deployed when, and what was changed by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import Json, chosen_environment, complete_environment
from modelyard.cli.render import flush_results, print_json, print_lines, print_table
from modelyard.core.errors import NoData
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import day_and_time, visible_line

if TYPE_CHECKING:
    from modelyard.deployments.drift import Drift
    from modelyard.deployments.history import PastDeployment

_SHOWN_CONFIGS = 3


def deployments(
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            metavar="ENV",
            envvar="MODELS_ENV",
            autocompletion=complete_environment,
            help="The environment. Default: every environment.",
        ),
    ] = None,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Find what was changed by hand instead; exit code 4 for any."),
    ] = False,
    as_json: Json = False,
) -> None:
    """List deployments, and find files changed by hand.

    Every revision of an environment; without --env (and MODELS_ENV) of all. The table shows the
    newest first, JSON gives the oldest first. `models config diff production@3 production` shows
    what differs between two.

    --drift compares the files under .models/deployed/ with what was written there: changed,
    missing and extra files, and a link that leads elsewhere. It exits with 4 when it finds any,
    and with 5 when nothing is deployed. Commands read the deployed configs from state.db, so such
    changes have no effect; the next deployment writes the files again. What `deploy-config --set`
    gave is listed too, where the draft says otherwise: it is live, and is no drift.

    \b
    models deployments --env production
    models deployments --drift
    """
    from modelyard.deployments.history import list_deployments
    from modelyard.deployments.revisions import known_environments

    project = find_project()
    if environment is None:
        environments = known_environments(project)
    else:
        environments = (chosen_environment(project, environment),)
    if drift:
        _show_drift(project, environments, as_json)
        return
    past = list_deployments(project, environments)
    if as_json:
        print_json(past)
    elif not past:
        print_lines([f"Nothing was deployed yet in {' or '.join(environments)}."])
    else:
        rows = [
            _row(deployment)
            for name in environments
            for deployment in reversed(past)
            if deployment.revision.environment == name
        ]
        print_table((">revision", "environment", "when (UTC)", "what", "by", "why"), rows)


def _row(past: PastDeployment) -> tuple[str, ...]:
    revision = past.revision
    back = f" to {revision.from_revision}" if revision.from_revision is not None else ""
    return (
        f"{'live ' if past.live else ''}{revision.number}",
        revision.environment,
        day_and_time(revision.created_at),
        f"{revision.action}{back}: {_summary(past)}",
        revision.made_by,
        revision.reason or "",
    )


def _summary(past: PastDeployment) -> str:
    """What a revision changed, in a few words."""
    parts = [
        f"{sign}{label}"
        for sign, labels in (("+", past.added), ("~", past.changed), ("-", past.removed))
        for label in labels
    ]
    if len(parts) > _SHOWN_CONFIGS:
        parts = [*parts[:_SHOWN_CONFIGS], f"and {len(parts) - _SHOWN_CONFIGS} more"]
    if past.given:
        parts.append(f"--set {', '.join(given.partition(' ')[2] for given in past.given)}")
    parts += [
        f"{change.domain} uses {change.after or 'its own profile'}" for change in past.profiles
    ]
    return ", ".join(parts)


def _given_lines(drift: Drift) -> Iterator[str]:
    """What `--set` gave, and what the next deployment would make of it."""
    from modelyard.cli.deploying import value_text

    for given in drift.given:
        said = "the default" if given.draft is None else value_text(given.draft)
        yield visible_line(
            f"  by --set   {given.config}  {given.key}: {value_text(given.live)}; "
            f"its next deployment makes it {said}"
        )


def _show_drift(project: Project, environments: Sequence[str], as_json: bool) -> None:
    from modelyard.cli.deploying import setting_lines
    from modelyard.deployments.drift import find_drift
    from modelyard.deployments.revisions import NotDeployed, not_deployed

    found = []
    for environment in environments:
        with suppress(NotDeployed):
            found.append(find_drift(project, environment))
    if not found and len(environments) == 1:
        raise NoData(not_deployed(environments[0]).message)
    if not found:
        raise NoData(
            f"nothing is deployed to {' or '.join(environments)}",
            hint="`models deploy-config --all --env ENV` deploys every config",
        )
    if as_json:
        print_json(found)
    else:
        for drift in found:
            summary = f"{len(drift.files)} not as written" if drift.files else "all as written"
            print_lines([f"{drift.environment}, revision {drift.revision}: {summary}"])
            for file in drift.files:
                print_lines([visible_line(f"  {file.what:10} {file.path}")])
                print_lines(setting_lines(file.settings))
            print_lines(_given_lines(drift))
    if any(drift.files for drift in found):
        flush_results()
        sys.exit(4)
