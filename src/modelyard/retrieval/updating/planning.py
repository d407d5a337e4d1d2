"""What a dry run can say while the encoder is not on this machine: files, and no chunks.

Chunks are cut by the encoder's own tokens, and a dry run fetches nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.retrieval.index_file import IndexedFile
from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.updating.comparing import has_changed
from modelyard.retrieval.updating.job import UpdateJob


def plan_without_encoder(
    job: UpdateJob, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]
) -> None:
    """Count what would become of the files, and say why chunks are not counted."""
    model = job.index.encoder.model
    job.update.unknown = f"the encoder {model} is not on this machine; an update fetches it"
    if job.update.built is not None:
        job.update.files.added = len(files)
        return
    counts = job.update.files
    found = {one.shown: one for one in files}
    gone = Counter(one.sha256 for path, one in known.items() if path not in found)
    sizes = {one.size_bytes for path, one in known.items() if path not in found}
    for path, source in found.items():
        if path in known:
            changed = has_changed(source, known[path])
            counts.changed += changed
            counts.reused += not changed
            continue
        sha256 = _sha256(source) if source.size in sizes else None
        moved = sha256 is not None and gone[sha256] > 0
        if sha256 is not None and moved:
            gone[sha256] -= 1
        counts.moved += moved
        counts.added += not moved
    counts.removed = gone.total()


def _sha256(source: SourceFile) -> str | None:
    try:
        with Path(source.path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
