"""Contradictions in a test suite."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.meaning import problem, warning
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.test_suites import TestSuite
from modelyard.core.errors import Diagnostic
from modelyard.settings.units import DURATION


def check(suite: TestSuite, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with one suite."""
    if not suite.checks and suite.load is None:
        yield problem(
            (),
            "empty",
            "a suite with neither 'checks' nor 'load' tests nothing, and would always pass",
            hint="add questions with known answers under 'checks', or a 'load'",
        )
    yield from _check_names(suite)
    yield from _check_thresholds(suite)
    load = suite.load
    if load is not None and load.concurrency > load.requests:
        yield warning(
            ("load", "concurrency"),
            "contradiction",
            f"'load.concurrency' is {load.concurrency}, and there are only {load.requests} "
            "requests to be under way",
            hint="send more requests",
        )


def _check_names(suite: TestSuite) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for place, item in enumerate(suite.checks):
        if item.name in seen:
            yield problem(
                ("checks", place, "name"),
                "repeated",
                f"'{item.name}' is already the name of a check, and the report could not tell them "
                "apart",
                hint="give it a name of its own",
            )
        seen.add(item.name)
        if item.split == "train":
            yield warning(
                ("checks", place, "split"),
                "not-measured",
                f"'checks[{place}].split' is train: a result on training rows proves nothing",
                hint="write `split: eval`",
            )


def _check_thresholds(suite: TestSuite) -> Iterator[Diagnostic]:
    limits = suite.thresholds
    if limits.accuracy is not None and not suite.checks:
        yield warning(
            ("thresholds", "accuracy"),
            "not-measured",
            "'thresholds.accuracy' is measured by nothing: there are no 'checks'",
            hint="add questions with known answers, or leave it out",
        )
    median, tail = limits.latency_p50_s, limits.latency_p95_s
    if median is not None and tail is not None and median > tail:
        yield problem(
            ("thresholds", "latency_p50"),
            "contradiction",
            f"'thresholds.latency_p50' ({DURATION.show(median)}) is longer than "
            f"'thresholds.latency_p95' ({DURATION.show(tail)}), and can never be what is breached",
            hint="exchange the two",
        )
    for key, limit in (("latency_p50", median), ("latency_p95", tail)):
        if limit is not None and suite.load is not None and limit >= suite.load.timeout_s:
            yield warning(
                ("thresholds", key),
                "unreachable",
                f"'thresholds.{key}' ({DURATION.show(limit)}) is never reached: a request has "
                f"failed after {DURATION.show(suite.load.timeout_s)} ('load.timeout')",
                hint="raise 'load.timeout'",
            )
