"""The cases of a suite: questions with what is right, from its datasets and from itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.test_suites import AccuracyCheck, TestSuite
from modelyard.core.layout import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question, and what is right."""

    id: str
    """12 hex digits of the SHA-256 of check and question: the same in every run."""
    check: AccuracyCheck
    """The check that it belongs to."""
    messages: tuple[Message, ...]
    """The turns that are asked; the last is the question."""
    system: str | None
    """Instructions that the row gives besides."""
    answer: str
    """A right answer; empty where there is none."""
    expect: tuple[tuple[str, ...], ...]
    """Of each group one text must occur."""
    label: str | None
    """The right label."""
    pattern: str | None
    """What must be found in the answer."""
    schema: Mapping[str, Any] | None
    """The JSON Schema that the answer must meet."""
    sources: tuple[str, ...]
    """The files that hold the answer, as paths or patterns of them."""
    tags: tuple[str, ...]
    """Its tags and those of the check."""
    weight: float
    """How much it counts."""

    @property
    def question(self) -> str:
        """The last turn."""
        return self.messages[-1].content


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite with its cases."""

    name: str
    """Its name."""
    settings: TestSuite
    """Its settings in the environment."""
    cases: tuple[Case, ...]
    """The cases that are asked, in order of the checks."""
    digest: str
    """12 hex digits of the SHA-256 of the settings and the cases."""
    revision: int | None
    """The revision that it comes from; None: a draft."""


def load_suite(project: Project, name: str, environment: str) -> Suite:
    """A suite of an environment by its name, with the rows of its datasets.

    Raises InvalidInput when there is no such suite or a dataset is missing, ProblemsFound for rows
    that do not say what is right.
    """
    raise NotImplementedError
