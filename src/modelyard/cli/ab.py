"""`models ab`: the A/B test that runs, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.cli.deploying import Reason, Yes
from modelyard.cli.options import DryRun, Environment, Json, Wait, chosen_environment
from modelyard.cli.render import print_json, print_lines, print_pairs, print_text
from modelyard.core.layout import Project, find_project
from modelyard.monitoring.variants import VariantsCompared
from modelyard.settings.units import SHARE

if TYPE_CHECKING:
    from modelyard.configs.kinds.integration import AbTest, Variant
    from modelyard.deployments.end_ab_test import DraftEdit


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVariant:
    """One side of the test."""

    share: float
    """The share of those who ask that get it."""
    profile: str | None
    """The performance profile that it has instead; null: that of the configs."""
    model: str | None
    """The language model."""
    adapter: str | None
    """The adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTest:
    """The A/B test that runs in an environment."""

    environment: str
    """The environment."""
    test: str
    """Its name."""
    domains: tuple[str, ...]
    """Requests of these specialised models are in it; empty: those without a domain."""
    a: RunningVariant
    """The first variant."""
    b: RunningVariant
    """The second."""
    found: VariantsCompared
    """What was asked of both since it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTest:
    """An A/B test that ended, or would."""

    environment: str
    """The environment."""
    test: str
    """Its name."""
    kept: Literal["a", "b"]
    """The variant that is the config from now on."""
    files: tuple[str, ...]
    """The drafts that are changed, as paths in the project."""
    revision: int | None
    """The revision that is live with it; null in development, which runs the drafts, and in a dry
    run."""
    dry_run: bool
    """Whether nothing was changed."""


def status(environment: Environment = None, as_json: Json = False) -> None:
    """Show the A/B test that runs, and what is known of it.

    Both questions, which one is rated good more often and which has fewer errors, are answered by a
    sequential test, which may be looked at at any time: equal variants are told apart in at most 5
    of 100 tests, for each question. It counts from the beginning of the test, by its name.

    \b
    models ab status --env production
    """
    from modelyard.monitoring.chosen_answers import choose_answers
    from modelyard.monitoring.samples import open_traffic
    from modelyard.monitoring.variants import compare_variants

    project = find_project()
    asked = chosen_environment(project, environment)
    test = _find_test(project, asked)
    with open_traffic(project) as traffic:
        chosen = choose_answers(project, asked, None)
        found = compare_variants(project, traffic, chosen, test.name)
    running = RunningTest(
        environment=asked,
        test=test.name,
        domains=test.domains,
        a=_running(test.a, 1 - test.share_of_b),
        b=_running(test.b, test.share_of_b),
        found=found,
    )
    if as_json:
        print_json(running)
    else:
        _print_status(running)


def stop(
    keep: Annotated[
        Literal["a", "b", "A", "B"],
        typer.Option("--keep", help="The variant that becomes the config."),
    ],
    environment: Environment = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """End the A/B test; what is kept becomes the config.

    What is live gets the variant's settings and loses the test, as one deployment, and nothing else
    that was edited meanwhile goes live. The drafts in configs/ are changed in the same way, each in
    one step and with its comments. In development, which runs the drafts, only they are.

    What stays is written where the test is written: for all environments, or in the overlay of one.
    A protected environment asks for confirmation on a terminal, and needs --yes without one.

    \b
    models ab stop --keep b --env production --dry-run
    models ab stop --keep b --env production --yes --reason "fewer errors"
    """
    from modelyard.cli.deploying import DeployOptions, asks_first, confirm, plan_lines
    from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
    from modelyard.deployments.deploy import carry_out
    from modelyard.deployments.end_ab_test import edit_drafts, end_switches, write_edits
    from modelyard.deployments.plan import Request
    from modelyard.deployments.propose import propose

    project = find_project()
    asked = chosen_environment(project, environment)
    test = _find_test(project, asked)
    kept: Literal["a", "b"] = "a" if keep in ("a", "A") else "b"
    edits = edit_drafts(project, asked, test, kept)
    plan, revision = None, None
    if asked != DEFAULT_ENVIRONMENT:
        plan = propose(project, Request(action="deploy", keep_variant=kept), asked)
        options = DeployOptions(
            plan_only=False,
            plan_file=None,
            yes=yes,
            dry_run=dry_run,
            reason=reason,
            wait_s=wait,
            as_json=as_json,
        )
        if not dry_run and asks_first(project, asked, options):
            confirm(project, plan, options)
    if not dry_run:
        if plan is None:
            end_switches(project, test, kept, reason=reason, wait_s=wait)
        write_edits(edits)
        if plan is not None:
            done = carry_out(project, plan.preconditions, reason=reason, wait_s=wait)
            revision = done.revision.number if done.revision else None
    ended = EndedTest(
        environment=asked,
        test=test.name,
        kept=kept,
        files=tuple(project.show(edit.path) for edit in edits),
        revision=revision,
        dry_run=dry_run,
    )
    if as_json:
        print_json(ended)
        return
    if plan is not None:
        print_lines(plan_lines(plan))
    print_lines(_edit_lines(project, edits, dry_run=dry_run))
    print_text(_ending(ended))


def _find_test(project: Project, environment: str) -> AbTest:
    from modelyard.deployments.effective import load_integration
    from modelyard.deployments.variants import require_test

    return require_test(load_integration(environment, project=project), environment)


def _running(variant: Variant, share: float) -> RunningVariant:
    return RunningVariant(
        share=round(share, 6),
        profile=variant.profile,
        model=variant.model,
        adapter=variant.adapter,
    )


def _print_status(running: RunningTest) -> None:
    from modelyard.cli.variants import describe_variants

    domains = ", ".join(running.domains) or "requests without a domain"
    print_pairs(
        {
            "test": f"{running.test}, in {running.environment}",
            "domains": domains,
            "a": _describe(running.a),
            "b": _describe(running.b),
        }
    )
    print_lines(describe_variants(running.found))


def _describe(variant: RunningVariant) -> str:
    own = {"profile": variant.profile, "model": variant.model, "adapter": variant.adapter}
    said = ", ".join(f"{key} {value}" for key, value in own.items() if value is not None)
    return f"{SHARE.show(variant.share)}: {said or 'as the configs say'}"


def _edit_lines(project: Project, edits: Sequence[DraftEdit], *, dry_run: bool) -> list[str]:
    word = "would change" if dry_run else "changed"
    return [
        f"{project.show(edit.path)} {word}, for {edit.environment or 'all environments'}: "
        f"{', '.join(edit.changes)}"
        for edit in edits
    ] or ["no draft has the test: none is changed"]


def _ending(ended: EndedTest) -> str:
    if ended.dry_run:
        return f"Nothing was changed: {ended.test} still runs in {ended.environment}."
    done = f"{ended.test} has ended in {ended.environment}, and {ended.kept} is the config"
    if ended.revision is None:
        return f"{done}."
    return (
        f"{done}: revision {ended.revision}. Go back with `models deploy-config --rollback "
        f"--env {ended.environment}`."
    )
