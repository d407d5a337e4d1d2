"""Keeping an index in step with its files: what changed is cut and embedded, and nothing else.

known files beside those on the disk   updating/comparing.py, by their hash
a file in passages                     updating/cutting.py
an index changed in place              updating/changing.py, in one transaction
an index built anew                    updating/building.py, beside the old one
what a dry run knows without encoder   updating/planning.py
the counts                             updating/outcome.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from modelyard.core.errors import NoData
from modelyard.core.files import exclusive_lock, make_folder, sweep_staging
from modelyard.core.layout import Yard
from modelyard.core.progress import Progress
from modelyard.retrieval.domains import Domain
from modelyard.retrieval.encoders import Encoders
from modelyard.retrieval.forgetting import forget_unused
from modelyard.retrieval.index import IndexDamaged, IndexedFile, IndexMeta, open_index
from modelyard.retrieval.reading.sources import find_sources
from modelyard.retrieval.revise import settle_journal
from modelyard.retrieval.updating.building import build_index, count_build
from modelyard.retrieval.updating.changing import TooManyChanges, change_index
from modelyard.retrieval.updating.job import UpdateJob
from modelyard.retrieval.updating.outcome import DomainUpdate
from modelyard.retrieval.updating.planning import plan_without_encoder


def update_domain(
    yard: Yard,
    domain: Domain,
    encoders: Encoders,
    *,
    rebuild: bool = False,
    dry_run: bool = False,
    wait_s: float = 0.0,
    progress: Progress,
) -> DomainUpdate:
    """Bring the index of a domain in step with its files.

    A dry run writes nothing and fetches nothing. Raises LockHeld when another update of the domain
    runs for longer than `wait_s`.
    """
    began = time.monotonic()
    update = DomainUpdate(domain=domain.label, dry_run=dry_run)
    job = UpdateJob(yard=yard, domain=domain, encoders=encoders, progress=progress, update=update)
    with nullcontext() if dry_run else _alone(yard, domain, wait_s):
        _bring_in_step(job, rebuild=rebuild)
    if update.embedded and not dry_run:
        forget_unused(yard, progress)
    update.took_s = time.monotonic() - began
    return update


@contextmanager
def _alone(yard: Yard, domain: Domain, wait_s: float) -> Iterator[None]:
    lock = yard.lock(f"search-{domain.group}", domain.name)
    with exclusive_lock(lock, what=f"index {domain.label}", wait_s=wait_s):
        make_folder(domain.index.parent)
        sweep_staging(domain.index.parent, domain.index.name)
        settle_journal(domain.index)
        yield


@dataclass(frozen=True, slots=True)
class _Known:
    """What the index says now."""

    meta: IndexMeta
    files: Mapping[str, IndexedFile]


def _bring_in_step(job: UpdateJob, *, rebuild: bool) -> None:
    known = _known(job)
    files = known.files.values() if known else ()
    sizes = {one.path: (one.size_bytes, one.mtime_ns) for one in files}
    sources = find_sources(job.yard, job.domain, known=sizes)
    for reason, paths in sources.skipped.items():
        for path in paths:
            job.update.skip(reason, path)
    job.update.built = _reason_to_build(job, known, rebuild=rebuild)
    if job.update.dry_run and not job.encoders.is_here(job.domain.encoder):
        plan_without_encoder(job, sources.files, known.files if known else {})
        return
    if known is not None and job.update.built is None:
        try:
            change_index(job, sources.files, known.files)
            return
        except TooManyChanges:
            job.update.built = "most of it changed"
        except IndexDamaged as error:  # where the list of files does not reach
            job.progress.warn(f"{error}: it is built anew")
            job.update.built = "it was damaged"
        job.update.start_over()
    (count_build if job.update.dry_run else build_index)(job, sources.files)


def _known(job: UpdateJob) -> _Known | None:
    """What the index says now; None when there is none that can be read."""
    try:
        with open_index(job.domain.index) as reader:
            return _Known(reader.meta, {one.path: one for one in reader.files()})
    except NoData:
        return None
    except IndexDamaged as error:
        job.progress.warn(f"{error}: it is built anew")
        return None


def _reason_to_build(job: UpdateJob, known: _Known | None, *, rebuild: bool) -> str | None:
    """Why the index must be built anew; None when it can be changed in place."""
    settings = job.domain.encoder
    if rebuild:
        return "asked for"
    if known is None:
        return "there was none"
    if job.update.dry_run:
        encoder = job.encoders.known_fingerprint(settings)
    else:
        encoder = job.encoders.fingerprint(settings)
    if encoder is not None and known.meta.encoder != encoder:
        return "another encoder"
    if known.meta.dimensions != settings.dimensions:
        return "other dimensions"
    if known.meta.chunking != job.domain.chunking:
        return "files are cut otherwise"
    return None
