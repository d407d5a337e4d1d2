"""Samples that say which they are, and what a project must have of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from modelyard.core.layout import Project
from modelyard.monitoring.samples import read_samples
from modelyard.records.sample import Sample
from modelyard.records.spool import Recorder


def numbered(number: int, **values: Any) -> Sample:
    """The sample with that number."""
    facts: dict[str, Any] = {
        "answer_id": f"answer-{number}",
        "answered_at_ms": 1_800_000_000_000 + number,
        "model": "base:tiny",
        "prompt_tokens": number,
        "latency_s": 0.5,
        "outcome": "answered",
    }
    return Sample(**(facts | values))


def record(project: Project, numbers: Iterable[int]) -> None:
    """Record the samples with those numbers, as one process does."""
    recorder = Recorder(project)
    for number in numbers:
        recorder.record(numbered(number))
    recorder.close()
    assert recorder.problem is None


def found(project: Project) -> list[int]:
    """The numbers of all samples, in the order in which they are read; none may be there twice."""
    ids = [sample.answer_id for sample in read_samples(project)]
    assert max(Counter(ids).values(), default=1) == 1
    return [int(one.removeprefix("answer-")) for one in ids]
