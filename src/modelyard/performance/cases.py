"""The cases of a suite: questions with what is right, from its datasets and from itself."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.answering.json_answers import check_schema
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.dataset import load_dataset
from modelyard.configs.checking.check import check_configs
from modelyard.configs.checking.meaning.suite_cases import why_not_scored
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.test_suites import AccuracyCheck, SuiteCase, TestSuite
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import (
    Diagnostic,
    InvalidInput,
    ModelyardError,
    ProblemsFound,
    did_you_mean,
)
from modelyard.core.layout import Project
from modelyard.core.pattern_search import why_no_pattern
from modelyard.core.wording import counted
from modelyard.deployments.running import config_named, numbered_settings
from modelyard.performance.results import LOAD
from modelyard.performance.scorers.quantities import quantities_in
from modelyard.records.stored import build_stored
from modelyard.results.json_form import to_json

_ROW_KEYS = ("expect", "label", "pattern", "schema", "sources", "tags")
"""The keys of a dataset's row that mean what they mean in a case of the suite; `weight` of a row
says whether its answer is trained."""


_LOAD_ONLY = AccuracyCheck(
    name=LOAD,
    cases=tuple(
        SuiteCase(question=question)
        for question in (
            "What can you help me with?",
            "Write a short note that tells a customer that a parcel will arrive tomorrow.",
            "Name three things that a good summary has.",
            "What is the difference between a list and a set?",
            "How do I say thank you for an invitation that I cannot accept?",
        )
    ),
)
"""The questions of a suite that only measures times; nobody scores their answers."""


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
    right: SuiteCase
    """What is right, with the tags and the weight of the check in its own."""
    source: str
    """Where it is written, for messages."""
    local_only: bool = False
    """Whether it may not leave this machine."""

    @property
    def question(self) -> str:
        """The last turn."""
        return self.messages[-1].content

    @property
    def expected(self) -> str:
        """What is right, in a line for people."""
        right = self.right
        if right.expect:
            return "; ".join(" or ".join(group) for group in right.expect)
        found = right.label or right.answer or ", ".join(right.sources) or right.pattern
        return found or self.check.pattern or ""


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
    """12 hex digits of the SHA-256 of the checks, the load and the cases."""
    revision: int | None
    """The revision that it comes from; None: a draft."""


def load_suite(project: Project, name: str, environment: str, *, seed: int | None = None) -> Suite:
    """A suite of an environment by its name or its file, with the rows of its datasets.

    seed: instead of that of the suite, for the rows that are drawn.
    Raises InvalidInput when there is no such suite or a dataset is missing, ProblemsFound for cases
    that do not say what their check compares with.
    """
    suites: Mapping[str, TestSuite]
    revision, suites = numbered_settings(project, environment, "test_suites")
    name = config_named(project, name, "test_suites")
    settings = suites.get(name)
    if settings is None:
        there_are = f"there are {', '.join(suites)}" if suites else "there is none"
        raise InvalidInput(
            f"there is no test suite {name!r} in {environment}{did_you_mean(name, list(suites))}",
            hint=f"{there_are}; a suite is a config in configs/test_suites/",
        )
    if environment == DEFAULT_ENVIRONMENT:  # elsewhere it was checked when it was deployed
        _check_draft(project, name, environment)
    cases: list[Case] = []
    problems: list[Diagnostic] = []
    for check in settings.checks:
        cases += _cases_of(project, check, settings.seed if seed is None else seed, problems)
    if settings.load is not None and not settings.checks:
        cases += _of_suite(_LOAD_ONLY)
    if problems:
        raise ProblemsFound(
            f"{counted(len(problems), 'case')} of the suite {name} cannot be scored", problems
        )
    return Suite(
        name=name,
        settings=settings,
        cases=tuple(cases),
        digest=_digest(settings, cases),
        revision=revision or None,
    )


def _check_draft(project: Project, name: str, environment: str) -> None:
    """Raise ProblemsFound for a draft that no deployment would take, as `validate-config` does."""
    catalogue = ConfigCatalogue(project)
    paths = catalogue.paths_named("test_suites", name)
    report = check_configs(catalogue, paths, environments=(environment,))
    wrong = [finding for finding in report.findings if finding.level == "error"]
    if wrong:
        raise ProblemsFound(f"the suite {name} is not valid", wrong)


def _cases_of(
    project: Project, check: AccuracyCheck, seed: int, problems: list[Diagnostic]
) -> list[Case]:
    """The cases of a check, each with an id of its own; what is wrong with any is added."""
    found = _of_dataset(project, check, problems) if check.dataset else _of_suite(check)
    for case in found:
        problems += [
            Diagnostic(message=why, where=case.source) for why in [_why_not_scored(case)] if why
        ]
    if check.rows is not None and check.rows < len(found):
        chosen = random.Random(f"{seed}/{check.name}").sample(range(len(found)), check.rows)
        found = [found[place] for place in sorted(chosen)]
    seen: Counter[str] = Counter()
    numbered = []
    for case in found:
        seen[case.id] += 1
        own = case.id if seen[case.id] == 1 else _short_digest(f"{case.id} {seen[case.id]}")
        numbered.append(replace(case, id=own))
    return numbered


def _why_not_scored(case: Case) -> str | None:
    """What a case lacks for its scorer; None when it can be scored."""
    check, right = case.check, case.right
    why = why_not_scored(check, right)
    if why is None and check.scorer == "regex":
        wrong = why_no_pattern(right.pattern or check.pattern or "")
        why = f"'pattern' is no regular expression: {wrong}" if wrong else None
    elif why is None and check.scorer == "numeric" and not quantities_in(right.answer or ""):
        why = f"numeric compares with the number in 'answer', and {right.answer!r} has none"
    elif why is None and check.scorer == "json_schema":
        try:
            check_schema(right.schema or check.schema or {}, where="its schema")
        except InvalidInput as error:
            why = str(error)
    return why


def _of_suite(check: AccuracyCheck) -> list[Case]:
    return [
        _build(
            check, right, (Message("user", right.question),), f"check {check.name}, case {place}"
        )
        for place, right in enumerate(check.cases, 1)
    ]


def _of_dataset(project: Project, check: AccuracyCheck, problems: list[Diagnostic]) -> list[Case]:
    """The rows of the check's dataset that are questions in words."""
    assert check.dataset is not None
    data = load_dataset(project, check.dataset)
    cases = []
    for row in data.train if check.split == "train" else data.evaluation:
        try:
            case = _of_row(check, row)
        except ModelyardError as error:
            problems += error.diagnostics()
            continue
        cases.append(replace(case, local_only=data.local_only))
    return cases


def _of_row(check: AccuracyCheck, row: Conversation) -> Case:
    if row.is_plain_text or row.tools or any(turn.more for turn in row.messages):
        raise InvalidInput(
            "is no question in words: it is a plain text, or has tools", where=row.source
        )
    turns = row.prompt
    system = turns[0].content if turns and turns[0].role == "system" else None
    asked = turns[1:] if system is not None else turns
    said = {key: row.fields[key] for key in _ROW_KEYS if row.fields.get(key) is not None}
    values = {"question": asked[-1].content, "answer": row.answer, **said}
    right = build_stored(SuiteCase, "the row", values, lambda _: row.source)
    return _build(check, right, asked, row.source, system=system)


def _build(
    check: AccuracyCheck,
    right: SuiteCase,
    messages: tuple[Message, ...],
    source: str,
    *,
    system: str | None = None,
) -> Case:
    asked = [check.name, system or "", *(turn.content for turn in messages)]
    return Case(
        id=_short_digest("\0".join(asked)),
        check=check,
        messages=messages,
        system=system,
        right=replace(
            right,
            tags=tuple(dict.fromkeys((*check.tags, *right.tags))),
            weight=check.weight * right.weight,
        ),
        source=source,
    )


def _digest(settings: TestSuite, cases: Sequence[Case]) -> str:
    """Of what is asked and how it is scored, and not of the thresholds."""
    checks = [replace(check, cases=(), accuracy=None) for check in settings.checks]
    asked = [[case.id, to_json(case.right)] for case in cases]
    return _short_digest(json.dumps([to_json(checks), to_json(settings.load), asked]))


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
