"""What prepare-data did or would do, as figures and findings.

The terminal, `--json` and the card show it. Does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.chatdata.duplicates import DuplicatePair
from modelyard.chatdata.feedback import FeedbackRow
from modelyard.chatdata.sensitive import SensitiveValue
from modelyard.chatdata.unused_keys import UnusedKey
from modelyard.core.errors import Diagnostic
from modelyard.core.wording import counted
from modelyard.results.json_form import published


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackUse:
    """Which recorded feedback a dataset is made from."""

    rows: int
    """The number of rows of feedback."""
    new_rows: int
    """How many of them no dataset used before."""
    first_id: int
    """The id of the oldest row."""
    last_id: int
    """The id of the newest row."""
    adapter: str | None
    """The adapter that all of them are about; None when they name several, or none."""

    def __str__(self) -> str:
        ids = f"id {self.first_id}" if self.rows == 1 else f"ids {self.first_id} to {self.last_id}"
        return f"{counted(self.rows, 'row')}, {ids}"


def describe_use(feedback: Sequence[FeedbackRow]) -> FeedbackUse:
    """The use of these rows, at least one."""
    adapters = {row.adapter.partition("@")[0] if row.adapter else None for row in feedback}
    return FeedbackUse(
        rows=len(feedback),
        new_rows=sum(row.used_in is None for row in feedback),
        first_id=feedback[0].id,
        last_id=feedback[-1].id,
        adapter=adapters.pop() if len(adapters) == 1 else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedData:
    """What prepare-data made, or would make.

    Every row that was read is in exactly one of `train_rows`, `evaluation_rows`,
    `removed_duplicates`, `dropped_sensitive` and `bad_row_count`.
    """

    name: str
    """The dataset's name: its folder's."""
    folder: str
    """The folder, relative to the project when it is inside."""
    unchanged: bool
    """Whether nothing had to be done: same sources, same options, unedited files."""
    rows_read: int
    """Rows of all sources, bad ones included."""
    train_rows: int
    """Training rows."""
    evaluation_rows: int
    """Evaluation rows."""
    fingerprint: str
    """The fingerprint of the rows."""
    removed_duplicates: int = 0
    """Rows left out because an earlier row is equal."""
    dropped_sensitive: int = 0
    """Rows left out because they hold a secret or an e-mail address."""
    bad_row_count: int = 0
    """Rows left out because they are not valid."""
    stripped_rows: int = 0
    """Rows with whitespace around a text, which `--strip` removed."""
    near_duplicates: tuple[DuplicatePair, ...] = ()
    """Evaluation rows whose question is nearly that of a training row."""
    flagged: tuple[SensitiveValue, ...] = ()
    """Secrets and e-mail addresses in the rows that were kept."""
    bad_rows: tuple[Diagnostic, ...] = field(
        default=(), metadata=published(without=("level", "code", "path"))
    )
    """What is wrong with the rows that are not valid; one row may have several problems."""
    unused_keys: tuple[UnusedKey, ...] = ()
    """Keys of rows and messages that are kept and not learned."""
    notes: tuple[str, ...] = ()
    """What texts hold that is probably not meant, and columns that are left out, a line each."""
    feedback: FeedbackUse | None = None
    """The feedback that it is made from; None for files."""

    @property
    def left_out(self) -> list[tuple[str, int]]:
        """Why rows were left out, and how many."""
        reasons = (
            ("equal to an earlier row", self.removed_duplicates),
            ("with a secret or an e-mail address", self.dropped_sensitive),
            ("not valid", self.bad_row_count),
        )
        return [(why, count) for why, count in reasons if count]

    @property
    def sum_of_rows(self) -> str:
        """Where every row that was read is."""
        parts = [
            f"{self.train_rows:,} for training",
            f"{self.evaluation_rows:,} for evaluation",
            *(f"{count:,} left out ({why})" for why, count in self.left_out),
        ]
        stripped = (
            f" Whitespace around texts was removed in {counted(self.stripped_rows, 'row')}."
            if self.stripped_rows
            else ""
        )
        return f"{counted(self.rows_read, 'row')} read: {', '.join(parts)}.{stripped}"

    @property
    def next_command(self) -> str:
        """How to train on it; feedback continues the adapter that it is about."""
        dataset = self.name if self.folder == f"datasets/{self.name}" else self.folder
        continued = f"--from {self.feedback.adapter or 'NAME'} " if self.feedback else ""
        return f"models fine-tune {continued}--dataset {dataset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedResult:
    """What prepare-data made, or would make."""

    prepared: PreparedData = field(metadata=published(inline=True))
    dry_run: bool
    """Whether nothing was written."""


def has_nothing_to_tell(card: Mapping[str, Any]) -> bool:
    """Whether the card has all there is to tell: it lists no places, which only rows can tell."""
    flagged = card.get("flagged")
    found = [card.get(key) for key in ("near_duplicates", "bad_rows")]
    return (
        isinstance(card.get("rows_read"), int)
        and isinstance(flagged, Mapping)
        and not any([*found, *flagged.values()])
    )


def recorded_result(
    name: str, folder: str, card: Mapping[str, Any], feedback: FeedbackUse | None
) -> PreparedData:
    """The result of the run that wrote the card, which has nothing to tell of places."""
    unused = card.get("unused_keys", {})
    return PreparedData(
        name=name,
        folder=folder,
        unchanged=True,
        rows_read=card["rows_read"],
        train_rows=card["rows"]["train"],
        evaluation_rows=card["rows"]["eval"],
        fingerprint=card["fingerprint"],
        removed_duplicates=card["removed_duplicates"],
        dropped_sensitive=card["dropped_sensitive"],
        stripped_rows=card.get("stripped_rows", 0),
        unused_keys=tuple(UnusedKey.at(path, rows) for path, rows in unused.items()),
        notes=tuple(card.get("notes", ())),
        feedback=feedback,
    )
