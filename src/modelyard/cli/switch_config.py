"""`models switch-config`: choose the performance profile of a domain."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli.deploying import (
    DeployOptions,
    PlanFile,
    PlanOnly,
    Reason,
    Yes,
    do_plan_file,
    do_request,
)
from modelyard.cli.options import (
    DryRun,
    Environment,
    Json,
    Wait,
    chosen_environment,
    work_in_project_of,
)
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import find_project


def switch_config(
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="PROFILE", help="A config in configs/performance_profiles/."
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option("--domain", metavar="DOMAIN", help="One domain of work. Default: every one."),
    ] = None,
    environment: Environment = None,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo", help="Undo the last switch; again, the one before it. Nothing else changes."
        ),
    ] = False,
    plan_only: PlanOnly = False,
    plan_file: PlanFile = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Choose the performance profile of a domain, or of all.

    Prints every setting that changes, before and after. Running processes use the new settings from
    their next request on. A switch is a revision like a deployment; a domain or profile that is not
    live yet is included, with what it needs.

    A protected environment asks for confirmation on a terminal, and needs --yes without one;
    production is protected unless configs/environments.yaml says otherwise.

    \b
    models switch-config --profile high_accuracy --domain code_analysis
    models switch-config --profile fast_response --env production --yes
    models switch-config --undo
    """
    from modelyard.deployments.deploy import switch_request
    from modelyard.deployments.plan import Request
    from modelyard.deployments.running import config_named

    options = DeployOptions(
        plan_only=plan_only,
        plan_file=plan_file,
        yes=yes,
        dry_run=dry_run,
        reason=reason,
        wait_s=wait,
        as_json=as_json,
    )
    if undo and (profile or domain):
        raise InvalidInput("--undo undoes the last switch; leave out --profile and --domain")
    if plan_file and not plan_only:
        if undo or profile or domain:
            raise InvalidInput(
                "--plan-file alone carries out a plan, which names its profile",
                hint="leave out the rest, or add --plan to write a new plan",
            )
        do_plan_file(("switch", "undo"), environment, options)
        return
    if not undo and profile is None:
        raise InvalidInput(
            "no profile was named", hint="`--profile high_accuracy`, or `--undo` to go back"
        )
    work_in_project_of([profile, domain])
    project = find_project()
    if undo:
        request = Request(action="undo")
    else:
        request = switch_request(
            config_named(project, profile or "", "performance_profiles"),
            domain and config_named(project, domain, "specialized_models"),
        )
    do_request(request, chosen_environment(project, environment), options)
