"""An index that is built anew, beside the old one, which answers until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.revise import build_beside
from modelyard.retrieval.updating.cutting import CutFile
from modelyard.retrieval.updating.job import UpdateJob

_BUILT_AT_ONCE = 4_096
"""Chunks that are cut before they are embedded, sorted by length."""


def build_index(job: UpdateJob, files: Sequence[SourceFile]) -> None:
    """Cut and embed every file, some thousand chunks at a time, and swap the index."""
    with (
        job.embedding() as embedding,
        build_beside(
            job.index.path,
            encoder=job.encoders.fingerprint(job.index.encoder),
            dimensions=job.index.encoder.dimensions,
            chunking=job.index.chunking,
        ) as index,
    ):
        for group, share in _groups(job, files):
            chunks = (chunk for cut in group for chunk in cut.chunks)
            vectors = embedding.vectors(chunks, share=share)
            for cut in group:
                index.add_file(cut.record, cut.chunks, vectors)
            _count(job, group)


def count_build(job: UpdateJob, files: Sequence[SourceFile]) -> None:
    """Only say what `build_index` would do."""
    with job.embedding() as embedding:
        for group, _ in _groups(job, files):
            embedding.count(chunk for cut in group for chunk in cut.chunks)
            _count(job, group)


def _groups(job: UpdateJob, files: Sequence[SourceFile]) -> Iterator[tuple[list[CutFile], float]]:
    """Files cut, some thousand chunks at once, with the share of all that is cut by then."""
    total_bytes = sum(source.size for source in files) or 1
    group: list[CutFile] = []
    chunks, seen_bytes = 0, 0
    for source in files:
        cut = job.cut(source)
        seen_bytes += source.size
        if cut is None:
            continue
        group.append(cut)
        chunks += len(cut.chunks)
        if chunks >= _BUILT_AT_ONCE:
            yield group, seen_bytes / total_bytes
            group, chunks = [], 0
    if group:
        yield group, 1.0


def _count(job: UpdateJob, group: Sequence[CutFile]) -> None:
    job.update.files.added += len(group)
    job.update.chunks.added += sum(len(cut.chunks) for cut in group)
