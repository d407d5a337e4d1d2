"""What prepare-data reads rows from: files, or recorded feedback.

Each source has a name, a hash by which a later run sees whether it changed, and rows. Does not know
what becomes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from modelyard.chatdata.columns import BadRow, ColumnMapping
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.feedback import FeedbackRow
from modelyard.chatdata.reading import SUFFIXES, read_conversations, why_unreadable
from modelyard.chatdata.row_formats import build_conversation
from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.core.files import sha256_file
from modelyard.core.layout import Project

SourceRows = tuple[list[Conversation], list[Diagnostic], dict[str, Any]]
"""The good rows of a source in order, its bad rows, and what the card records about it."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file of conversations, or a table whose columns make conversations."""

    path: Path
    shown: str
    """Its name in messages and on the card."""
    sha256: str
    columns: ColumnMapping | None

    def read(self) -> SourceRows:
        """Its rows; the card records their number and format."""
        rows, bad = read_conversations(self.path, name=self.shown, columns=self.columns)
        formats = ", ".join(sorted({row.format for row in rows})) or None
        return rows, bad, {"rows": len(rows), "format": formats}


@dataclass(frozen=True, slots=True)
class FeedbackSource:
    """Recorded feedback, oldest first."""

    shown: ClassVar[str] = "feedback"
    """Its name in messages and on the card; the name of a file has a suffix."""
    feedback: tuple[FeedbackRow, ...]
    """The rows of one dataset, at least one; each has an answer to train on."""

    @property
    def sha256(self) -> str:
        """The hash of the rows' ids, prompts and answers."""
        return _hash_feedback(self.feedback)

    def read(self) -> SourceRows:
        """A conversation of two turns for each row; the card records which rows of state.db."""
        rows: list[Conversation] = []
        bad: list[Diagnostic] = []
        for given in self.feedback:
            row = {
                "prompt": given.prompt,
                "completion": given.training_answer,
                "feedback": given.id,
            }
            where = f"{self.shown}:{given.id}"
            try:
                rows.append(build_conversation(row, where, None))
            except BadRow as error:  # rows that were not written by record_feedback
                bad += error.problems(where)
        facts = {
            "rows": len(self.feedback),
            "first_id": self.feedback[0].id,
            "last_id": self.feedback[-1].id,
        }
        return rows, bad, facts

    def continues(self, recorded: Mapping[str, Any]) -> bool:
        """Whether it begins with the rows that an earlier card recorded."""
        count = recorded.get("rows")
        before = self.feedback[: count if isinstance(count, int) else 0]
        return _hash_feedback(before) == recorded.get("sha256")


RowSource = FileSource | FeedbackSource


def find_files(
    project: Project, given: Sequence[Path], folder: Path, columns: ColumnMapping | None
) -> list[FileSource]:
    """Every file to read for the dataset in `folder`; a given folder stands for the files below it.

    Raises ProblemsFound with everything that cannot be read.
    """
    paths: list[Path] = []
    problems: list[Diagnostic] = []
    for place in given:
        if wrong := why_unreadable(place):
            problems.append(Diagnostic(message=wrong, where=str(place)))
        elif place.is_dir():
            below = [
                path
                for path in sorted(place.rglob("[!.]*"))
                if path.suffix.lower() in SUFFIXES and path.is_file()
            ]
            paths += below
            if not below:
                problems.append(
                    Diagnostic(
                        message=f"holds no file to read ({', '.join(SUFFIXES)})", where=str(place)
                    )
                )
        else:
            paths.append(place)
    sources: list[FileSource] = []
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            sources.append(FileSource(path, project.show(path), sha256_file(path), columns))
        except OSError as error:
            problems.append(Diagnostic(message=f"cannot read: {error.strerror}", where=str(path)))
        if path.parent == folder.resolve():
            problems.append(Diagnostic(message="is a file of the dataset itself", where=str(path)))
    if problems:
        raise ProblemsFound("the sources cannot be read", problems)
    return sources


def _hash_feedback(rows: Sequence[FeedbackRow]) -> str:
    values = ([row.id, row.prompt, row.training_answer] for row in rows)
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    return hashlib.sha256(lines.encode()).hexdigest()
