"""Where a registry holds the bytes of a file, and which of its names for them are given up.

    blobs/sha256/ab/cdef...                       bytes, named after their SHA-256
    blobs/sha256/ab/cdef...-0123456789abcdef      the same, stored again under a name of its own
    retired/<random id>.json                      names that are to be deleted, or were

A name is retired before its blob is deleted, and a retired name never comes back: who needs the
bytes stores them under a new one, with random digits at its end. So a deletion that comes late,
from a process that stood still, destroys nothing that anybody relies on.

What a push relies on is a name that was not yet retired when its version could be seen. Blobs are
listed first and retired names second: one that is in neither list too little was safe in between.
Does not know which bytes are needed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelyard.adapters.registry.record import DamagedRegistry, parse_mapping
from modelyard.core.clock import utc_now
from modelyard.stores.store import ObjectStore, StoredObject, StoreFailed

BLOBS = "blobs/"
RETIRED = "retired/"

_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{2})/([0-9a-f]{62})(-[0-9a-f]{16})?")
_MOST_BYTES = 256 << 20
_MOST_READINGS = 10


@dataclass(frozen=True, slots=True)
class RetiredNames:
    """Names that one prune gave up, in one object that never changes."""

    key: str
    """The key of the object."""
    written_s: float
    """When it was written, by the clock of the store."""
    names: frozenset[str]
    """The keys of the blobs."""


def blob_key(sha256: str) -> str:
    """The first name of the bytes with this SHA-256 (64 hex digits, already checked)."""
    return f"{BLOBS}sha256/{sha256[:2]}/{sha256[2:]}"


def new_blob_key(sha256: str, retired: frozenset[str]) -> str:
    """A name for bytes that are stored now: the first one, or a new one where that is given up."""
    key = blob_key(sha256)
    return f"{key}-{secrets.token_hex(8)}" if key in retired else key


def content_of(key: str) -> str | None:
    """The SHA-256 of the bytes that a blob's key names; None for a key of something else."""
    found = _BLOB.fullmatch(key)
    return f"{found[1]}{found[2]}" if found else None


def copies_of(store: ObjectStore, sha256: str) -> list[StoredObject]:
    """Every blob of these bytes, the newest first."""
    home = blob_key(sha256).rpartition("/")[0]
    found = [entry for entry in store.listing(f"{home}/") if content_of(entry.key) == sha256]
    return sorted(found, key=lambda entry: (-entry.modified_s, entry.key))


def read_retired(store: ObjectStore) -> list[RetiredNames]:
    """Everything that was given up. Raises DamagedRegistry where that cannot be read."""
    for _ in range(_MOST_READINGS):
        found = list(_read_all(store))
        if None not in found:
            return [each for each in found if each]
        # A prune has just drawn several objects together into one, which the next listing has.
    raise StoreFailed(
        "what was given up changes all the time",
        where=store.show(RETIRED),
        hint="run the same command again",
    )


def retired_names(store: ObjectStore) -> frozenset[str]:
    """The keys of blobs that must not be relied on."""
    return frozenset(name for each in read_retired(store) for name in each.names)


def retire(store: ObjectStore, names: Iterable[str]) -> None:
    """Give names up, for good."""
    values = {"retired_at": utc_now(), "blobs": sorted(names)}
    store.create(f"{RETIRED}{secrets.token_hex(16)}.json", (json.dumps(values) + "\n").encode())


def draw_together(store: ObjectStore, several: Iterable[RetiredNames]) -> None:
    """Replace several objects by one of the same names; at every instant all are written down."""
    several = tuple(several)
    retire(store, {name for each in several for name in each.names})
    store.delete([each.key for each in several])


def _read_all(store: ObjectStore) -> Iterator[RetiredNames | None]:
    for entry in store.listing(RETIRED):
        data = store.read(entry.key, most_bytes=_MOST_BYTES)
        if data is None:
            yield None
            continue
        where = store.show(entry.key)
        names = parse_mapping(data, where=where).get("blobs")
        if not isinstance(names, list) or not all(
            isinstance(name, str) and content_of(name) for name in names
        ):
            damaged = DamagedRegistry(
                "is damaged, so it is not known which blobs are about to be deleted", where=where
            )
            damaged.hint = "remove this object while nobody pushes or prunes"
            raise damaged
        yield RetiredNames(entry.key, entry.modified_s, frozenset(names))
