"""What means nearly the same as one place of a file, in all indexes of one encoder.

Only vectors are compared: the chunk at the place is its own query.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import InvalidInput, ModelyardError, NoData, did_you_mean
from modelyard.core.layout import Project
from modelyard.results.json_form import published
from modelyard.retrieval.index_file import IndexedChunk
from modelyard.retrieval.index_snapshot import IndexSnapshot, OpenedIndex
from modelyard.retrieval.indexes import (
    SearchIndex,
    SearchSettings,
    choose_indexes,
    load_search_settings,
    update_command,
    where_to_declare,
)
from modelyard.retrieval.results import FileState, file_state

_TOP = 10
_Opened = Sequence[tuple[SearchIndex, IndexSnapshot]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearChunk:
    """A chunk that means nearly the same."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME of its index."""
    chunk: IndexedChunk = field(metadata=published(inline=True, without=("id", "modified_at")))
    """The chunk: file, lines, title, text."""
    cosine: float
    """The cosine of both vectors."""
    state: FileState
    """Whether its file changed since it was indexed; the lines of a changed file may have moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearChunks:
    """The chunk at a place, and those that mean nearly the same."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME of the index that has the place."""
    chunk: IndexedChunk = field(metadata=published(inline=True, without=("id", "modified_at")))
    """The chunk at the place."""
    results: tuple[NearChunk, ...]
    """The nearest first."""
    notes: tuple[str, ...] = ()
    """Notes for the reader: indexes that could not be compared."""


def find_nearby(
    project: Project,
    place: str,
    *,
    indexes: Sequence[str] = (),
    top: int | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    settings: SearchSettings | None = None,
) -> NearChunks:
    """The chunks of these indexes (default: those that a search uses) nearest to a place.

    place: FILE:LINE, from the current folder or from the project's root.
    settings: default: what the configs of the environment say.
    Raises InvalidInput for a place that no index has, and NoData when none of them is built.
    """
    path, line = _read_place(place)
    settings = settings or load_search_settings(project, environment)
    groups = settings.rules.groups if settings.rules else ()
    chosen = choose_indexes(settings.indexes, indexes, groups=groups)
    if not chosen:
        raise NoData(
            f"no search index is declared in {environment}", hint=where_to_declare(environment)
        )
    notes: list[str] = []
    with ExitStack() as stack:
        opened = _open(chosen, stack, notes)
        if not opened:
            raise NoData(
                f"no index in {environment} can be searched: {'; '.join(notes)}",
                hint=f"`{update_command([], environment)}` makes what is missing",
            )
        at, row = _find_place(project, path, line, opened)
        index, snapshot = opened[at]
        (chunk,) = snapshot.chunks(np.array([row]))
        vector = snapshot.vectors.rows(np.array([row]))[0]
        found: list[NearChunk] = []
        for number, (other, others) in enumerate(opened):
            if others.meta.encoder != snapshot.meta.encoder:
                notes.append(f"not compared, another encoder made its vectors: {other.label}")
                continue
            skipped = row if number == at else -1
            found += _nearest(project, other, others, vector, skipped, top or _TOP)
        found.sort(key=lambda near: (-near.cosine, near.index, near.chunk.id))
        return NearChunks(
            index=index.label, chunk=chunk, results=tuple(found[: top or _TOP]), notes=tuple(notes)
        )


def _read_place(place: str) -> tuple[str, int]:
    path, colon, line = place.rpartition(":")
    if not (path and colon and line.isascii() and line.isdigit() and int(line[:9]) > 0):
        raise InvalidInput(f"{place!r} is not FILE:LINE", hint="such as docs/adapters.md:38")
    return path, int(line[:9])


def _open(
    chosen: Sequence[SearchIndex], stack: ExitStack, notes: list[str]
) -> list[tuple[SearchIndex, IndexSnapshot]]:
    """The indexes that can be read; of the others there is a note."""
    opened = []
    for index in chosen:
        reader = stack.enter_context(closing(OpenedIndex(index.readable_path)))
        try:
            opened.append((index, stack.enter_context(reader.reading())))
        except ModelyardError as error:
            notes.append(f"not compared, {index.label}: {error.message}")
    return opened


def _find_place(project: Project, path: str, line: int, opened: _Opened) -> tuple[int, int]:
    """The index and the row of the chunk at a line: the last that begins at or before it."""
    absolute = Path(os.path.normpath(Path.cwd() / path))
    spellings = dict.fromkeys([project.show(absolute), os.path.normpath(path)])
    for at, (_, snapshot) in enumerate(opened):
        for spelling in spellings:
            rows = snapshot.rows_of_paths([spelling])
            if not len(rows):
                continue
            chunks = snapshot.chunks(rows)
            before = [
                (chunk.first_line, -chunk.last_line, row)
                for chunk, row in zip(chunks, rows.tolist(), strict=True)
                if chunk.first_line <= line
            ]
            return at, max(before)[2] if before else int(rows[0])
    known = [path for _, snapshot in opened for path in snapshot.paths()]
    raise InvalidInput(
        f"no index has the file {path}{did_you_mean(path, known)}",
        hint="`models index status` shows what the indexes hold",
    )


def _nearest(
    project: Project,
    index: SearchIndex,
    snapshot: IndexSnapshot,
    vector: np.ndarray,
    skipped: int,
    count: int,
) -> list[NearChunk]:
    """The chunks of one index nearest to a vector; `skipped` is the row of the place itself."""
    rough = snapshot.vectors.closeness(vector)
    likely = np.argsort(-rough, kind="stable")[: 2 * count + 1]
    rows = likely[likely != skipped]
    cosines = snapshot.vectors.exact(rows, vector)
    order = np.argsort(-cosines, kind="stable")[:count]
    rows = rows[order]
    sources = snapshot.sources(rows)
    return [
        NearChunk(
            index=index.label,
            chunk=chunk,
            cosine=float(cosine),
            state=file_state(project, sources[row]),
        )
        for chunk, row, cosine in zip(
            snapshot.chunks(rows), rows.tolist(), cosines[order].tolist(), strict=True
        )
    ]
