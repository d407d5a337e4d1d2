"""Recorded feedback under review: rows that contradict each other, and rows that are withdrawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from modelyard.chatdata.feedback import FeedbackRow, feedback_lock, list_feedback, remove_texts
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.state import delete_state


def find_contradictions(rows: Sequence[FeedbackRow]) -> dict[int, tuple[int, ...]]:
    """For each row the ids of those that teach another answer to the same question.

    Rows of one organisation are compared, by their questions without regard to case and spacing.
    Rows that teach nothing contradict nothing; rows that contradict none are left out.
    """
    lessons: dict[tuple[str | None, str], list[FeedbackRow]] = defaultdict(list)
    for row in rows:
        if row.prompt is not None and row.training_answer is not None:
            lessons[row.org, _plain(row.prompt)].append(row)
    found = {}
    for same in lessons.values():
        for row in same:
            mine = _plain(row.training_answer or "")
            others = (other for other in same if _plain(other.training_answer or "") != mine)
            if ids := tuple(other.id for other in others):
                found[row.id] = ids
    return found


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def contradiction_warnings(rows: Sequence[FeedbackRow]) -> list[str]:
    """One line for each question that rows answer differently, with the ids of those rows."""
    against = find_contradictions(rows)
    groups = {tuple(sorted((id, *others))) for id, others in against.items()}
    joined: list[set[int]] = []
    for group in sorted(groups):
        known = next((ids for ids in joined if ids & set(group)), None)
        if known is None:
            joined.append(set(group))
        else:
            known |= set(group)
    prompts = {row.id: " ".join((row.prompt or "").split()) for row in rows}
    return [
        f"feedback {', '.join(map(str, sorted(ids)))} teach different answers to one question, "
        f"{_shortened(prompts[min(ids)])!r}: withdraw all but one (`models feedback withdraw ID`)"
        for ids in joined
    ]


_LONGEST_QUESTION = 60


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_QUESTION else f"{text[: _LONGEST_QUESTION - 1]}…"


def withdraw_feedback(
    project: Project, ids: Sequence[int], *, dry_run: bool = False, wait_s: float = 0.0
) -> tuple[FeedbackRow, ...]:
    """Remove rows of feedback for good, all or none, and return them.

    A dataset that has used a row keeps it until it is prepared again. Raises InvalidInput when
    there is no such row, LockHeld while a dataset is made of feedback of its organisation.
    """
    rows = _named_rows(project, ids)
    if dry_run:
        return rows
    with ExitStack() as locks:
        for org in sorted({row.org for row in rows}, key=lambda org: org or ""):
            locks.enter_context(feedback_lock(project, org, wait_s=wait_s))
        rows = _named_rows(project, ids)
        remove_texts(project, rows)
        marks = ", ".join("?" for _ in rows)
        delete_state(
            project,
            f"DELETE FROM feedback WHERE id IN ({marks})",
            tuple(row.id for row in rows),
        )
    return rows


def _named_rows(project: Project, ids: Sequence[int]) -> tuple[FeedbackRow, ...]:
    wanted = set(ids)
    rows = tuple(row for row in list_feedback(project) if row.id in wanted)
    if missing := sorted(wanted - {row.id for row in rows}):
        raise InvalidInput(
            f"there is no feedback {', '.join(map(str, missing))}; nothing was withdrawn",
            hint="`models feedback list` shows the ids",
        )
    return rows
