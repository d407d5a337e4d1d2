"""The scorer json_schema: whether an answer is JSON that meets a schema."""

from __future__ import annotations

from modelyard.answering.json_answers import problem
from modelyard.performance.cases import Case
from modelyard.performance.scorers.scored import Scored, right_or


def score_json_schema(case: Case, answer: str) -> Scored:
    """Right when the whole answer, or what one code fence around it holds, meets the schema."""
    schema = case.right.schema if case.right.schema is not None else case.check.schema
    wrong = problem(answer, schema or {})
    return right_or(wrong is None, wrong or "")
