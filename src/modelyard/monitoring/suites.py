"""Accuracy as test suites find it: the latest run of each, beside the ratings and never among them.

A run is not of a window: it counts until the next one, and says when it was. Its own thresholds
are in the suite, and `models performance-test` judges them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.monitoring.chosen_answers import Chosen
from modelyard.monitoring.measures import Figure
from modelyard.monitoring.periods import Period

_RUNS = """
SELECT number, suite, target, started_at, right, scored, accuracy_low, accuracy_high,
    coalesce(accuracy, right * 1.0 / scored) AS accuracy
FROM test_runs
WHERE environment = ? AND complete AND scored > 0 ORDER BY number
"""
_PRIMARY = "primary"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteAccuracy:
    """What a suite found last."""

    suite: str
    """The suite."""
    shown: Figure
    """The accuracy that its latest run found, with the interval that the run has; that of a run
    which an earlier version kept is not known."""
    trend: tuple[float | None, ...]
    """That of the last run in each piece of the period; None: there was none."""


def read_suites(
    project: Project, environment: str, chosen: Chosen, period: Period
) -> tuple[SuiteAccuracy, ...]:
    """The latest complete run of each suite, by its name; of the chosen model, or of any target.

    A trend is of runs of the same target as the latest one.
    """
    rows = read_state(project, _RUNS, (environment,))
    runs = [row for row in rows if chosen.model is None or _is_of(row["target"], chosen.model)]
    latest = {run["suite"]: run for run in runs}
    return tuple(
        SuiteAccuracy(
            suite=suite,
            shown=_figure(run),
            trend=_trend(
                [
                    each
                    for each in runs
                    if (each["suite"], each["target"]) == (suite, run["target"])
                ],
                period,
            ),
        )
        for suite, run in sorted(latest.items())
    )


def _is_of(target: str, model: str) -> bool:
    """Whether a target such as `gpt4 + domain:translation` names a model, with its kind or bare."""
    return bool({model, model.partition(":")[2]} & set(target.split(" + ")))


def _figure(run: sqlite3.Row) -> Figure:
    right, scored, suite = run["right"], run["scored"], run["suite"]
    of = f"run {run['number']} of {run['started_at'][:10]}"
    target = "" if run["target"] == _PRIMARY else f", {run['target']}"
    return Figure(
        value=run["accuracy"],
        low=run["accuracy_low"],
        high=run["accuracy_high"],
        n=scored,
        unknown=0,
        basis=f"suite {suite}, {of}{target}: {right:,} of {scored:,}",
    )


def _trend(runs: Sequence[sqlite3.Row], period: Period) -> tuple[float | None, ...]:
    pieces: list[float | None] = [None] * period.pieces
    for run in runs:
        at_ms = int(datetime.fromisoformat(run["started_at"]).timestamp() * 1000)
        if period.start_ms <= at_ms < period.end_ms:
            pieces[period.piece_at(at_ms)] = run["accuracy"]
    return tuple(pieces)
