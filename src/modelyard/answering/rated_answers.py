"""Feedback on an answer by its id: what the records know of it, and what must not be mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelyard.answering.recorded_prompts import RecordedPrompt, find_prompt
from modelyard.chatdata.feedback import Feedback
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound
from modelyard.core.layout import Project
from modelyard.monitoring.samples import find_answers
from modelyard.records.modelref import ModelRef
from modelyard.records.sample import Sample


def complete_feedback(project: Project, rows: Sequence[Feedback]) -> tuple[Feedback, ...]:
    """The rows with the organisation and the adapter of the answers that they name by id.

    A correction takes its prompt from what was recorded of the answer, where none is given with
    it; a rating takes no texts. Raises ProblemsFound with every id that is unknown, and with what a
    row says otherwise than the records.
    """
    answers = find_answers(project, (row.answer_id for row in rows if row.answer_id))
    completed: list[Feedback] = []
    problems: list[Diagnostic] = []
    for row in rows:
        try:
            completed.append(_complete(project, row, answers) if row.answer_id else row)
        except InvalidInput as error:
            place = f"answer {row.answer_id}"
            problems.append(Diagnostic(message=error.message, where=place, hint=error.hint))
    if problems:
        raise ProblemsFound("the feedback is not valid; nothing was recorded", problems)
    return tuple(completed)


def _complete(project: Project, row: Feedback, answers: dict[str, Sample]) -> Feedback:
    answer_id = row.answer_id or ""
    sample = answers.get(answer_id)
    if sample is None:
        raise InvalidInput(
            "there is no record of such an answer in this project",
            hint="`models ask --explain` and --json give the id; --answer takes the text of one. "
            "Where performance_monitoring is off, answers leave no record",
        )
    adapter = _adapter_of(sample)
    _require_same("organisation", row.org, sample.organisation)
    _require_same("adapter", row.adapter, adapter)
    row = replace(row, org=sample.organisation, adapter=adapter)
    if row.correction is None or row.prompt is not None:
        return row
    recorded = find_prompt(project, answer_id)
    if recorded is None:
        raise InvalidInput(
            "its prompt is not recorded, and a correction is of use only with one",
            hint="give it with --prompt; `record_prompts` of the integration keeps prompts",
        )
    return replace(row, prompt=_only_question(recorded), answer=row.answer or recorded.answer)


def _require_same(what: str, given: str | None, known: str | None) -> None:
    if given is not None and given != known:
        raise InvalidInput(
            f"it is of {f'the {what} {known}' if known else f'no {what}'}, not of {given}",
            hint="leave it out: the record of the answer says it",
        )


def _adapter_of(sample: Sample) -> str | None:
    """NAME@VERSION of the adapter that answered; None for a model without one."""
    found = ModelRef.parse(sample.model)
    return str(found) if found.version is not None else None


def _only_question(recorded: RecordedPrompt) -> str:
    """The prompt of a training row. Raises InvalidInput where the question was not all of it."""
    turns = len(recorded.messages)
    if turns > 1 or recorded.files or recorded.system:
        raise InvalidInput(
            "it was asked in a conversation, with files or with instructions of its own, which a "
            "training row would lack",
            hint="give with --prompt what the correction answers by itself",
        )
    return recorded.messages[-1].content
