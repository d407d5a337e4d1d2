"""What an update takes from other files of its index: those of other settings, and the former one.

An index that has no file for its settings yet begins as a copy of one whose files are split and
embedded alike; then only its own differences are read. Any of them can give the vectors of texts
that the cache does not know, because it was deleted or the project came here without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import read_index_name
from modelyard.retrieval.index_file import IndexedFile, IndexMeta, open_index
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.terms import TERMS_VERSION
from modelyard.retrieval.updating.job import UpdateJob
from modelyard.secrets.detection import RULES_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The index that an update begins with."""

    path: Path
    """Its file."""
    known: Mapping[str, IndexedFile]
    """The files in it, by path."""


def find_origin(job: UpdateJob, *, check: bool) -> tuple[Origin | None, str | None]:
    """The newest other file of an index that has no own, and only differs in which files it has.

    Without one, also why the newest cannot be begun with; None: there is none, or it is damaged.
    check: pass over one whose pages do not fit together.
    """
    fitting: list[tuple[str, Path]] = []
    outdated: list[tuple[str, str]] = []
    for path in _other_files(job.index):
        with suppress(ModelyardError), open_index(path) as reader:
            if check:
                reader.check(pages_only=True)
            reason = why_outdated(job.index, reader.meta, known_fingerprint(job))
            if reason is None:
                fitting.append((reader.meta.updated_at, path))
            else:
                outdated.append((reader.meta.updated_at, reason))
    if not fitting:
        return None, max(outdated)[1] if outdated else None
    _, newest = max(fitting)
    with open_index(newest) as reader:
        return Origin(path=newest, known={file.path: file for file in reader.files()}), None


def known_fingerprint(job: UpdateJob) -> str | None:
    """What identifies the encoder's vectors; on a dry run None where it would be fetched first."""
    encoders = job.encoders
    ask = encoders.known_fingerprint if job.update.dry_run else encoders.fingerprint
    return ask(job.index.encoder)


def why_outdated(index: SearchIndex, meta: IndexMeta, fingerprint: str | None) -> str | None:
    """Why an index must be rebuilt; None when it can be changed where it is.

    fingerprint: of the encoder as it is now, or None when that is not known.
    """
    if fingerprint is not None and meta.encoder != fingerprint:
        return "another encoder"
    if meta.dimensions != index.encoder.dimensions:
        return "other dimensions"
    if meta.chunking != index.chunking:
        return "other chunking"
    if index.settings.redact and meta.redaction != RULES_VERSION:
        return "other rules for secrets"
    return "other terms" if meta.terms != TERMS_VERSION else None


def find_earlier_vectors(job: UpdateJob, digests: Sequence[str]) -> dict[str, bytes]:
    """Vectors of the texts with these digests that are in any file of the index, by digest."""
    index, found = job.index, dict[str, bytes]()
    fingerprint = job.encoders.fingerprint(index.encoder)
    for path in (index.path, *_other_files(index)):
        missing = [digest for digest in digests if digest not in found]
        if not missing:
            break
        with suppress(ModelyardError), open_index(path) as reader:
            if reader.meta.encoder == fingerprint:
                found |= reader.vectors_of(missing)
    return found


def _other_files(index: SearchIndex) -> list[Path]:
    """The files of the index that its own settings do not name."""
    return [
        path
        for path in sorted(index.path.parent.glob(f"{index.name}*.index"))
        if path != index.path
        and (named := read_index_name(path)) is not None
        and named.name == index.name
    ]
