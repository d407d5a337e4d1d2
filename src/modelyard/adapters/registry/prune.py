"""Deleting a version from a registry, and later the files that no version needs any more.

Deleting a version hides it, in one created object. Its files may be those of other versions too, or
of a push under way, so that a prune deletes them in two steps: it gives up the names of what no
version needs, and a later prune, when the grace period is over, deletes what was given up. Pushes
go on all the while: they rely on no name that is given up (blobs.py). Killed at any instant, a
prune leaves a registry that is whole, and the next one goes on.

The grace period is for who does not look at what is given up: pulls that began before, pushes
between their last look and their version, and programs older than this. Times are the store's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.adapters.registry.blobs import (
    BLOBS,
    RetiredNames,
    content_of,
    draw_together,
    read_retired,
    retire,
)
from modelyard.adapters.registry.record import DamagedRegistry
from modelyard.adapters.registry.registry import LATEST, Registry
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.records.modelref import ModelRef
from modelyard.stores.store import StoredObject

LEAST_GRACE_S = 24 * 3600.0
"""The shortest time between giving a name up and deleting its blob."""

_CLOCK = "clock/now"
_MOST_DONE = 16
"""How many objects of names that are deleted may lie about before they are drawn together."""


class VersionTagged(ModelyardError):
    """A tag points to the version, which is therefore not deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDeletion:
    """A version that was deleted from a registry, or would be."""

    adapter: str
    """The adapter."""
    version: int
    """The number of the version."""
    changed: bool
    """Whether it was there; in a dry run, whether it would be deleted."""
    dry_run: bool
    """Whether nothing was changed."""
    latest: int | None
    """Where the tag `latest` points now, or would; null when no version is left."""


def delete_version(registry: Registry, reference: str, *, dry_run: bool = False) -> VersionDeletion:
    """Delete the version that `name@3` names; its files stay until `prune_registry`.

    `latest` moves to the highest number that is left, before. Raises InvalidInput when there is no
    such version, VersionTagged when another tag points to it, DamagedRegistry for a damaged tag.
    """
    named = ModelRef.parse(reference, kind="adapter")
    adapter, number = named.name, named.version
    if number is None:
        raise InvalidInput(f"{reference!r} names no version", hint=f"write {adapter}@V")
    numbers, gone = registry.numbers(adapter), registry.deleted_numbers(adapter)
    if number not in (*numbers, *gone):
        raise InvalidInput(
            f"there is no {adapter}@{number}",
            where=registry.store.url,
            hint=f"there are: {', '.join(f'{adapter}@{each}' for each in numbers)}"
            if numbers
            else "`models adapters registry list REMOTE` lists what there is",
        )
    tags = {tag: registry.tag(adapter, tag) for tag in registry.tags(adapter)}
    pointing = sorted(tag for tag, to in tags.items() if to == number and tag != LATEST)
    if pointing and number in numbers:
        raise VersionTagged(
            f"{adapter}@{number} is tagged {', '.join(pointing)}",
            where=registry.store.url,
            hint="point the tag elsewhere first, or remove it: `models adapters registry untag "
            f"{adapter} {pointing[0]} REMOTE`",
        )
    left = max((each for each in numbers if each != number), default=None)
    moves = tags.get(LATEST) == number
    if not dry_run:
        if moves:
            registry.move_tag(adapter, LATEST, left, only_from=number)
        registry.delete_version(adapter, number)
    return VersionDeletion(
        adapter=adapter,
        version=number,
        changed=number in numbers or moves,
        dry_run=dry_run,
        latest=left if moves else tags.get(LATEST),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryPrune:
    """What a prune of a registry did, or would do."""

    dry_run: bool
    """Whether nothing was changed."""
    deleted_files: int
    """Files that an earlier prune had given up, and that were deleted."""
    deleted_bytes: int
    """Their size."""
    given_up_files: int
    """Files that no version needs, newly given up."""
    given_up_bytes: int
    """Their size."""
    waiting_files: int
    """All files that a later prune deletes."""
    waiting_bytes: int
    """Their size."""
    waiting_until: str | None
    """When all of them may be deleted, UTC; null when there are none."""


def prune_registry(
    registry: Registry, *, grace_s: float = LEAST_GRACE_S, dry_run: bool = False
) -> RegistryPrune:
    """Delete files that were given up before the grace period and are not needed; give up others.

    grace_s: how long a file is kept after it was given up, in seconds by the clock of the store. A
    file without a version that is younger than that may be one of a push under way, and stays.
    Raises DamagedRegistry when a record or what was given up cannot be read: nothing is deleted
    then, since it is not known what is needed.
    """
    store = registry.store
    now_s = time.time() if dry_run else _now_s(registry)
    # Whoever's version is not in the records read here sees the names that are read before them.
    retired = read_retired(store)
    needed, unneeded = _contents(registry)
    blobs = {entry.key: entry for entry in store.listing(BLOBS) if content_of(entry.key)}
    given_up_at = {name: each.written_s for each in retired for name in each.names}
    reliable = {content_of(key) for key in blobs if key not in given_up_at}
    old = [
        blob
        for key, blob in blobs.items()
        if key in given_up_at and (content_of(key) not in needed or content_of(key) in reliable)
    ]
    due = [blob for blob in old if now_s - given_up_at[blob.key] >= grace_s]
    fresh = [
        blob
        for key, blob in blobs.items()
        if key not in given_up_at
        and (sha256 := content_of(key)) not in needed
        and (sha256 in unneeded or now_s - blob.modified_s >= grace_s)
    ]
    if not dry_run:
        store.delete([blob.key for blob in due])
        if fresh:
            retire(store, [blob.key for blob in fresh])
        _draw_done_together(registry, retired, blobs.keys() - {blob.key for blob in due})
    waiting = [*(blob for blob in old if blob not in due), *fresh]
    begun_s = max((given_up_at.get(blob.key, now_s) for blob in waiting), default=None)
    return RegistryPrune(
        dry_run=dry_run,
        deleted_files=len(due),
        deleted_bytes=_size(due),
        given_up_files=len(fresh),
        given_up_bytes=_size(fresh),
        waiting_files=len(waiting),
        waiting_bytes=_size(waiting),
        waiting_until=None
        if begun_s is None
        else datetime.fromtimestamp(begun_s + grace_s, UTC).isoformat(timespec="seconds"),
    )


def _now_s(registry: Registry) -> float:
    """The time by the clock of the store; writes an object to learn it."""
    registry.store.overwrite(_CLOCK, b"")
    return max(entry.modified_s for entry in registry.store.listing("clock/"))


def _contents(registry: Registry) -> tuple[set[str], set[str]]:
    """The SHA-256 of each file that a version needs, and of those that only deleted ones had."""
    needed: set[str] = set()
    deleted: set[str] = set()
    for adapter in registry.adapters():
        for number in registry.numbers(adapter):
            needed.update(_files(registry, adapter, number))
        for number in registry.deleted_numbers(adapter):
            with suppress(DamagedRegistry):  # what it had is found by its age
                deleted.update(_files(registry, adapter, number))
    return needed, deleted - needed


def _files(registry: Registry, adapter: str, number: int) -> Iterator[str]:
    if found := registry.record(adapter, number):
        yield from (entry.sha256 for entry in found.manifest.files.values())


def _draw_done_together(
    registry: Registry, retired: Sequence[RetiredNames], there: set[str]
) -> None:
    """Keep the names of deleted blobs in few objects: every push reads them all."""
    done = [each for each in retired if not each.names & there]
    if len(done) > _MOST_DONE:
        draw_together(registry.store, done)


def _size(blobs: Sequence[StoredObject]) -> int:
    return sum(blob.size_bytes for blob in blobs)
