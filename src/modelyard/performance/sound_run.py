"""Whether the numbers of a run can be those of a run: a file of one may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.performance.results import CaseResult, RunFigure, TestRun

_MOST = 1e12
"""No time in seconds, cost in dollars, weight or number of tokens is larger."""
_MOST_SHOWN = 10


def require_sound(run: TestRun, where: str) -> None:
    """Raise ProblemsFound for numbers that no run can have, each with its key.

    where: what the run was read from, for the message.
    """
    problems = [Diagnostic(message=text, where=where) for text in _problems(run)]
    if problems:
        more = len(problems) - _MOST_SHOWN
        shown = problems[:_MOST_SHOWN]
        if more > 0:
            shown.append(Diagnostic(message=f"and {more:,} more", where=where))
        raise ProblemsFound(f"{where}: this is no run of a test suite", problems=shown)


def _problems(run: TestRun) -> Iterator[str]:
    for name, value in (("started_at", run.started_at), ("finished_at", run.finished_at)):
        if not _is_time(value):
            yield f"{name!r} must be a time such as '2026-11-30T12:00:00Z'"
    if not 0 < run.confidence < 1:
        yield "'confidence' must be between 0 and 1"
    if not 0 <= run.wall_s <= _MOST:
        yield "'wall_s' must be a number of seconds"
    for name, least in (
        ("repeats", 1), ("concurrency", 1), ("requests", 0), ("right", 0), ("scored", 0)
    ):  # fmt: skip
        if not least <= getattr(run, name) <= _MOST:
            yield f"{name!r} must be at least {least}"
    for part, cases in (("cases", run.cases), ("base_cases", run.base_cases)):
        for number, case in enumerate(cases):
            yield from (f"'{part}[{number}].{text}" for text in _of_case(case))
    for number, figure in enumerate(run.figures):
        yield from (f"'figures[{number}].{text}" for text in _of_figure(figure))


def _of_case(case: CaseResult) -> Iterator[str]:
    if case.score is not None and not 0 <= case.score <= 1:
        yield "score' must be between 0 and 1"
    if not 0 < case.weight <= _MOST:
        yield f"weight' must be above 0, and no more than {_MOST:.0e}"
    for name in (
        *("repeat", "latency_s", "first_token_s", "cost_usd", "judge_cost_usd"),
        *("prompt_tokens", "output_tokens", "started_s", "ended_s"),
    ):
        value = getattr(case, name)
        if value is not None and not 0 <= value <= _MOST:
            yield f"{name}' must be at least 0, and no more than {_MOST:.0e}"


def _of_figure(figure: RunFigure) -> Iterator[str]:
    for name in ("value", "low", "high", "threshold"):
        value = getattr(figure, name)
        if value is not None and abs(value) > _MOST:
            yield f"{name}' must be no more than {_MOST:.0e}"
    for name in ("n", "right", "scored", "unknown", "more_needed"):
        value = getattr(figure, name)
        if value is not None and not 0 <= value <= _MOST:
            yield f"{name}' must be at least 0, and no more than {_MOST:.0e}"


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False
