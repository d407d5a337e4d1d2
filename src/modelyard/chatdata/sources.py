"""What prepare-data reads rows from: files, or recorded feedback.

Each source has a name and a hash, by which a later run knows that nothing changed, and gives
conversations. Does not know what becomes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelyard.chatdata.columns import ColumnMapping
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.feedback import FeedbackRow
from modelyard.chatdata.reading import SUFFIXES, read_conversations, why_unreadable
from modelyard.chatdata.row_formats import BadRow, build_conversation
from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.core.files import sha256_file
from modelyard.core.layout import Project

FEEDBACK = "feedback"
"""What cards call the source that is no file; a file has a suffix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """What was read from one source."""

    rows: Sequence[Conversation]
    """The good rows, in order."""
    bad: Sequence[Diagnostic]
    """What is wrong with the others."""
    facts: Mapping[str, Any]
    """What the card says of the source, beside its name and hash."""


class Source(Protocol):
    """One thing to read rows from."""

    @property
    def shown(self) -> str:
        """Its name in messages and on the card."""

    @property
    def sha256(self) -> str:
        """The hash of what it holds, in hex."""

    def read(self) -> SourceRows:
        """Everything it holds."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file of conversations, or of columns that make some."""

    path: Path
    shown: str
    sha256: str
    columns: ColumnMapping | None

    def read(self) -> SourceRows:
        """Its rows; the card says how many there are, and in which format."""
        rows, bad = read_conversations(self.path, name=self.shown, columns=self.columns)
        formats = ", ".join(sorted({row.format for row in rows})) or None
        return SourceRows(rows=rows, bad=bad, facts={"rows": len(rows), "format": formats})


@dataclass(frozen=True, slots=True)
class FeedbackSource:
    """Recorded feedback, oldest first."""

    chosen: tuple[FeedbackRow, ...]
    """The rows of one dataset; each has a lesson, and there is at least one."""

    @property
    def shown(self) -> str:
        """The same for all feedback."""
        return FEEDBACK

    @property
    def sha256(self) -> str:
        """The hash of what is learned, with the rows' numbers."""
        return _hash_lessons(self.chosen)

    def read(self) -> SourceRows:
        """A conversation of two turns for each; the card says which rows of state.db they are."""
        rows: list[Conversation] = []
        bad: list[Diagnostic] = []
        for one in self.chosen:
            row = {"prompt": one.prompt, "completion": one.lesson, "feedback": one.id}
            where = f"{FEEDBACK}:{one.id}"
            try:
                rows.append(build_conversation(row, where, None))
            except BadRow as error:  # rows that were not written by record_feedback
                bad += [Diagnostic(message=text, where=where) for text in error.messages]
        first, last = self.chosen[0].id, self.chosen[-1].id
        facts = {"rows": len(self.chosen), "first_id": first, "last_id": last}
        return SourceRows(rows=rows, bad=bad, facts=facts)

    def continues(self, origin: Mapping[str, Any]) -> bool:
        """Whether this begins with the rows of which an earlier card says `origin`."""
        count = origin.get("rows")
        before = self.chosen[: count if isinstance(count, int) else 0]
        return _hash_lessons(before) == origin.get("sha256")


def find_files(
    project: Project, given: Sequence[Path], folder: Path, columns: ColumnMapping | None
) -> list[FileSource]:
    """Every file to read for the dataset in `folder`; a folder stands for what lies below it.

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
                message = f"holds no file to read ({', '.join(SUFFIXES)})"
                problems.append(Diagnostic(message=message, where=str(place)))
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


def _hash_lessons(rows: Sequence[FeedbackRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps([row.id, row.prompt, row.lesson], ensure_ascii=False)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
