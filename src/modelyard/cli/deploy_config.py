"""`models deploy-config`: deploy configs to an environment, or go back to an older revision."""

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


def deploy_config(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG",
            help="A path, KIND/NAME, KIND/NAME.yaml, or a name; of a folder every config.",
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
        bool,
        typer.Option("--all", help="Every config; those no longer in configs/ are removed."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Deploy the one config named with this setting, such as retries.attempts=4, in "
            "place of what its file says. Repeatable.",
        ),
    ] = None,
    plan_only: PlanOnly = False,
    plan_file: PlanFile = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    back: Annotated[
        bool,
        typer.Option(
            "--rollback", help="Go back to what was live before, or to --to, as a new revision."
        ),
    ] = False,
    to: Annotated[
        int | None, typer.Option("--to", metavar="REV", min=1, help="With --rollback: where to.")
    ] = None,
    reason: Reason = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Make configs live in an environment, all in one step.

    Each is validated, and the environment's overlay is applied. Configs that they name and that are
    not live yet are included; other live configs stay as they are. Everything that is live makes up
    one revision, which goes live as a whole or not at all; the old one stays in the history.
    Without a difference nothing is done, except that deployed files changed by hand are written
    again.

    --set lays settings over the file and its overlays, and is checked as they are; null is the
    default. What is given so is no part of the draft: it stays live until this config is deployed
    again, and the plan of that says what is taken back. `models config explain` names it as the
    origin, `models deployments --drift` lists it.

    Development runs the drafts in configs/, so nothing is deployed there.

    A protected environment asks for confirmation on a terminal, and needs --yes without one;
    production is protected unless configs/environments.yaml says otherwise. A plan file is refused
    when the revision, files or contents that it was made from have changed since.

    \b
    models deploy-config language_models/gpt4_config.yaml --env production
    models deploy-config --all --env test
    models deploy-config --all --env production --plan --plan-file release.json
    models deploy-config --plan-file release.json --yes --reason "release 14"
    models deploy-config --rollback --env production --yes
    models deploy-config gpt4 --env test --set timeout="90 seconds" --set retries.attempts=4
    """
    from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
    from modelyard.deployments.deploy import deployment_request
    from modelyard.deployments.plan import Request

    options = DeployOptions(
        plan_only=plan_only,
        plan_file=plan_file,
        yes=yes,
        dry_run=dry_run,
        reason=reason,
        wait_s=wait,
        as_json=as_json,
    )
    given = bool(files) or every_config or bool(settings)
    if to is not None and not back:
        raise InvalidInput("--to names the revision that a rollback goes to", hint="add --rollback")
    if back and given:
        raise InvalidInput(
            "a rollback restores a whole revision; leave out the configs, --all and --set"
        )
    if plan_file and not plan_only:
        if given or back:
            raise InvalidInput(
                "--plan-file alone carries out a plan, which names its configs and settings",
                hint="leave them out, or add --plan to write a new plan",
            )
        do_plan_file(("deploy", "rollback"), environment, options)
        return
    if environment is None:
        raise InvalidInput(
            "no environment was named", hint="such as `--env production`; or set MODELS_ENV"
        )
    if environment == DEFAULT_ENVIRONMENT:
        raise InvalidInput(
            f"{environment} runs the drafts in configs/, so nothing is deployed there",
            hint="name another environment; `models switch-config` chooses profiles here too",
        )
    work_in_project_of(files or ())
    project = find_project()
    chosen_environment(project, environment)
    if back:
        request = Request(action="rollback", to=to)
    else:
        request = deployment_request(
            project, files or [], every_config=every_config, settings=settings or []
        )
    do_request(request, environment, options)
