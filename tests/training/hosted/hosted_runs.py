"""Hosted jobs in this process, without waiting."""

from __future__ import annotations

import time
from typing import Any

from modelyard.answering.money.pricing import NANO
from modelyard.answering.money.spending import budgets_now, read_spending
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.state import read_state
from modelyard.pacing import RetryPolicy
from modelyard.training.hosted.job import HostedResult, Patience, cancel_job, run_job
from modelyard.training.hosted.plan import HostedPlan, HostedRequest, build_plan
from modelyard.training.hosted.record import HostedRun, load_run
from modelyard.training.hosted.service import FineTuningService, open_service
from modelyard.training.hosted.tunable import HostedBase, find_tunable

RETRIES = RetryPolicy(attempts=4, unreached_attempts=2, first_wait_s=0.001)


def review_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions on code and their answers."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"What does function {number} return?"},
                {"role": "assistant", "content": f"It returns {number * 3}."},
            ],
            "group": "returns",
        }
        for number in range(start, start + count)
    ]


class Waits:
    """A pause that takes no time, and remembers how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False


class Told(Progress):
    """What a run reports."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.warnings: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def base_of(project: Project, word: str = "gpt-4", environment: str = "development") -> HostedBase:
    found = find_tunable(project, word, environment)
    assert isinstance(found, HostedBase)
    return found


def plan_of(project: Project, experiment: str = "exp_004", **asked: Any) -> HostedPlan:
    base = asked.pop("base", None) or base_of(project)
    values = {"dataset": "reviews", "base": base, "experiment": experiment, **asked}
    return build_plan(project, HostedRequest(**values))


def service_of(project: Project, waits: Waits | None = None) -> FineTuningService:
    return open_service(project, base_of(project), pause=waits or Waits(), retries=RETRIES)


def run_hosted(
    project: Project,
    plan: HostedPlan | None = None,
    *,
    wait_s: float = 60.0,
    fresh: bool = False,
    progress: Progress | None = None,
    waits: Waits | None = None,
) -> HostedResult:
    """Run the job to its end, asking for it without pauses."""
    waits = waits or Waits()
    return run_job(
        project,
        plan or plan_of(project),
        lambda: service_of(project, waits),
        progress=progress or Told(),
        fresh=fresh,
        wait_s=wait_s,
        patience=Patience(pause=waits),
    )


def cancel_hosted(project: Project, experiment: str = "exp_004") -> HostedResult:
    return cancel_job(
        project, experiment, lambda: service_of(project), patience=Patience(pause=Waits())
    )


def recorded(project: Project, experiment: str = "exp_004") -> HostedRun:
    """The record that the experiment holds."""
    run = load_run(project.experiment(experiment))
    assert run is not None
    return run


def spent_and_reserved(project: Project) -> tuple[float, float]:
    """In dollars, in development, all together."""
    now = time.time()
    budget = budgets_now(Budgets(), None, now)[1]
    found = read_spending(lambda *query: read_state(project, *query), "development", budget, now)
    return found.spent / NANO, found.reserved / NANO
