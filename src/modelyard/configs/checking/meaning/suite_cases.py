"""What a scorer compares with: why a case cannot be scored, and which keys have no effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from modelyard.configs.kinds.test_suites import AccuracyCheck, Scorer, SuiteCase
from modelyard.core.pattern_search import why_no_pattern

OF_SCORER: Mapping[str, Scorer] = {
    "pattern": "regex",
    "schema": "json_schema",
    "tolerance": "numeric",
    "least_similarity": "similarity",
    "citation": "citations",
    "judge": "judge",
    "rubric": "judge",
    "least_grade": "judge",
}
"""The keys of a check that only one scorer reads."""


def why_not_scored(check: AccuracyCheck, right: SuiteCase) -> str | None:
    """What a case lacks for the scorer of its check; None when it can be scored."""
    need = _NEEDS.get(check.scorer)
    return need(check, right) if need else None


def _answer(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if right.answer and right.answer.strip():
        return None
    return f"{check.scorer} compares with 'answer', and there is none"


def _expect(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if not all(right.expect):
        return "a group of 'expect' is empty, and nothing could meet it"
    return None if right.expect else "facts compares with 'expect', and there is none"


def _label(check: AccuracyCheck, right: SuiteCase) -> str | None:
    return None if right.label else "label compares with 'label', and there is none"


def _pattern(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if right.pattern is None:
        if check.pattern is None:
            return "regex looks for a 'pattern', and neither the case nor its check has one"
        return None  # said of the check, once
    why = why_no_pattern(right.pattern)
    return f"'pattern' is no regular expression: {why}" if why else None


def _schema(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if right.schema is None and check.schema is None:
        return "json_schema needs a 'schema', and neither the case nor its check has one"
    return None


def _number(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if re.search(r"\d", right.answer or ""):
        return None
    return f"numeric compares with the number in 'answer', and {right.answer!r} has none"


def _sources(check: AccuracyCheck, right: SuiteCase) -> str | None:
    return None if right.sources else "citations compares with 'sources', and there are none"


def _rubric(check: AccuracyCheck, right: SuiteCase) -> str | None:
    if check.rubric is None and not (right.answer and right.answer.strip()):
        return "judge needs a right 'answer', or a 'rubric' of the check"
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
