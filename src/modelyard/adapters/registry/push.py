"""Pushing a version to a registry: its files, then the version, then the tags.

Only files that are missing or damaged there are uploaded, so that an interrupted push continues and
a repeated one repairs; readers of the registry see no change until its last steps. Names of blobs
that a prune gave up meanwhile are not relied on: before the version can be seen and again after it,
such files are stored under new ones (blobs.py).
Reads the version, and changes nothing in the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelyard.adapters.manifest import MANIFEST_NAME, DamagedVersion, FileEntry, require_intact
from modelyard.adapters.recorded import recorded_figures
from modelyard.adapters.registry.blobs import copies_of, new_blob_key, retired_names
from modelyard.adapters.registry.figures import missing_figures, store_figures
from modelyard.adapters.registry.record import (
    DamagedRegistry,
    RemoteVersion,
    manifest_problems,
    require_same_org,
)
from modelyard.adapters.registry.registry import ACTIVE, LATEST, Registry, deleted, taken
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.files import lock_where_possible
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes
from modelyard.stores.store import ObjectMissing, StoreFailed

_CHUNK_BYTES = 1 << 20
_MOST_UPLOADS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What a push did, or would do."""

    version: RemoteVersion
    """The version, as it is in the registry now."""
    blobs: Mapping[str, str] = field(default_factory=dict)
    """The keys of the blobs that it relies on, by their SHA-256."""
    uploads: Mapping[str, FileEntry] = field(default_factory=dict)
    """The files that were uploaded, by name."""
    added: bool
    """Whether the registry did not have the version before."""
    tags: Mapping[str, int]
    """The tags that moved, and the number each points to now."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """The objects of figures recorded since it was registered that were stored, by key."""

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.uploads or self.added or self.tags or self.figures)

    @property
    def uploaded_bytes(self) -> int:
        """The size of the uploaded files, equal ones counted once."""
        return sum({entry.sha256: entry.size_bytes for entry in self.uploads.values()}.values())


def plan_push(
    project: Project,
    registry: Registry | None,
    version: AdapterVersion,
    *,
    active: bool = False,
    force: bool = False,
) -> Push:
    """What `push_version` would do now; only reads. Without a registry, it would upload everything.

    Raises VersionTaken when another version has its number, DamagedVersion when it is not intact or
    must not be stored in a registry.
    """
    local = as_remote(version)
    if registry is not None and not registry.is_there():
        registry = None
    there = _known(registry, local, force) if registry else None
    if not there or force:
        require_intact(version.path, version.manifest)
    retired = retired_names(registry.store) if registry else frozenset()
    blobs = {
        entry.sha256: key
        for entry in version.manifest.files.values()
        if registry and not force and (key := _whole_copy(registry, entry, retired))
    }
    uploads = {
        name: entry for name, entry in version.manifest.files.items() if entry.sha256 not in blobs
    }
    tags = dict(_tag_moves(registry, local, active=active, force=force))
    recorded = recorded_figures(project, version)
    figures = missing_figures(registry, local, recorded)
    return Push(
        version=local,
        blobs=blobs,
        uploads=uploads,
        added=not there,
        tags=tags,
        figures=figures,
    )


def push_version(
    project: Project,
    version: AdapterVersion,
    registry: Registry,
    *,
    progress: Progress,
    active: bool = False,
    force: bool = False,
    wait_s: float = 0.0,
) -> Push:
    """Store a version in the registry, and point the tags to it.

    `active` also points the tag of the active version to it. `force` sends every file again, which
    repairs damaged ones there and brings back a deleted version. Pushes at once never overwrite
    each other: of two versions of one number the second is refused with VersionTaken. Raises also
    VersionDeleted, DamagedVersion, UnguardedStore, StoreFailed.
    """
    lock = project.lock("push", version.adapter)
    with lock_where_possible(lock, what=f"push of {version.adapter}", wait_s=wait_s):
        plan = plan_push(project, registry, version, active=active, force=force)
        if not plan.changed:
            return plan
        registry.prepare()
        plan = _upload(version.path, plan, plan.uploads, registry, progress)
        plan = _replace_retired(version.path, plan, registry, progress)
        added = registry.add_version(plan.version, rewrite=force)
        plan = _replace_retired(version.path, plan, registry, progress)
        store_figures(registry, plan.figures)
        moved = {
            tag: number
            for tag, number in plan.tags.items()
            if registry.move_tag(version.adapter, tag, number, only_up=tag == LATEST, mend=force)
        }
    return replace(plan, added=added, tags=moved)


def _tag_moves(
    registry: Registry | None, local: RemoteVersion, *, active: bool, force: bool
) -> Iterator[tuple[str, int]]:
    """The tags that a push moves, and where to. `force` mends damaged ones.

    A damaged `latest` then points to the highest number, a damaged `in-use` to the active version
    or, in the push of another, to where it pointed before.
    """
    for tag in (LATEST, ACTIVE):
        try:
            current = registry.tag(local.adapter, tag) if registry else None
        except DamagedRegistry:
            if registry is None or not force:
                raise
            before = registry.before_damage(local.adapter, tag)
            if tag == LATEST:
                yield tag, max(local.number, *registry.numbers(local.adapter))
            elif active or before is not None:
                yield tag, local.number if active else before or local.number
            continue
        wanted = active if tag == ACTIVE else current is None or current < local.number
        if wanted and current != local.number:
            yield tag, local.number


def _whole_copy(registry: Registry, entry: FileEntry, retired: frozenset[str]) -> str | None:
    """The key of a blob to rely on with exactly these bytes, which are read; else None."""
    for found in copies_of(registry.store, entry.sha256):
        if found.size_bytes == entry.size_bytes and found.key not in retired:
            digest = hashlib.sha256()
            with suppress(ObjectMissing):  # a prune deletes it meanwhile
                for chunk in registry.store.download(found.key):
                    digest.update(chunk)
            if digest.hexdigest() == entry.sha256:
                return found.key
    return None


def as_remote(version: AdapterVersion) -> RemoteVersion:
    """The version as the registry will hold it. Raises DamagedVersion when no registry may."""
    path = version.path / MANIFEST_NAME
    if problems := list(manifest_problems(version.manifest, version.adapter, version.number)):
        raise DamagedVersion("cannot be stored in a registry", where=str(path), problems=problems)
    return RemoteVersion(version.adapter, version.number, path.read_bytes(), version.manifest)


def _known(registry: Registry, local: RemoteVersion, force: bool) -> RemoteVersion | None:
    """The version if the registry has it. Refuses one that must not be stored there."""
    try:
        there = registry.record(local.adapter, local.number)
    except DamagedRegistry:
        if not force:
            raise
        there = None
    if there is not None and there.digest != local.digest:
        raise taken(local, registry.store.url)
    if there is not None and registry.is_deleted(local.adapter, local.number):
        if not force:
            raise deleted(local, registry.store.url)
        there = None
    if there is None:
        _refuse_other_org(registry, local)
    return there


def _refuse_other_org(registry: Registry, version: RemoteVersion) -> None:
    """Keep one organisation's versions out of another's adapter."""
    gone = registry.deleted_numbers(version.adapter)
    newest = registry.before_damage(version.adapter, LATEST) or max(gone, default=None)
    if newest in (None, version.number):
        return
    if there := registry.record(version.adapter, newest):
        require_same_org(
            there,
            version,
            where=registry.store.url,
            hint="an adapter belongs to one organisation: give this one another name",
        )


def _upload(
    folder: Path,
    plan: Push,
    files: Mapping[str, FileEntry],
    registry: Registry,
    progress: Progress,
) -> Push:
    """Store these files; returns the plan with the blobs that hold them now."""
    if not files:
        return plan
    by_content = {entry.sha256: (name, entry) for name, entry in files.items()}
    size = sum(entry.size_bytes for _, entry in by_content.values())
    progress.stage(f"push: {counted(len(files), 'file')}, {megabytes(size)} of {plan.version.name}")
    progress.begin("push", size, "bytes")
    retired = retired_names(registry.store)
    blobs = dict(plan.blobs)
    passed = 0
    for name, entry in by_content.values():
        chunks = _checked_chunks(folder / name, entry, progress, passed)
        blobs[entry.sha256] = new_blob_key(entry.sha256, retired)
        registry.store.upload(blobs[entry.sha256], chunks, entry.size_bytes)
        passed += entry.size_bytes
    progress.end()
    return replace(plan, blobs=blobs, uploads={**plan.uploads, **files})


def _replace_retired(folder: Path, plan: Push, registry: Registry, progress: Progress) -> Push:
    """Store files again whose blobs were given up since; returns the plan with their new blobs."""
    for _ in range(_MOST_UPLOADS):
        retired = retired_names(registry.store)
        given_up = {
            name: entry
            for name, entry in plan.version.manifest.files.items()
            if plan.blobs[entry.sha256] in retired
        }
        if not given_up:
            return plan
        plan = _upload(folder, plan, given_up, registry, progress)
    raise StoreFailed(
        f"files of {plan.version.name} were given up again and again while it was pushed",
        where=registry.store.url,
        hint="run the same command again when nobody prunes the registry",
    )


def _checked_chunks(
    path: Path, entry: FileEntry, progress: Progress, passed: int
) -> Iterator[bytes]:
    """A file's bytes; raises at the end, before the store keeps them, if their SHA-256 differs."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            passed += len(chunk)
            progress.advance(passed, path.name)
            yield chunk
    if digest.hexdigest() != entry.sha256:
        raise DamagedVersion("is not as it was registered", where=str(path))
