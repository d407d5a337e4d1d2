"""What prepare-data reads rows from: files, what comes through a pipe, or recorded feedback.

Each source has a name, a hash by which a later run sees whether it changed, and rows. Does not know
what becomes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from modelyard.chatdata.columns import BadRow, ColumnMapping
from modelyard.chatdata.conversation import Conversation, strip_conversation
from modelyard.chatdata.feedback import FeedbackRow
from modelyard.chatdata.hub_rows import HUB_PREFIX, fetch_hub_files
from modelyard.chatdata.reading import (
    ACCEPTED_FILES,
    count_bad_rows,
    is_data_file,
    read_conversations,
    read_stream,
    why_unreadable,
)
from modelyard.chatdata.row_formats import STDIN_NAME, build_conversation
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound
from modelyard.core.files import sha256_file
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.hub.client import HubFailed

STDIN = "-"
"""What names the rows that come through a pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """How rows of files become conversations."""

    columns: ColumnMapping | None = None
    """How the columns of a table make a conversation; None for files of conversations."""
    text_column: str | None = None
    """The column of plain texts, to train on whole; None for conversations."""
    strip: bool = False
    """Whether whitespace around texts is removed, and Windows line ends are made plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """What was read from one source."""

    rows: tuple[Conversation, ...]
    """The good rows, in order."""
    problems: tuple[Diagnostic, ...]
    """Everything that is wrong with the others."""
    bad_rows: int
    """How many others there are; one may have several problems."""
    stripped_rows: int
    """How many rows had whitespace around a text, which was removed."""
    facts: Mapping[str, Any]
    """What the card records about the source."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file of conversations, or a table whose columns make conversations."""

    path: Path
    shown: str
    """Its name in messages and on the card."""
    sha256: str

    def read(self, options: RowOptions) -> SourceRows:
        """Its rows; the card records their number and format."""
        rows, problems = read_conversations(
            self.path,
            name=self.shown,
            columns=options.columns,
            text_column=options.text_column,
        )
        return _source_rows(rows, problems, options)


@dataclass(frozen=True, slots=True)
class StreamSource:
    """Rows that came through a pipe."""

    data: bytes = field(repr=False)
    shown: ClassVar[str] = STDIN_NAME
    """Its name in messages and on the card."""

    @property
    def sha256(self) -> str:
        """The hash of what came."""
        return hashlib.sha256(self.data).hexdigest()

    def read(self, options: RowOptions) -> SourceRows:
        """Its rows; the card records their number and format."""
        rows, problems = read_stream(
            self.data, name=self.shown, columns=options.columns, text_column=options.text_column
        )
        return _source_rows(rows, problems, options)


def _source_rows(
    rows: Sequence[Conversation], problems: Sequence[Diagnostic], options: RowOptions
) -> SourceRows:
    kept = tuple(map(strip_conversation, rows)) if options.strip else tuple(rows)
    formats = ", ".join(sorted({row.format for row in rows})) or None
    return SourceRows(
        rows=kept,
        problems=tuple(problems),
        bad_rows=count_bad_rows(problems),
        stripped_rows=sum(one != other for one, other in zip(rows, kept, strict=True)),
        facts={"rows": len(rows), "format": formats},
    )


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

    def read(self, _: RowOptions) -> SourceRows:
        """A conversation of two turns for each row; the card records which rows of state.db."""
        rows: list[Conversation] = []
        problems: list[Diagnostic] = []
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
                problems += error.problems(where)
        return SourceRows(
            rows=tuple(rows),
            problems=tuple(problems),
            bad_rows=count_bad_rows(problems),
            stripped_rows=0,
            facts={
                "rows": len(self.feedback),
                "first_id": self.feedback[0].id,
                "last_id": self.feedback[-1].id,
            },
        )

    def continues(self, recorded: Mapping[str, Any]) -> bool:
        """Whether it begins with the rows that an earlier card recorded."""
        count = recorded.get("rows")
        before = self.feedback[: count if isinstance(count, int) else 0]
        return _hash_feedback(before) == recorded.get("sha256")


RowSource = FileSource | StreamSource | FeedbackSource


def find_files(
    project: Project,
    given: Sequence[Path | str],
    folder: Path,
    *,
    piped: bytes | None,
    progress: Progress,
) -> list[FileSource | StreamSource]:
    """Every file to read for the dataset in `folder`; a given folder stands for the files below it.

    `piped` are the rows that `-` stands for; what an address on the hub names is fetched. Raises
    ProblemsFound with all that cannot be read.
    """
    paths: list[Path] = []
    problems: list[Diagnostic] = []
    sources: list[FileSource | StreamSource] = []
    for name in given:
        place = Path(name)
        if str(name).startswith(HUB_PREFIX):
            try:
                fetched = fetch_hub_files(str(name), progress)
            except (InvalidInput, HubFailed) as error:
                problems.append(
                    Diagnostic(
                        message=error.message, where=error.where or str(name), hint=error.hint
                    )
                )
                continue
            # Not resolved: in the hub's cache a file's own name has no suffix.
            sources += [
                FileSource(each.path, each.shown, sha256_file(each.path)) for each in fetched
            ]
        elif name == STDIN and piped is not None:
            sources.append(StreamSource(piped))
        elif wrong := why_unreadable(place):
            problems.append(Diagnostic(message=wrong, where=str(place)))
        elif place.is_dir():
            below = [
                path
                for path in sorted(place.rglob("[!.]*"))
                if is_data_file(path.name) and path.is_file()
            ]
            paths += below
            if not below:
                problems.append(
                    Diagnostic(
                        message=f"holds no file to read ({ACCEPTED_FILES})", where=str(place)
                    )
                )
        else:
            paths.append(place)
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            sources.append(FileSource(path, project.show(path), sha256_file(path)))
        except OSError as error:
            problems.append(Diagnostic(message=f"cannot read: {error.strerror}", where=str(path)))
        if path.parent == folder.resolve():
            problems.append(Diagnostic(message="is a file of the dataset itself", where=str(path)))
    if problems:
        raise ProblemsFound("the sources cannot be read", problems)
    return list({source.shown: source for source in sources}.values())  # each once


def _hash_feedback(rows: Sequence[FeedbackRow]) -> str:
    values = ([row.id, row.prompt, row.training_answer] for row in rows)
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    return hashlib.sha256(lines.encode()).hexdigest()
