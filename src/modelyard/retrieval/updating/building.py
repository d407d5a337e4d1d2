"""An index that is built anew, beside the old one, which answers until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.revise import build_beside
from modelyard.retrieval.updating.cutting import CutFile
from modelyard.retrieval.updating.job import UpdateJob

_BUILT_AT_ONCE = 4_096
"""Passages that are cut before they are embedded, sorted by length."""


def build_index(job: UpdateJob, files: Sequence[SourceFile]) -> None:
    """Cut and embed every file, some thousand passages at a time, and swap the index."""
    with (
        job.embedding() as embedding,
        build_beside(
            job.domain.index,
            encoder=job.encoders.fingerprint(job.domain.encoder),
            dimensions=job.domain.encoder.dimensions,
            chunking=job.domain.chunking,
            code=job.is_code,
        ) as index,
    ):
        for group, share in _groups(job, files):
            passages = (passage for cut in group for passage in cut.passages)
            vectors = embedding.vectors(passages, share=share)
            for cut in group:
                index.add_file(cut.record, cut.passages, vectors)
            _count(job, group)


def count_build(job: UpdateJob, files: Sequence[SourceFile]) -> None:
    """Only say what `build_index` would do."""
    with job.embedding() as embedding:
        for group, _ in _groups(job, files):
            embedding.count(passage for cut in group for passage in cut.passages)
            _count(job, group)


def _groups(job: UpdateJob, files: Sequence[SourceFile]) -> Iterator[tuple[list[CutFile], float]]:
    """Files cut, some thousand passages at once, with the share of all that is cut by then."""
    total_bytes = sum(source.size for source in files) or 1
    group: list[CutFile] = []
    passages, seen_bytes = 0, 0
    for source in files:
        cut = job.cut(source)
        seen_bytes += source.size
        if cut is None:
            continue
        group.append(cut)
        passages += len(cut.passages)
        if passages >= _BUILT_AT_ONCE:
            yield group, seen_bytes / total_bytes
            group, passages = [], 0
    if group:
        yield group, 1.0


def _count(job: UpdateJob, group: Sequence[CutFile]) -> None:
    job.update.files.added += len(group)
    job.update.passages.added += sum(len(cut.passages) for cut in group)
