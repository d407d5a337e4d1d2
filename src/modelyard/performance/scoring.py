"""Scores the answers of a run: each by the scorer of its check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from modelyard.answering.answer import Answerer
from modelyard.answering.request import Answer
from modelyard.core.layout import Project
from modelyard.performance.cases import Case
from modelyard.performance.scorers.judge import Judge
from modelyard.performance.scorers.scored import RIGHT, Scored, wrong
from modelyard.performance.scorers.similarity import Similarity
from modelyard.performance.scorers.sources import score_citations
from modelyard.performance.scorers.structured import score_json_schema
from modelyard.performance.scorers.texts import (
    score_contains,
    score_exact,
    score_facts,
    score_label,
    score_numeric,
    score_refusal,
    score_regex,
)

_OF_TEXT = {
    "facts": score_facts,
    "exact": score_exact,
    "contains": score_contains,
    "regex": score_regex,
    "json_schema": score_json_schema,
    "numeric": score_numeric,
    "refusal": score_refusal,
}


class Scorers:
    """The scorers of some cases; what they open is opened when first needed. Threads share one."""

    def __init__(
        self, project: Project, answerer: Answerer, environment: str, cases: Iterable[Case]
    ) -> None:
        self.judge = Judge(project, answerer, environment)
        self._similarity = Similarity(project, environment)
        self._labels: dict[str, set[str]] = defaultdict(set)
        for case in cases:
            if case.check.scorer == "label" and case.right.label:
                self._labels[case.check.name].add(case.right.label)

    def score(self, case: Case, answer: Answer) -> Scored:
        """How good an answer is that a model gave."""
        scorer = case.check.scorer
        if answer.degraded:
            return wrong("no language model answered: it quotes what was found")
        if answer.finish == "refused":
            return self.score_silence(case, "it refused to answer")
        if scorer == "similarity":
            return self._similarity.score(case, answer.text)
        if scorer == "citations":
            return score_citations(case, answer)
        if scorer == "label":
            return score_label(case, answer.text, self._labels[case.check.name])
        if scorer == "judge":
            return self.judge.score(case, answer, timeout_s=case.check.timeout_s)
        return _OF_TEXT[scorer](case, answer.text)

    def score_silence(self, case: Case, why: str) -> Scored:
        """How good it is to answer nothing: right where the question cannot be answered."""
        declined = case.check.scorer == "refusal" and not case.right.expect
        return RIGHT if declined else wrong(why)
