"""Bringing an index up to date with its files: only what changed is read and embedded again.

Which files changed, and their chunks   updating/files.py
What other files of the index can give  updating/earlier.py
What is written to the index            updating/changes.py
What was done, in numbers               updating/job.py
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from modelyard.core.errors import ModelyardError
from modelyard.core.files import exclusive_lock, make_folder
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.encoders import Encoders
from modelyard.retrieval.cache import forget_unused
from modelyard.retrieval.damage import IndexDamaged, IndexMissing, IndexOfAnotherSchema
from modelyard.retrieval.index_file import IndexedFile, open_index
from modelyard.retrieval.index_writer import settle_journal, sweep_builds
from modelyard.retrieval.indexes import SearchIndex, index_lock
from modelyard.retrieval.reading.sources import SourceFile, Sources, find_sources
from modelyard.retrieval.updating.changes import (
    TooManyChanges,
    build_index,
    change_index,
    count_build,
)
from modelyard.retrieval.updating.earlier import (
    Origin,
    find_origin,
    known_fingerprint,
    why_outdated,
)
from modelyard.retrieval.updating.files import has_changed, hash_file
from modelyard.retrieval.updating.job import Counts, IndexUpdate, UpdateJob

_NONE_YET = "there was none"
_ASKED_FOR = "asked for"
_DAMAGED = "it was damaged"


class NothingToIndex(ModelyardError):
    """No file is left that an index with files could hold; its globs may be wrong."""


def update_index(
    project: Project,
    index: SearchIndex,
    encoders: Encoders,
    *,
    rebuild: bool = False,
    dry_run: bool = False,
    check: bool = True,
    allow_empty: bool = False,
    wait_s: float = 0.0,
    progress: Progress,
) -> IndexUpdate:
    """Bring an index up to date with its files.

    check: look first whether the pages of the index fit together, and rebuild it where they do
    not; 0.08 s for 20,000 chunks. A single changed letter is found by `read_status` alone.
    allow_empty: remove all files of an index, when nothing matches its sources any more.
    A dry run writes nothing and fetches nothing. Raises LockHeld when another update of the index
    runs for longer than `wait_s`, and NothingToIndex.
    """
    began = time.monotonic()
    update = IndexUpdate(index=index.label, dry_run=dry_run)
    job = UpdateJob(
        project=project, index=index, encoders=encoders, progress=progress, update=update
    )
    with nullcontext() if dry_run else _exclusive(job, wait_s):
        _update(job, rebuild=rebuild, check=check, allow_empty=allow_empty)
    if update.embedded and not dry_run:
        forget_unused(project, progress)
    update.took_s = round(time.monotonic() - began, 3)
    return update


@contextmanager
def _exclusive(job: UpdateJob, wait_s: float) -> Iterator[None]:
    """Hold the lock of the index, with what a killed update left cleaned up."""
    index = job.index
    lock = index_lock(job.project, index.group, index.name)
    with exclusive_lock(lock, what=f"index {index.label}", wait_s=wait_s, progress=job.progress):
        make_folder(index.path.parent)
        sweep_builds(index.path.parent, index.name)
        settle_journal(index.path)
        yield


def _update(job: UpdateJob, *, rebuild: bool, check: bool, allow_empty: bool) -> None:
    update = job.update
    known, update.built = _read_known(job, check=check and not rebuild)
    origin = Origin(path=job.index.path, known=known)
    if rebuild:
        update.built = _ASKED_FOR
    elif update.built == _NONE_YET:
        other, outdated = find_origin(job, check=check)
        if other is not None:
            origin, update.built = other, None
            update.taken_over = job.project.show(origin.path)
        elif outdated is not None:
            update.built = outdated
    known = origin.known
    sizes = {path: (file.size_bytes, file.mtime_ns) for path, file in known.items()}
    sources = find_sources(job.project, job.index, known=sizes)
    for reason, paths in sources.skipped.items():
        update.skipped.setdefault(reason, []).extend(paths)
    if known and not sources.files and not allow_empty:
        raise _nothing_to_index(job, known, sources)
    if update.dry_run and not job.encoders.is_local(job.index.encoder):
        _count_files(job, sources.files, known)
        return
    if update.built is None:
        try:
            change_index(job, sources.files, origin)
            return
        except TooManyChanges:
            update.built = "most of it changed"
        except IndexDamaged as error:  # in a part that no check reaches
            update.built = _report_damage(job, error)
        update.files, update.chunks, update.taken_over = Counts(), Counts(), None
    # Who asks for it does not trust what is there, and damage to a vector is not found by a check.
    reuse = update.built not in (_ASKED_FOR, _DAMAGED)
    (count_build if update.dry_run else build_index)(job, sources.files, reuse=reuse)


def _nothing_to_index(
    job: UpdateJob, known: Mapping[str, IndexedFile], sources: Sources
) -> NothingToIndex:
    globs = ", ".join(job.index.settings.sources)
    left_out = sum(map(len, sources.skipped.values()))
    reasons = "; ".join(f"{reason}: {len(paths)}" for reason, paths in sources.skipped.items())
    found = f"all that its sources match is left out ({reasons})" if left_out else "no file matches"
    return NothingToIndex(
        f"{job.index.label} has {counted(len(known), 'file')}, and {found}: nothing was changed",
        where=f"sources: {globs}",
        hint="correct the globs; --allow-empty removes all files from the index",
    )


def _read_known(job: UpdateJob, *, check: bool) -> tuple[Mapping[str, IndexedFile], str | None]:
    """The files in the index, by path, and why it must be rebuilt; None: it can be changed.

    Raises ModelyardError when a folder is in its place.
    """
    try:
        with open_index(job.index.path) as reader:
            if check:
                reader.check(pages_only=True)
            known = {file.path: file for file in reader.files()}
    except IndexMissing:
        return {}, _NONE_YET
    except IndexDamaged as error:
        return {}, _report_damage(job, error)
    return known, why_outdated(job.index, reader.meta, known_fingerprint(job))


def _report_damage(job: UpdateJob, error: IndexDamaged) -> str:
    """Warn of an index that cannot be used, and give the reason in a few words."""
    job.progress.warn(f"{error}: it {'would be' if job.update.dry_run else 'is'} rebuilt")
    of_another = isinstance(error, IndexOfAnotherSchema)
    return "another modelyard wrote it" if of_another else _DAMAGED


def _count_files(
    job: UpdateJob, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]
) -> None:
    """On a dry run without its encoder, count what would become of the files.

    Chunks are measured in the encoder's own tokens, and a dry run fetches no encoder.
    """
    model = job.index.encoder.model
    job.update.unknown = f"the encoder {model} is not on this machine; an update fetches it"
    counts = job.update.files
    if job.update.built is not None:
        counts.added = len(files)
        return
    found = {source.shown for source in files}
    gone = [file for path, file in known.items() if path not in found]
    unmatched = Counter(file.sha256 for file in gone)
    sizes = {file.size_bytes for file in gone}
    for source in files:
        if source.shown in known:
            changed = has_changed(source, known[source.shown])
            counts.changed += changed
            counts.reused += not changed
            continue
        record = hash_file(source) if source.size in sizes else None
        if record is not None and unmatched[record.sha256] > 0:
            unmatched[record.sha256] -= 1
            counts.moved += 1
        else:
            counts.added += 1
    counts.removed = unmatched.total()
