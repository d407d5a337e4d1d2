"""`models providers compare`: a suite asked of every configured language model, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Environment, Json, chosen_environment, work_in_project_of
from modelyard.cli.render import flush_results, print_json, print_note, print_table, print_warning
from modelyard.core.errors import NoData
from modelyard.core.layout import find_project
from modelyard.performance.results import RunFigure
from modelyard.performance.shown import show_interval, show_value
from modelyard.performance.side_by_side import ComparedModel


@dataclass(frozen=True, kw_only=True)
class ProvidersCompared:
    """What a suite found of the language models of an environment."""

    environment: str
    """The environment."""
    suite: str
    """The suite."""
    models: tuple[ComparedModel, ...]
    """Each model, in the order in which they were asked."""


def compare(
    test_suite: Annotated[
        str, typer.Option("--test-suite", metavar="SUITE", help="A suite in configs/test_suites/.")
    ] = "quick",
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", help="Only this language model. Repeatable. Default: each one."
        ),
    ] = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Ask each language model a suite, side by side.

    Each answers alone, by its own settings, without fallback, cache or domain. Answers of hosted
    models cost money and count for budgets. Each run is kept, as by `models performance-test`,
    which judges; here nothing is judged. Intervals that overlap show no difference.

    Exit code 5: no model could be asked.

    \b
    models providers compare --env production
    models providers compare --test-suite comprehensive --model gpt4 --model local_llm
    """
    from modelyard.answering.answer import Answerer
    from modelyard.performance.cases import load_suite
    from modelyard.performance.side_by_side import ask_models, choose_models

    work_in_project_of([test_suite, *(model or ())])
    project = find_project()
    asked = chosen_environment(project, environment)
    suite = load_suite(project, test_suite, asked)
    models = choose_models(project, asked, model or ())
    with showing_progress() as progress, Answerer(project, note=print_warning) as answerer:
        found = tuple(
            ask_models(project, answerer, suite, models, environment=asked, progress=progress)
        )
    if as_json:
        print_json(ProvidersCompared(environment=asked, suite=suite.name, models=found))
    else:
        print_table(
            (
                "model",
                "provider",
                ">accuracy",
                "interval",
                ">median",
                ">p95",
                ">cost",
                ">errors",
                ">run",
            ),
            [_row(one) for one in found],
        )
    flush_results()
    for one in found:
        if one.problem is not None:
            print_note(f"{one.model}: {one.problem}")
    if all(one.problem is not None for one in found):
        raise NoData(f"no language model of {asked} could be asked")


def _row(one: ComparedModel) -> tuple[str, ...]:
    return (
        one.model,
        one.provider,
        _value(one.accuracy),
        show_interval(one.accuracy) if one.accuracy else "",
        _value(one.latency_p50),
        _value(one.latency_p95),
        _value(one.cost_per_request),
        _value(one.error_rate),
        "" if one.run is None else str(one.run),
    )


def _value(figure: RunFigure | None) -> str:
    return "" if figure is None else show_value(figure.value, figure.unit)
