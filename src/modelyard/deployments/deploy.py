"""Deploy, switch, undo and roll back, each in one step under the environment's lock.

Each function plans under the environment's lock, so that what it does is what it returns. With
`dry_run` it only plans. `carry_out` does a plan that was made before, and only if it still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, check_name
from modelyard.deployments.drift import DriftedFile, repair_files
from modelyard.deployments.plan import (
    Plan,
    PlannedChanges,
    PlanPreconditions,
    Request,
    build_plan,
    require_current,
)
from modelyard.deployments.propose import find_configs, find_deployed, plan_of_revision, propose
from modelyard.deployments.revisions import (
    HeldEnvironment,
    Revision,
    check_environment,
    hold_environment,
)
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import Snapshot, snapshot_digest
from modelyard.results.json_form import published


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The result of a deployment, switch, undo or rollback."""

    plan: Plan
    """What changed, or would change."""
    revision: Revision | None
    """The new revision; None when nothing had to change, or in a dry run."""
    completed: bool = False
    """Whether an interrupted process had already done it, except for settling its row."""
    repaired: tuple[DriftedFile, ...] = ()
    """Files that were changed by hand: written again, or removed when no deployment wrote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentResult:
    """What a request changed, or would change."""

    plan: PlannedChanges = field(metadata=published(inline=True))
    revision: int | None
    """The number of the new revision; null when there is none."""
    completed: bool
    """Whether an interrupted process had already done it."""
    repaired: tuple[str, ...] = field(metadata=published("mended"))
    """The files that were changed by hand, and are written again or removed."""
    dry_run: bool
    """Whether nothing was changed."""


def deployment_request(
    project: Project,
    words: Sequence[str],
    *,
    every_config: bool = False,
    settings: Sequence[str] = (),
) -> Request:
    """The request to deploy these configs; `settings` are `KEY=VALUE` laid over the only one.

    Raises InvalidInput for none, for some and all, and for settings of several.
    """
    if every_config == bool(words):
        raise InvalidInput(
            "name configs or use --all, not both" if words else "no config was named",
            hint="such as `models deploy-config language_models/gpt4_config.yaml`, or `--all`",
        )
    configs = find_configs(project, words)
    if settings and len(configs) != 1:
        raise InvalidInput(
            f"--set is for one config, and {'all are' if every_config else 'several are'} deployed",
            hint="deploy that one alone; the others follow with a command of their own",
        )
    return Request(
        action="deploy", configs=configs, every_config=every_config, settings=tuple(settings)
    )


def removal_request(
    project: Project, words: Sequence[str], environment: str, *, every_config: bool = False
) -> Request:
    """The request to take these configs out of what is live.

    Raises InvalidInput for none, for some and all, and for what was never live.
    """
    if every_config == bool(words):
        raise InvalidInput(
            "name configs or use --all, not both" if words else "no config was named",
            hint="such as `models config remove language_models/gpt4 --env production`",
        )
    configs = find_deployed(project, words, environment) if words else ()
    return Request(action="remove", configs=configs, every_config=every_config)


def perform(
    project: Project,
    request: Request,
    environment: str,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Deployment:
    """Plan a request and carry it out under one lock."""
    check_environment(project, environment)
    if dry_run:
        return Deployment(plan=propose(project, request, environment), revision=None)
    with hold_environment(project, environment, wait_s=wait_s) as held:
        return _done_already(held, request) or _publish(
            held, propose(project, request, environment), reason
        )


def carry_out(
    project: Project, bound: PlanPreconditions, *, reason: str | None = None, wait_s: float = 0.0
) -> Deployment:
    """Carry out a plan that was made before; does nothing when it is already carried out.

    Raises StalePlan when its preconditions no longer hold.
    """
    check_environment(project, bound.environment)
    with hold_environment(project, bound.environment, wait_s=wait_s) as held:
        number, live = running_snapshot(project, bound.environment)
        if number and live.digest == snapshot_digest(bound.contents, bound.profiles):
            if completed := _done_already(held, bound.request):
                return completed
            plan = build_plan(replace(bound, from_revision=number), live, live)
        else:
            plan = propose(project, bound.request, bound.environment)
            require_current(bound, plan.preconditions)
        return _publish(held, plan, reason)


def _publish(held: HeldEnvironment, plan: Plan, reason: str | None) -> Deployment:
    if not plan.changes:
        return Deployment(plan=plan, revision=None, repaired=repair_files(held))
    after = plan.after
    if held.environment == DEFAULT_ENVIRONMENT:  # drafts run there; only profiles are recorded
        after = Snapshot(profiles=after.profiles)
    revision = held.publish(
        after,
        action=plan.preconditions.request.action,
        from_revision=plan.preconditions.goes_back_to,
        reason=reason,
    )
    return Deployment(plan=plan, revision=revision)


def _done_already(held: HeldEnvironment, request: Request) -> Deployment | None:
    """The undo or rollback that a killed process had made live, if the request asks for the same.

    Doing it a second time would go back one step too far.
    """
    left = held.completed
    if (
        left is None
        or request.action not in ("undo", "rollback")
        or request.action != left.action
        or request.to not in (None, left.from_revision)
    ):
        return None
    plan = plan_of_revision(held.project, left, request)
    return Deployment(plan=plan, revision=left, completed=True)


def switch_request(profile: str, domain: str | None) -> Request:
    """The request to switch a domain, or every one. Raises InvalidInput for an invalid name."""
    if domain is not None:
        check_name(domain, "domain")
    return Request(action="switch", profile=check_name(profile, "profile"), domain=domain)
