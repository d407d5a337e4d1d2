"""Pushing a version to a registry: its files, then the version, then the tags.

Only files that are missing or damaged there are uploaded, so that an interrupted push continues and
a repeated one repairs; readers of the registry see no change until its last steps.
Reads the version, and changes nothing in the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.manifest import MANIFEST_NAME, DamagedVersion, FileEntry, require_intact
from modelyard.adapters.registry.record import (
    DamagedRegistry,
    RemoteVersion,
    manifest_problems,
    require_same_org,
)
from modelyard.adapters.registry.registry import ACTIVE, LATEST, Registry, blob_key, taken
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What a push did, or would do."""

    version: RemoteVersion
    """The version, as it is in the registry now."""
    uploads: Mapping[str, FileEntry] = field(default_factory=dict)
    """The files that were uploaded, by name."""
    added: bool
    """Whether the registry did not have the version before."""
    tags: Mapping[str, int]
    """The tags that moved, and the number each points to now."""

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.uploads or self.added or self.tags)

    @property
    def uploaded_bytes(self) -> int:
        """The size of the uploaded files, equal ones counted once."""
        return sum({entry.sha256: entry.size_bytes for entry in self.uploads.values()}.values())


def plan_push(
    registry: Registry | None, version: AdapterVersion, *, active: bool = False, force: bool = False
) -> Push:
    """What `push_version` would do now; only reads. Without a registry, it would upload everything.

    Raises VersionTaken when another version has its number, DamagedVersion when it is not intact or
    must not be stored in a registry.
    """
    local = _as_remote(version)
    if registry is not None and not registry.is_there():
        registry = None
    there = _known(registry, local, force) if registry else None
    if not there or force:
        require_intact(version.path, version.manifest)
    uploads = {
        name: entry
        for name, entry in version.manifest.files.items()
        if force or registry is None or not _is_whole(registry, entry)
    }
    tags = dict(_tag_moves(registry, local, active=active, force=force))
    return Push(version=local, uploads=uploads, added=not there, tags=tags)


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
    repairs damaged ones there. Pushes at once never overwrite each other: of two versions of one
    number the second is refused with VersionTaken. Raises also DamagedVersion, UnguardedStore,
    StoreFailed.
    """
    lock = project.lock("push", version.adapter)
    with exclusive_lock(lock, what=f"push of {version.adapter}", wait_s=wait_s):
        plan = plan_push(registry, version, active=active, force=force)
        if not plan.changed:
            return plan
        registry.prepare()
        _upload(version.path, plan, registry, progress)
        added = registry.add_version(plan.version, rewrite=force)
        moved = {
            tag: number
            for tag, number in plan.tags.items()
            if registry.move_tag(version.adapter, tag, number, only_up=tag == LATEST, mend=force)
        }
    return Push(version=plan.version, uploads=plan.uploads, added=added, tags=moved)


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


def _is_whole(registry: Registry, entry: FileEntry) -> bool:
    """Whether the registry holds these bytes: it may hold damaged ones of the same size."""
    key = blob_key(entry.sha256)
    if registry.store.size_bytes(key) != entry.size_bytes:
        return False
    digest = hashlib.sha256()
    for chunk in registry.store.download(key):
        digest.update(chunk)
    return digest.hexdigest() == entry.sha256


def _as_remote(version: AdapterVersion) -> RemoteVersion:
    """The version as the registry will hold it. Raises DamagedVersion when no registry may."""
    path = version.path / MANIFEST_NAME
    if problems := list(manifest_problems(version.manifest, version.adapter, version.number)):
        raise DamagedVersion("cannot be stored in a registry", where=str(path), problems=problems)
    return RemoteVersion(version.adapter, version.number, path.read_bytes(), version.manifest)


def _known(registry: Registry, local: RemoteVersion, force: bool) -> RemoteVersion | None:
    """The version if the registry has it. Refuses one that must not be stored there."""
    try:
        there = registry.version(local.adapter, local.number)
    except DamagedRegistry:
        if not force:
            raise
        there = None
    if there is not None and there.digest != local.digest:
        raise taken(local, registry.store.url)
    if there is None:
        _refuse_other_org(registry, local)
    return there


def _refuse_other_org(registry: Registry, version: RemoteVersion) -> None:
    """Keep one organisation's versions out of another's adapter."""
    newest = registry.before_damage(version.adapter, LATEST)
    if newest in (None, version.number):
        return
    if there := registry.version(version.adapter, newest):
        require_same_org(
            there,
            version,
            where=registry.store.url,
            hint="an adapter belongs to one organisation: give this one another name",
        )


def _upload(folder: Path, plan: Push, registry: Registry, progress: Progress) -> None:
    if not plan.uploads:
        return
    files, size = len(plan.uploads), plan.uploaded_bytes
    progress.stage(f"push: {counted(files, 'file')}, {megabytes(size)} of {plan.version.name}")
    progress.begin("push", size, "bytes")
    passed = 0
    by_content = {entry.sha256: (name, entry) for name, entry in plan.uploads.items()}
    for name, entry in by_content.values():
        chunks = _checked_chunks(folder / name, entry, progress, passed)
        registry.store.upload(blob_key(entry.sha256), chunks, entry.size_bytes)
        passed += entry.size_bytes
    progress.end()


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
