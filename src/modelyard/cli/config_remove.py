"""`models config remove`: take configs out of what is live in an environment."""

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
    Json,
    Wait,
    chosen_environment,
    complete_environment,
    work_in_project_of,
)
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import find_project


def remove(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG", help="KIND/NAME, KIND/NAME.yaml, a name, or the path of the draft."
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            metavar="ENV",
            envvar="MODELS_ENV",
            autocompletion=complete_environment,
            help="The environment, which must be named; not development.",
        ),
    ] = None,
    every_config: Annotated[
        bool, typer.Option("--all", help="Everything that is live in the environment.")
    ] = False,
    plan_only: PlanOnly = False,
    plan_file: PlanFile = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Take configs out of what is live, all in one step.

    The drafts in configs/ stay as they are. What stays live must not need what goes: else nothing
    is changed, and each setting that names it is listed. Configs that need each other go together.
    The rest makes up the next revision; `models deploy-config --rollback` brings them back.

    --all takes everything out. Nothing is live in the environment then, so that it can be left out
    of configs/environments.yaml; its history stays.

    Development runs the drafts in configs/: what shall not be used there is moved out of configs/.
    A protected environment asks for confirmation, as with `models deploy-config`.

    \b
    models config remove claude --env production --dry-run
    models config remove claude --env production --yes --reason "contract ended"
    models config remove --all --env eu-production --yes
    """
    from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
    from modelyard.deployments.deploy import removal_request

    options = DeployOptions(
        plan_only=plan_only,
        plan_file=plan_file,
        yes=yes,
        dry_run=dry_run,
        reason=reason,
        wait_s=wait,
        as_json=as_json,
    )
    if plan_file and not plan_only:
        if configs or every_config:
            raise InvalidInput(
                "--plan-file alone carries out a plan, which names its configs",
                hint="leave out the configs, or add --plan to write a new plan",
            )
        do_plan_file(("remove",), environment, options)
        return
    if environment is None:
        raise InvalidInput(
            "no environment was named", hint="such as `--env production`; or set MODELS_ENV"
        )
    if environment == DEFAULT_ENVIRONMENT:
        raise InvalidInput(
            f"{environment} runs the drafts in configs/, so nothing is removed there",
            hint="move the file out of configs/",
        )
    work_in_project_of(configs or [])
    project = find_project()
    chosen_environment(project, environment)
    request = removal_request(project, configs or [], environment, every_config=every_config)
    do_request(request, environment, options)
