"""What `deploy-config`, `switch-config` and `config remove` share: plan, ask, carry out, report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.render import flush_results, print_json, print_lines, print_note
from modelyard.cli.stdin import ask_yes
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.given_paths import require_file_place
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import counted, visible_line, visible_text

if TYPE_CHECKING:
    from modelyard.configs.compare import SettingChange
    from modelyard.deployments.deploy import Deployment
    from modelyard.deployments.drift import DriftedFile
    from modelyard.deployments.plan import ConfigChange, Plan, PlanPreconditions, Request

PlanOnly = Annotated[
    bool,
    typer.Option(
        "--plan", help="Show what would change, and change nothing; exit code 4 when there is any."
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan-file",
        metavar="FILE",
        help="With --plan: write the plan there. Alone: carry out exactly that plan.",
    ),
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="Do not ask for confirmation. A protected environment needs it without a terminal.",
    ),
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="The reason, shown by `models deployments`."),
]

_SIGNS = {"added": "+", "changed": "~", "removed": "-", "unchanged": "="}
_COMMANDS = {
    "deploy": "deploy-config",
    "remove": "config remove",
    "rollback": "deploy-config",
    "switch": "switch-config",
    "undo": "switch-config",
}
"""The command that carries out a plan of each action."""
_LONGEST_VALUE = 60


class NotConfirmed(ModelyardError):
    """The user was asked to confirm, and did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """How a request is carried out: the options of both commands."""

    plan_only: bool
    plan_file: Path | None
    yes: bool
    dry_run: bool
    reason: str | None
    wait_s: float
    as_json: bool


def do_request(request: Request, environment: str, options: DeployOptions) -> None:
    """Plan a request; then show it, write it to a file, or carry it out."""
    from modelyard.deployments.deploy import carry_out, perform
    from modelyard.deployments.plan import write_plan
    from modelyard.deployments.propose import propose

    project = find_project()
    if options.plan_only or options.dry_run:
        if options.plan_file:
            require_file_place(options.plan_file)
        plan = propose(project, request, environment)
        if options.plan_file and not options.dry_run:
            write_plan(options.plan_file, plan)
        _show_plan(project, plan, options)
    elif asks_first(project, environment, options):
        plan = propose(project, request, environment)
        if plan.changes:
            confirm(project, plan, options)
        # Not `perform`, which would plan again: what was not shown must not go live.
        done = carry_out(project, plan.preconditions, reason=options.reason, wait_s=options.wait_s)
        _show_done(project, done, options)
    else:
        done = perform(project, request, environment, reason=options.reason, wait_s=options.wait_s)
        _show_done(project, done, options)


def do_plan_file(actions: tuple[str, ...], environment: str | None, options: DeployOptions) -> None:
    """Carry out a plan file of one of these actions."""
    from modelyard.deployments.deploy import carry_out
    from modelyard.deployments.plan import load_plan

    assert options.plan_file is not None
    bound = load_plan(options.plan_file)
    _check_fits(bound, actions, environment, options.plan_file)
    project = find_project()
    if options.dry_run:
        _show_plan(project, _still_holding(project, bound), options)
        return
    if asks_first(project, bound.environment, options):
        confirm(project, _still_holding(project, bound), options)
    done = carry_out(project, bound, reason=options.reason, wait_s=options.wait_s)
    _show_done(project, done, options)


def asks_first(project: Project, environment: str, options: DeployOptions) -> bool:
    """Whether a person is asked before an environment changes."""
    from modelyard.configs.reading.catalogue import ConfigCatalogue

    return not options.yes and ConfigCatalogue(project).environments.is_protected(environment)


def _check_fits(
    bound: PlanPreconditions, actions: tuple[str, ...], environment: str | None, path: Path
) -> None:
    if bound.request.action not in actions:
        other = _COMMANDS[bound.request.action]
        raise InvalidInput(
            f"is a plan of `models {other}`",
            where=str(path),
            hint=f"carry it out with `models {other} --plan-file {shlex.quote(str(path))}`",
        )
    if environment not in (None, bound.environment):
        raise InvalidInput(
            f"is a plan for {bound.environment}, and not for {environment}",
            where=str(path),
            hint=f"`--env {bound.environment}`",
        )


def _still_holding(project: Project, bound: PlanPreconditions) -> Plan:
    from modelyard.deployments.plan import require_current
    from modelyard.deployments.propose import propose

    plan = propose(project, bound.request, bound.environment)
    require_current(bound, plan.preconditions)
    return plan


def confirm(project: Project, plan: Plan, options: DeployOptions) -> None:
    """Show the plan and ask; without a terminal, name the option to add."""
    from modelyard.cli.deployment_needs import find_needs

    environment = plan.preconditions.environment
    if options.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        words = shlex.join(["models", *sys.argv[1:], "--yes"])
        raise InvalidInput(
            f"{environment} needs a confirmation, and there is no terminal to ask on",
            hint=f"look at the plan with --plan, then add --yes: `{words}`",
        )
    print_lines([*plan_lines(plan), *find_needs(project, plan).lines()])
    flush_results()
    if not ask_yes(f"Make this live in {environment}?"):
        raise NotConfirmed(f"nothing was changed in {environment}: not confirmed")


def _show_plan(project: Project, plan: Plan, options: DeployOptions) -> None:
    from modelyard.cli.deployment_needs import find_needs
    from modelyard.deployments.drift import files_to_repair

    environment, number = plan.preconditions.environment, plan.preconditions.from_revision
    drifted = () if plan.changes else files_to_repair(project, environment)
    if drifted:
        ending = list(_repair_lines(drifted, ("Would be written again", "Would be removed")))
    elif not plan.changes:
        ending = [f"Nothing to do in {environment}{_state_of(environment, number)}."]
    else:
        ending = [f"Nothing was changed in {environment}{_state_of(environment, number)}."]
    if options.as_json:
        _print_result(project, plan, repaired=drifted, dry_run=True)
    else:
        needs = find_needs(project, plan)
        print_lines([*plan_lines(plan), *needs.lines(), *ending])
    if options.plan_only and options.plan_file:
        place = "would be" if options.dry_run else "is"
        print_note(f"the plan {place} in {options.plan_file}")
    if options.plan_only and (plan.changes or drifted):
        flush_results()
        sys.exit(4)


def _state_of(environment: str, number: int) -> str:
    """What is said of an environment that was not changed."""
    if environment == DEFAULT_ENVIRONMENT:
        return ", which uses the drafts"
    return f", which is at revision {number}" if number else ", where nothing is live yet"


def _repair_lines(
    drifted: Iterable[DriftedFile], words: tuple[str, str] = ("Written again", "Removed")
) -> Iterator[str]:
    """The files that are written again, and those that are removed."""
    drifted = list(drifted)
    changed = [file.path for file in drifted if file.what != "extra"]
    extra = [file.path for file in drifted if file.what == "extra"]
    if changed:
        yield visible_line(f"{words[0]}, since changed by hand: {', '.join(changed)}")
    if extra:
        yield visible_line(f"{words[1]}, since no deployment wrote it: {', '.join(extra)}")


def _show_done(project: Project, done: Deployment, options: DeployOptions) -> None:
    from modelyard.cli.deployment_needs import find_needs

    if options.as_json:
        revision = done.revision.number if done.revision else None
        _print_result(
            project, done.plan, revision=revision, completed=done.completed, repaired=done.repaired
        )
    else:
        needs = find_needs(project, done.plan)
        print_lines([*plan_lines(done.plan), *_ending(done), *needs.lines()])


def _print_result(
    project: Project,
    plan: Plan,
    *,
    revision: int | None = None,
    completed: bool = False,
    repaired: Iterable[DriftedFile],
    dry_run: bool = False,
) -> None:
    from modelyard.cli.deployment_needs import ShownDeployment, find_needs
    from modelyard.deployments.deploy import DeploymentResult
    from modelyard.deployments.plan import planned_changes

    result = DeploymentResult(
        plan=planned_changes(plan),
        revision=revision,
        completed=completed,
        repaired=tuple(file.path for file in repaired),
        dry_run=dry_run,
    )
    needs = find_needs(project, plan)
    print_json(
        ShownDeployment(result=result, missing_indexes=needs.missing_indexes, needs=needs.command)
    )


def _ending(done: Deployment) -> Iterator[str]:
    """What was done, in words, and how to undo it."""

    environment = done.plan.preconditions.environment
    in_development = environment == DEFAULT_ENVIRONMENT
    yield from _repair_lines(done.repaired)
    if done.revision is None:
        number, other = done.plan.preconditions.from_revision, "else " if done.repaired else ""
        already = "development uses these profiles already"
        if done.plan.preconditions.request.action == "remove":
            already = f"none of it is live in {environment}, with revision {number}"
        elif not in_development:
            already = f"it is already live in {environment}, with revision {number}"
        yield f"Nothing {other}to do: {already}"
        return
    if done.completed:
        yield "An interrupted command had done this; its history entry was completed."
    number, action = done.revision.number, done.revision.action
    if in_development:
        yield f"Revision {number} of development has these profiles; its configs are the drafts."
    elif not done.plan.after.configs:
        yield f"Nothing is live in {environment} any more, with revision {number}."
    else:
        yield f"Revision {number} is live in {environment}."
    if action == "switch":
        yield f"  undo with `models switch-config --undo --env {environment}`"
    elif in_development:
        yield from _switches_back(done.plan)
    elif number > 1:
        to = "" if action in ("deploy", "remove") else f" --to {number - 1}"
        yield f"  go back with `models deploy-config --rollback{to} --env {environment}`"


def _switches_back(plan: Plan) -> Iterator[str]:
    """The switches that take back an undo, for the domains that had been switched."""
    for change in plan.profiles:
        if change.before:
            words = f"--profile {change.before} --domain {change.domain}"
            yield f"  switch again with `models switch-config {words}`"


def plan_lines(plan: Plan) -> Iterator[str]:
    """What changes, for people."""

    back = plan.preconditions.goes_back_to
    if back is not None and plan.preconditions.request.action == "rollback":
        yield f"Back to revision {back}:"
    for config in plan.configs:
        yield visible_text(_config_line(config))
        if config.change == "changed":
            yield from setting_lines(
                config.settings, marks=_given_marks(config), absent="the default"
            )
        elif config.given:
            yield visible_text(f"    by --set: {', '.join(config.given)}")
    yield from _effect_lines(plan)
    for domain in plan.removed_domains:
        yield visible_text(f"{domain}: no longer a domain")
    shown = {effect.domain for effect in plan.effects}.union(plan.removed_domains)
    for profile in plan.profiles:
        if profile.domain not in shown:
            words = f"{profile.before or 'its own'} -> {profile.after or 'its own'}"
            yield visible_text(f"{profile.domain}: profile {words}, no setting changes")


def _effect_lines(plan: Plan) -> Iterator[str]:
    """The effective settings that change; domains with equal changes under one line."""
    domains: dict[str, list[str]] = {}
    for effect in plan.effects:
        lines = "\n".join(setting_lines(effect.settings))
        domains.setdefault(lines, []).append(effect.domain)
    for lines, names in domains.items():
        yield visible_text(f"{', '.join(names)}:")
        yield lines


def _config_line(config: ConfigChange) -> str:
    line = f"{_SIGNS[config.change]} {config.config}"
    if config.change == "added":
        line += f"  new, {counted(len(config.settings), 'setting')}"
    if config.change == "unchanged":
        line += "  already live"
    return line + (f"; included, named by {config.named_by}" if config.named_by else "")


def _given_marks(config: ConfigChange) -> Mapping[str, str]:
    """What is said of the settings that come from `--set`, or came from it until now."""
    taken_back = dict.fromkeys(config.given_before, "  (had been set by --set)")
    return taken_back | dict.fromkeys(config.given, "  (by --set)")


def setting_lines(
    changes: Iterable[SettingChange],
    *,
    marks: Mapping[str, str] = MappingProxyType({}),
    absent: str = "not set",
) -> Iterator[str]:
    """Settings that differ, one in a line; `marks` is said of a key at the end of its line.

    absent: what is said of a setting that stands nowhere.
    """

    changes = list(changes)
    width = max((len(change.key) for change in changes), default=0)
    for change in changes:
        before = absent if change.change == "added" else value_text(change.before)
        after = absent if change.change == "removed" else value_text(change.after)
        mark = marks.get(change.key, "")
        yield visible_text(f"    {change.key.ljust(width)}  {before} -> {after}{mark}")


def value_text(value: Any) -> str:
    """A setting's value in one line, its beginning where it is long."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        text = f"[{', '.join(value_text(item) for item in value)}]"
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
