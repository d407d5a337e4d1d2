"""One suite asked of several language models, one after the other: how they compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.answering.answer import Answerer
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.core.layout import Project
from modelyard.core.os_errors import CANNOT_WRITE
from modelyard.core.progress import Progress
from modelyard.deployments.running import config_named, running_settings
from modelyard.performance.cases import Suite
from modelyard.performance.plan import build_plan
from modelyard.performance.results import RunFigure, TestRun
from modelyard.performance.run import OnCase, run_plan
from modelyard.performance.store import save_run
from modelyard.performance.targets import find_target


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """What a suite found of one language model."""

    model: str
    """Its name in the configs."""
    provider: str
    """Who runs it."""
    run: int | None
    """The number of its run; null where it could not be asked."""
    accuracy: RunFigure | None
    """How many answers are right; null where none was scored, as are the others without answers."""
    latency_p50: RunFigure | None
    """The median time of an answer."""
    latency_p95: RunFigure | None
    """The time of 95 in 100 answers."""
    cost_per_request: RunFigure | None
    """The mean cost of a request."""
    error_rate: RunFigure | None
    """The share of requests that failed."""
    problem: str | None
    """Why it could not be asked, or was not asked everything; null: it was."""


def choose_models(project: Project, environment: str, named: Sequence[str]) -> list[str]:
    """The language models of an environment by their names; of all where none is named.

    Raises InvalidInput for a name that is none of them.
    """
    models = running_settings(project, environment, "language_models")
    named = [config_named(project, word, "language_models") for word in named]
    for name in named:
        if name not in models:
            raise InvalidInput(
                f"there is no language model {name!r} in {environment}"
                f"{did_you_mean(name, list(models))}",
                hint=f"there are {', '.join(models)}" if models else "there is none",
            )
    return list(dict.fromkeys(named)) or list(models)


def ask_models(
    project: Project,
    answerer: Answerer,
    suite: Suite,
    models: Sequence[str],
    *,
    environment: str,
    progress: Progress,
    on_case: OnCase = lambda _: None,
) -> Iterator[ComparedModel]:
    """Ask the suite of each language model alone, without fallback, and keep each run.

    A model that cannot be asked, such as one whose key is missing, is reported and does not keep
    the others from it. An interrupted run ends the comparison after it. A run that cannot be kept,
    for want of access or space, is compared all the same, with a warning.
    """
    providers = running_settings(project, environment, "language_models")
    for name in models:
        try:
            target = find_target(project, environment, model=f"model:{name}")
            plan = build_plan(project, suite, target)
            progress.stage(f"{suite.name} on {target.name} in {environment}: {plan.describe()}")
            run = run_plan(
                project, answerer, suite, target, plan, environment=environment, on_case=on_case
            )
            run = _kept(project, run, progress)
        except ModelyardError as error:
            yield _compared(name, providers[name].provider, None, problem=str(error))
            continue
        yield _compared(name, providers[name].provider, run, problem=_problem(run))
        if not run.complete:
            return


def _kept(project: Project, run: TestRun, progress: Progress) -> TestRun:
    """The run with its number, or as it is where nothing can be written."""
    try:
        return save_run(project, run)
    except CANNOT_WRITE as error:
        progress.warn(f"the run of {run.target} is not kept: {error}")
        return run


def _problem(run: TestRun) -> str | None:
    if not run.complete:
        return "interrupted"
    if all(case.answer is None for case in run.cases):
        whys = [case.why for case in run.cases if case.why]
        return f"no request was answered{f': {whys[0]}' if whys else ''}"
    return None


def _compared(
    name: str, provider: str, run: TestRun | None, *, problem: str | None
) -> ComparedModel:
    answered = run is not None and any(case.answer is not None for case in run.cases)
    # Without an answer only the errors say something; no answer is no refusal that was asked for.
    figures = {
        figure.name: figure
        for figure in (run.figures if run else ())
        if figure.over == "all" and (answered or figure.name == "error_rate")
    }
    return ComparedModel(
        model=name,
        provider=provider,
        run=run.number if run else None,
        accuracy=figures.get("accuracy"),
        latency_p50=figures.get("latency_p50"),
        latency_p95=figures.get("latency_p95"),
        cost_per_request=figures.get("cost_per_request"),
        error_rate=figures.get("error_rate"),
        problem=problem,
    )
