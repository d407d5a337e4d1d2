"""Contradictions in a test suite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields

from modelyard.configs.checking.json_schema import check_json_schema
from modelyard.configs.checking.meaning import problem, warning
from modelyard.configs.checking.meaning.suite_cases import OF_SCORER, why_not_scored
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.test_suites import LOAD, AccuracyCheck, TestSuite
from modelyard.core.errors import Diagnostic, KeyPath, dotted
from modelyard.core.pattern_search import why_no_pattern
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
    for place, item in enumerate(suite.checks):
        yield from _check_questions(item, ("checks", place))
        yield from _check_scorer(item, ("checks", place), view)
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
        if item.name == LOAD:
            yield problem(
                ("checks", place, "name"),
                "contradiction",
                f"'{LOAD}' is what the report calls the requests of 'load'",
                hint="give the check another name",
            )
        if item.split == "train":
            yield warning(
                ("checks", place, "split"),
                "not-measured",
                f"'checks[{place}].split' is train: a result on training rows proves nothing",
                hint="write `split: eval`",
            )


def _check_questions(item: AccuracyCheck, path: KeyPath) -> Iterator[Diagnostic]:
    """A check has a dataset or cases, and each case says what is right."""
    if item.dataset is None and not item.cases:
        yield problem(
            path,
            "incomplete",
            f"'{dotted(path)}' has no questions",
            hint="name a 'dataset', or write 'cases'",
        )
    if item.dataset is not None and item.cases:
        yield problem(
            (*path, "cases"),
            "contradiction",
            f"'{dotted(path)}' has a 'dataset' and 'cases', and one of them is asked",
            hint="make two checks of it",
        )
    for place, case in enumerate(item.cases):
        if why := why_not_scored(item, case):
            yield problem((*path, "cases", place), "incomplete", why)
        if case.schema is not None:
            yield from check_json_schema(case.schema, (*path, "cases", place, "schema"))


def _check_scorer(
    item: AccuracyCheck, path: KeyPath, view: EnvironmentView
) -> Iterator[Diagnostic]:
    """The scorer has what it needs, and other keys than its own are not there."""
    defaults = {each.name: each.default for each in fields(AccuracyCheck)}
    for key, scorer in OF_SCORER.items():
        default = defaults[key]
        assert default is not MISSING
        if item.scorer != scorer and getattr(item, key) != default:
            yield warning(
                (*path, key),
                "ignored-setting",
                f"'{key}' is for the scorer {scorer}, and this one is {item.scorer}",
                hint=f"leave it out, or set `scorer: {scorer}`",
            )
    if item.not_worse_than is None and item.margin != defaults["margin"]:
        yield warning(
            (*path, "margin"),
            "ignored-setting",
            "'margin' has no effect without 'not_worse_than'",
            hint="set `not_worse_than: base`, or leave it out",
        )
    if item.pattern is not None and (why := why_no_pattern(item.pattern)):
        message = f"'{dotted((*path, 'pattern'))}' is no regular expression: {why}"
        yield problem((*path, "pattern"), "wrong-form", message)
    if item.schema is not None:
        yield from check_json_schema(item.schema, (*path, "schema"))
    if item.scorer == "judge":
        yield from _check_judge(item, path, view)
    domain = view.domain(item.domain) if item.domain else None
    if item.scorer == "citations" and domain is not None and domain.retrieval is None:
        yield problem(
            (*path, "domain"),
            "contradiction",
            f"{item.domain} retrieves nothing, so that no answer of it has a source",
            hint="name a domain with 'retrieval'",
        )


def _check_judge(item: AccuracyCheck, path: KeyPath, view: EnvironmentView) -> Iterator[Diagnostic]:
    if item.judge is None:
        yield problem(
            (*path, "judge"),
            "incomplete",
            "the scorer judge needs a language model that judges",
            hint="name one: `judge: NAME`",
        )
    judge = view.model(item.judge)
    if judge is not None and judge.provider == "builtin":
        yield problem(
            (*path, "judge"),
            "contradiction",
            f"{item.judge} is no language model: it quotes what was found, and cannot judge",
            hint="name a language model",
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
