"""What each scorer compares with, and why a case cannot be scored without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelyard.configs.kinds.test_suites import AccuracyCheck, Scorer, SuiteCase
from modelyard.core.pattern_search import why_no_pattern
from modelyard.performance.scorers.quantities import quantities_in


def why_not_scored(check: AccuracyCheck, right: SuiteCase) -> str | None:
    """What a case lacks for the scorer of its check; None when it can be scored."""
    need = _NEEDS.get(check.scorer)
    return need(check, right) if need else None


def _answer(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if right.answer and right.answer.strip():
        return None
    return f"{check.scorer} compares with `answer`, and there is none"


def _expect(check: AccuracyCheck, right: SuiteCase) -> str | None:
    return None if right.expect else "facts compares with `expect`, and there is none"


def _label(check: AccuracyCheck, right: SuiteCase) -> str | None:
    return None if right.label else "label compares with `label`, and there is none"


def _pattern(check: AccuracyCheck, right: SuiteCase) -> str | None:
    pattern = right.pattern or check.pattern
    if pattern is None:
        return "regex looks for `pattern`, and neither the case nor its check has one"
    why = why_no_pattern(pattern)
    return f"`pattern` is no regular expression: {why}" if why else None


def _schema(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if right.schema is None and check.schema is None:
        return "json_schema needs a `schema`, and neither the case nor its check has one"
    return None


def _number(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if quantities_in(right.answer or ""):
        return None
    return f"numeric compares with the number in `answer`, and {right.answer!r} has none"


def _sources(check: AccuracyCheck, right: SuiteCase) -> str | None:
    return None if right.sources else "citations compares with `sources`, and there are none"


def _rubric(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if check.rubric is None and not (right.answer and right.answer.strip()):
        return "judge needs a right `answer`, or a `rubric` of the check"
    return None


_NEEDS: Mapping[Scorer, Callable[[AccuracyCheck, SuiteCase], str | None]] = {
    "facts": _expect,
    "exact": _answer,
    "contains": _answer,
    "regex": _pattern,
    "json_schema": _schema,
    "numeric": _number,
    "similarity": _answer,
    "citations": _sources,
    "label": _label,
    "judge": _rubric,
}
