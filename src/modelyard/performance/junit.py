"""A run as JUnit XML, for the test views of GitLab, Jenkins and other CI systems.

What fails are thresholds: there is a failure exactly when one is breached, nothing was answered or
the baseline was better, which is when the command exits with 4. Where nobody can tell, the test is
skipped. Each case is a test of its check; one that is not right is skipped with the reason, since
a suite with a threshold of 85% allows for some.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.core.xml_text import xml_attribute, xml_text
from modelyard.performance.baseline import against_baseline
from modelyard.performance.comparison import Comparison
from modelyard.performance.results import LOAD, CaseResult, RunFigure, TestRun
from modelyard.performance.shown import (
    show_interval,
    show_more_needed,
    show_name,
    show_threshold,
    show_value,
)
from modelyard.performance.shown_pairs import say_verdict

_LONGEST_NAME = 160
_LONGEST_TEXT = 4000
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    part: str
    """The check, or `thresholds`."""
    name: str
    seconds: float | None = None
    failure: tuple[str, str] | None = None
    """Why it failed, in a line and at length."""
    skipped: str | None = None
    """Why it neither passed nor failed."""
    output: str | None = None


def render_junit(run: TestRun, *, baseline: TestRun | None = None) -> str:
    """The XML; whatever XML cannot hold in questions and answers is written out as `\\x1b`.

    baseline: an earlier run, beside which this one must not be right less often.
    """
    parts = {"thresholds": list(_threshold_tests(run))}
    if baseline is not None:
        parts["thresholds"].append(_baseline_test(against_baseline(run, baseline)))
    for case in run.cases:
        if case.check != LOAD:
            parts.setdefault(case.check, []).append(_case_test(case))
    tests = [test for part in parts.values() for test in part]
    opening = (
        f"<testsuites name={xml_attribute(f'{run.suite} on {run.target} in {run.environment}')} "
        f'{_counts(tests)} time="{run.wall_s:.3f}">'
    )
    suites = [line for name, part in parts.items() for line in _suite(run, name, part)]
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', opening, *suites, "</testsuites>", ""]
    )


def _counts(tests: Sequence[_Test]) -> str:
    failures = sum(test.failure is not None for test in tests)
    return f'tests="{len(tests)}" failures="{failures}" errors="0"'


def _suite(run: TestRun, name: str, tests: Sequence[_Test]) -> Iterator[str]:
    skipped = sum(test.skipped is not None for test in tests)
    seconds = math.fsum(test.seconds or 0.0 for test in tests)
    yield (
        f"  <testsuite name={xml_attribute(f'{run.suite}.{name}')} {_counts(tests)} "
        f'skipped="{skipped}" time="{seconds:.3f}" timestamp={xml_attribute(run.started_at[:19])}>'
    )
    for test in tests:
        yield from _lines(run, test)
    yield "  </testsuite>"


def _lines(run: TestRun, test: _Test) -> Iterator[str]:
    opening = (
        f"    <testcase classname={xml_attribute(f'{run.suite}.{test.part}')} "
        f'name={xml_attribute(test.name)} time="{test.seconds or 0:.3f}"'
    )
    within = list(_within(test))
    if not within:
        yield f"{opening}/>"
        return
    yield f"{opening}>"
    yield from within
    yield "    </testcase>"


def _within(test: _Test) -> Iterator[str]:
    if test.failure is not None:
        message, text = test.failure
        opening = f'<failure message={xml_attribute(message)} type="breach">'
        yield f"      {opening}{xml_text(text)}</failure>"
    if test.skipped is not None:
        yield f"      <skipped message={xml_attribute(test.skipped)}/>"
    if test.output is not None:
        yield f"      <system-out>{xml_text(test.output)}</system-out>"


def _threshold_tests(run: TestRun) -> Iterator[_Test]:
    judged = [figure for figure in run.figures if figure.verdict is not None]
    for figure in judged:
        yield _threshold_test(run, figure)
    if run.verdict == "breach" and all(figure.verdict != "breach" for figure in judged):
        yield _failed("answers", "no request was answered", run.cases)


def _baseline_test(beside: Comparison) -> _Test:
    name, paired = f"beside {beside.name}", beside.paired
    told = say_verdict(paired, beside.name, "this run")
    if not beside.worse:
        return _Test(part="thresholds", name=name, output=told)
    lost = [f"{case.question}\n  {case.why}" for case in paired.changed if case.right == "a"]
    text = "\n".join(map(_cut, [told, *lost[:_MOST_NAMED]]))
    return _Test(part="thresholds", name=name, failure=(told, text))


def _threshold_test(run: TestRun, figure: RunFigure) -> _Test:
    value, interval = show_value(figure.value, figure.unit), show_interval(figure)
    measured = f"{value} ({interval})" if interval else value
    message = f"{measured}, and it must be {show_threshold(figure)}"
    name = show_name(figure)
    if figure.verdict == "breach":
        return _failed(name, message, _of_part(run, figure))
    if figure.verdict == "cannot_tell":
        told = "; ".join(filter(None, (f"cannot tell: {message}", show_more_needed(figure))))
        return _Test(part="thresholds", name=name, skipped=told)
    return _Test(part="thresholds", name=name, output=message)


def _of_part(run: TestRun, figure: RunFigure) -> list[CaseResult]:
    """The cases that a figure is over."""
    match figure.over:
        case "check":
            return [case for case in run.cases if case.check == figure.part]
        case "tag":
            return [case for case in run.cases if figure.part in case.tags]
    return list(run.cases)


def _failed(name: str, message: str, cases: Sequence[CaseResult]) -> _Test:
    """A test that failed, with the first cases that are not right."""
    wrong = [case for case in cases if case.right is False or case.answer is None]
    lines = [message, *(f"{case.question}\n  {case.why or case.outcome}" for case in wrong)]
    shown = lines[: 1 + _MOST_NAMED]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    return _Test(part="thresholds", name=name, failure=(message, "\n".join(map(_cut, shown))))


def _case_test(case: CaseResult) -> _Test:
    name = f"{_cut(' '.join(case.question.split()), _LONGEST_NAME)} [{case.case}.{case.repeat}]"
    if case.right is True:
        return _Test(part=case.check, name=name, seconds=case.latency_s)
    return _Test(
        part=case.check,
        name=name,
        seconds=case.latency_s,
        skipped=f"{'not right' if case.right is False else 'not scored'}: "
        f"{_cut(case.why or case.outcome)}",
        output=f"expected: {_cut(case.expected)}\nanswer: {_cut(case.answer or 'none')}",
    )


def _cut(text: str, most: int = _LONGEST_TEXT) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
