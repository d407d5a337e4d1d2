"""A small run of a suite, as `models performance-test` makes it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from modelyard.evaluation.statistics import share_interval
from modelyard.performance.results import CaseResult, RunFigure, TestRun, Verdict


def case_result(check: str, question: str, right: bool | None, **changed: Any) -> CaseResult:
    answer = {True: "29 days.", False: "120 days.", None: None}[right]
    result = CaseResult(
        check=check,
        case=sha256(f"{check}\0{question}".encode()).hexdigest()[:12],
        repeat=0,
        tags=("leave",),
        question=question,
        expected="29",
        answer=answer,
        score=None if right is None else float(right),
        right=right,
        why="" if right else "it does not say 29",
        outcome="failed" if right is None else "answered",
        model=None if right is None else "local_llm",
        latency_s=None if right is None else 1.2,
        started_s=0.0,
        ended_s=1.2,
    )
    return replace(result, **changed)


def accuracy(
    right: int, n: int, *, verdict: Verdict | None = None, threshold: float | None = None, **of: Any
) -> RunFigure:
    low, high = share_interval(right, n)
    return RunFigure(
        name="accuracy",
        unit="share",
        value=right / n,
        low=low,
        high=high,
        n=n,
        right=right,
        scored=n,
        threshold=threshold,
        verdict=verdict,
        **of,
    )


def latency(name: str, value: float, **changed: Any) -> RunFigure:
    figure = RunFigure(
        name=name, unit="seconds", value=value, low=value * 0.9, high=value * 1.1, n=12
    )
    return replace(figure, **changed)


CASES = (
    *(case_result("facts", f"Question {i}?", i % 3 != 0) for i in range(9)),
    *(case_result("sources", f"Where is {i}?", True, tags=()) for i in range(3)),
    replace(case_result("load", "Where is 1?", True), right=None, score=None),
)
FIGURES = (
    accuracy(9, 12, threshold=0.7, verdict="cannot_tell"),
    accuracy(6, 9, over="check", part="facts", threshold=0.99, verdict="breach"),
    accuracy(3, 3, over="check", part="sources"),
    accuracy(6, 9, over="tag", part="leave"),
    latency("latency_p50", 1.2, threshold=5.0, verdict="pass"),
    latency("latency_p95", 2.5, high=None),
)


def sample_run(**changed: Any) -> TestRun:
    run = TestRun(
        number=7,
        suite="quick",
        suite_digest="0123456789ab",
        environment="development",
        target="profile:balanced",
        models=("local_llm",),
        started_at="2026-11-30T18:02:11Z",
        finished_at="2026-11-30T18:03:00Z",
        seed=0,
        repeats=1,
        concurrency=1,
        confidence=0.95,
        wall_s=49.0,
        requests=13,
        right=9,
        scored=12,
        figures=FIGURES,
        cases=CASES,
        machine="a machine, 2 cores",
        version="1",
        verdict="breach",
    )
    return replace(run, **changed)
