"""Feedback on answers: a rating, a correction or both, as rows of state.db.

The texts of feedback that names its answer by an id may quote a recorded prompt. They lie in a file
of their own, which nobody reads who may not change the project: for others the row has none.
Owns what a row may hold and which dataset it belongs to: none, or permanently the first that used
it. Does not know how a dataset is prepared from rows.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from modelyard.chatdata.json_values import is_text, kind_of
from modelyard.chatdata.reading import read_json_lines
from modelyard.core.clock import utc_now
from modelyard.core.database import transaction
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError, NoData, ProblemsFound
from modelyard.core.files import disk_errors, exclusive_lock, write_json
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.core.layout import Project, check_name, is_name
from modelyard.core.state import delete_state, open_state, read_state
from modelyard.core.wording import visible_text
from modelyard.records.modelref import ModelRef
from modelyard.settings.build import build_settings
from modelyard.settings.converters import Where

_TEXTS = ("prompt", "answer", "correction")
_LONGEST_TEXT = 1_000_000
_UNUSED = "used_in IS NULL"
_ANSWER_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One answer, with a rating and a correction.

    The answer is known by its texts or by its id; without a prompt it is never a training row.
    """

    prompt: str | None = None
    """The question; None when it was not given."""
    answer: str | None = None
    """The answer of the model; None when it was not given."""
    rating: Literal["good", "bad"] | None = None
    """Whether the answer was good; None when it was not rated."""
    correction: str | None = None
    """The right answer; None when it was not given."""
    org: str | None = None
    """The organisation it belongs to; None for none."""
    adapter: str | None = None
    """The adapter that answered: `NAME` or `NAME@VERSION`; whether it exists is not checked."""
    answer_id: str | None = None
    """The id of the answer; None when only its texts are known."""

    @property
    def training_answer(self) -> str | None:
        """The answer to train on: the correction, else an answer rated good, else None."""
        if self.prompt is None:
            return None
        return self.correction or (self.answer if self.rating == "good" else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRow(Feedback):
    """A recorded row of feedback."""

    id: int
    """Its number; later rows have larger ones."""
    recorded_at: str
    """When, in UTC."""
    used_in: str | None
    """The dataset it belongs to; None while no dataset has used it."""
    texts: str | None = None
    """The file that holds its texts; None where they are in state.db."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackAdded:
    """The result of recording; `--json` prints it."""

    ids: tuple[int, ...]
    """The new rows, in the order given; empty in a dry run."""
    added: int
    """How many rows are new."""
    repeated: int
    """How many were left out because an identical row was recorded before."""
    to_learn: int
    """How many of the new ones `prepare-data --from-feedback` can use."""


# What a row may hold.


def check_feedback(
    values: Mapping[str, Any], where: Where
) -> tuple[Feedback | None, list[Diagnostic]]:
    """Feedback from the keys of a row or the options of a command, or every problem with it."""
    texts = {
        key: value.replace("\r\n", "\n").strip() if isinstance(value, str) else value
        for key, value in values.items()
    }
    built, problems = build_settings(Feedback, texts, where)
    problems += [
        Diagnostic(message=message, where=where((key,))) for key, message in _lacking(texts).items()
    ]
    for key, value in texts.items():
        if isinstance(value, str) and (wrong := _wrong_text(key, value)):
            problems.append(Diagnostic(message=f"'{key}' {wrong}", where=where((key,))))
    if built and built.rating == "bad" and built.correction and built.correction == built.answer:
        problems.append(
            Diagnostic(
                message="'correction' equals the answer that is rated bad",
                where=where(("correction",)),
            )
        )
    if built is None or problems:
        return None, problems
    return replace(built, adapter=built.adapter and _adapter_name(built.adapter)), []


def read_feedback(path: Path, *, piped: bytes | None = None) -> tuple[Feedback, ...]:
    """The rows of a file of JSON Lines with the keys of `Feedback`.

    piped: the content of stdin, where that is meant by the path `-`.

    Raises ProblemsFound with every bad row, InvalidInput when the file cannot be read or is empty.
    """
    rows: list[Feedback] = []
    problems: list[Diagnostic] = []
    name = str(path) if piped is None else "stdin"
    for place, value in read_json_lines(path, name=name, problems=problems, piped=piped):
        if not isinstance(value, dict):
            problems.append(
                Diagnostic(
                    message=f"must be an object with keys, not {kind_of(value)}", where=place
                )
            )
            continue
        row, wrong = check_feedback(value, lambda _, place=place: place)  # type: ignore[misc]
        problems += wrong
        rows += [row] if row else []
    if problems:
        raise ProblemsFound("the file is not valid; nothing was recorded", problems)
    if not rows:
        raise InvalidInput("is empty", where=name)
    return tuple(rows)


def _adapter_name(reference: str) -> str:
    """`NAME` or `NAME@VERSION`, without the prefix `adapter:` that both may have."""
    named = ModelRef.parse(reference, kind="adapter")
    return str(named) if named.version else named.name


def _lacking(values: Mapping[str, Any]) -> dict[str, str]:
    """The keys that a row lacks: of its texts, or of what is said of an answer named by its id."""
    if values.get("answer_id") is None:
        texts = [key for key in ("prompt", "answer") if values.get(key) is None]
        either = ", or 'answer_id' instead of both" if len(texts) == 2 else ""
        return {key: f"'{key}' is required{either}" for key in texts}
    if values.get("rating") is None and values.get("correction") is None:
        return {"rating": "'rating' or 'correction' is required: the id alone says nothing"}
    return {}


def _wrong_text(key: str, text: str) -> str | None:
    """What is wrong with the text of a field; the message follows the field's name."""
    if not text:
        return "is empty"
    if not is_text(text):
        return "is not valid text (half of a surrogate pair)"
    shown = visible_text(text)
    if shown != text:
        control = next(character for character in text if visible_text(character) != character)
        return f"holds the control character {visible_text(control)}"
    if key in _TEXTS and len(text) > _LONGEST_TEXT:
        return f"is longer than {_LONGEST_TEXT:,} characters"
    try:
        if key == "org":
            check_name(text, "organisation")
        if key == "adapter":
            ModelRef.parse(text, kind="adapter")
        if key == "answer_id" and not _ANSWER_ID.fullmatch(text):
            return "is no id of an answer: `models ask --explain` shows it"
    except InvalidInput as error:
        return f"{error.message}; {error.hint}"
    return None


# The rows in state.db.


def record_feedback(
    project: Project, rows: Sequence[Feedback], *, dry_run: bool = False
) -> FeedbackAdded:
    """Record all rows or none; a row identical to a recorded one is left out."""
    different = list(dict.fromkeys(rows))
    ids: list[int] = []
    if dry_run:
        stored = partial(read_state, project)
        new = [row for row in different if not _is_recorded(project, row, stored)]
    else:
        with open_state(project) as state, transaction(state):
            new = [row for row in different if not _is_recorded(project, row, state.execute)]
            ids = [_insert(state, project, row) for row in new]
    return FeedbackAdded(
        ids=tuple(ids),
        added=len(new),
        repeated=len(rows) - len(new),
        to_learn=sum(row.training_answer is not None for row in new),
    )


def list_feedback(
    project: Project, *, org: str | None = None, unused: bool = False
) -> tuple[FeedbackRow, ...]:
    """Recorded feedback, oldest first: of `org` or of all; with `unused`, only unused rows."""
    if org is not None:
        check_name(org, "organisation")
    conditions = ["org = :org"] if org is not None else []
    conditions += [_UNUSED] if unused else []
    return _select(project, " AND ".join(conditions) or "1", {"org": org})


def _select(project: Project, condition: str, values: Mapping[str, Any]) -> tuple[FeedbackRow, ...]:
    found = read_state(
        project, f"SELECT {_STORED} FROM feedback WHERE {condition} ORDER BY id", values
    )
    return tuple(_with_texts(project, row) for row in found)


_STORED = ", ".join(field.name for field in fields(FeedbackRow))
_COLUMNS = {"adapter": "replace(adapter, 'adapter:', '')"}
"""Rows of older versions have the adapter as it was typed."""
_SAME = " AND ".join(
    f"{_COLUMNS.get(field.name, field.name)} IS :{field.name}" for field in fields(Feedback)
)
_RECORDED = f"SELECT 1 FROM feedback WHERE {_SAME} LIMIT 1"


def _is_recorded(project: Project, row: Feedback, rows_of: Callable[..., Iterable[Any]]) -> bool:
    """Whether an identical row is recorded. rows_of: gives the rows of a query with its values."""
    if list(rows_of(_RECORDED, asdict(row))):
        return True
    apart = f"SELECT {_STORED} FROM feedback WHERE answer_id = ? AND texts IS NOT NULL"
    same = (_with_texts(project, each) for each in rows_of(apart, (row.answer_id,)))
    return any(asdict(row).items() <= asdict(each).items() for each in same)


def _insert(state: sqlite3.Connection, project: Project, row: Feedback) -> int:
    values = asdict(row) | {"recorded_at": utc_now(), "texts": None}
    written = {key: values[key] for key in _TEXTS}
    if row.answer_id is not None and any(written.values()):
        values |= dict.fromkeys(_TEXTS) | {"texts": secrets.token_hex(8)}
        about = {"org": row.org, "recorded_at": values["recorded_at"]}
        write_json(project.feedback_texts(values["texts"]), about | written)
    inserted = state.execute(
        "INSERT INTO feedback (recorded_at, org, adapter, answer_id, prompt, answer, rating, "
        "correction, texts) VALUES (:recorded_at, :org, :adapter, :answer_id, :prompt, :answer, "
        ":rating, :correction, :texts)",
        values,
    )
    assert inserted.lastrowid is not None
    return inserted.lastrowid


def _with_texts(project: Project, stored: sqlite3.Row) -> FeedbackRow:
    """A row with its texts, as far as they are there and this user may read them."""
    row = FeedbackRow(**dict(stored))
    if row.texts is None or not is_name(row.texts):
        return row
    try:
        written = read_json_object(project.feedback_texts(row.texts))
    except InvalidJson:
        return row
    texts = {key: text for key in _TEXTS if isinstance(text := written.get(key), str)}
    return replace(
        row,
        prompt=texts.get("prompt"),
        answer=texts.get("answer"),
        correction=texts.get("correction"),
    )


def remove_texts(project: Project, rows: Iterable[FeedbackRow]) -> None:
    """Remove the files that hold the texts of rows, before the rows themselves are removed."""
    for row in rows:
        if row.texts is not None and is_name(row.texts):
            path = project.feedback_texts(row.texts)
            with disk_errors(path):
                path.unlink(missing_ok=True)


# Which dataset a row belongs to.


def feedback_lock(
    project: Project, org: str | None, *, wait_s: float
) -> AbstractContextManager[None]:
    """The lock that is held from choosing rows of one organisation until they are claimed."""
    kind, name = ("feedback", "of-none") if org is None else ("feedback-of", org)
    owner = "no organisation" if org is None else f"organisation {org}"
    return exclusive_lock(project.lock(kind, name), what=f"feedback of {owner}", wait_s=wait_s)


def choose_feedback(project: Project, dataset: str, org: str | None) -> tuple[FeedbackRow, ...]:
    """The rows of a dataset, oldest first: those it has used, and usable ones that no dataset has.

    Only rows of `org`; None means rows of no organisation. Raises NoData when there are none,
    InvalidInput when the dataset has used rows of another organisation.
    """
    rows = _select(project, f"{_UNUSED} OR used_in = :dataset", {"dataset": dataset})
    others = sorted({row.org or "none" for row in rows if row.used_in and row.org != org})
    if others:
        raise InvalidInput(
            f"dataset '{dataset}' holds feedback of organisation {', '.join(others)}",
            hint="give each organisation a dataset of its own: choose another --out",
        )
    chosen = tuple(row for row in rows if row.org == org and row.training_answer is not None)
    if not chosen:
        raise _nothing_usable(project, org)
    return chosen


def claim_feedback(project: Project, dataset: str, rows: Sequence[FeedbackRow]) -> None:
    """Assign the unused ones of `rows` to a dataset, in one transaction. Call it under the lock."""
    unused = [row for row in rows if row.used_in is None]
    if not unused:
        return
    with open_state(project) as state, transaction(state):
        for row in unused:
            changed = state.execute(
                f"UPDATE feedback SET used_in = ? WHERE id = ? AND {_UNUSED}", (dataset, row.id)
            )
            if changed.rowcount != 1:
                raise ModelyardError(
                    f"feedback {row.id} was used by another process in the meantime",
                    hint="run the same command again",
                )


def _nothing_usable(project: Project, org: str | None) -> NoData:
    rows = _select(project, "1", {})
    owner = f"of organisation '{org}'" if org else "without an organisation"
    used = Counter(row.used_in for row in rows if row.org == org and row.used_in)
    unusable = sum(row.org == org and row.training_answer is None for row in rows)
    reasons = [f"{count:,} used in dataset '{name}'" for name, count in sorted(used.items())]
    reasons += (
        [f"{unusable:,} with neither a correction nor a good rating, or no prompt"]
        if unusable
        else []
    )
    others = sorted({row.org for row in rows if row.org and row.org != org})
    hint = "`models feedback add` records some"
    if others and org is None:
        hint += f"; for feedback of {', '.join(others)}, name it with --org"
    why = f" ({', '.join(reasons)})" if reasons else ""
    return NoData(f"there is no unused feedback {owner} to train on{why}", hint=hint)


def forget_feedback(project: Project, org: str, *, wait_s: float) -> int:
    """Remove all feedback of an organisation, so that its texts are nowhere in the file; how many.

    The datasets that were made of it stay. Raises LockHeld while one is being made, and
    ModelyardError when the file cannot be written.
    """
    with feedback_lock(project, org, wait_s=wait_s):
        for path in project.all_feedback_texts:  # also those whose row was not recorded any more
            with suppress(InvalidJson), disk_errors(path):
                if read_json_object(path).get("org") == org:
                    path.unlink()
        return delete_state(project, "DELETE FROM feedback WHERE org = ?", (org,))
