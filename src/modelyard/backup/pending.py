"""Packs that are to go: written down by one prune, deleted by a later one if still unused.

    pending/<random id>    {"packs": [NAME...], "leases": [ID...]}

A mark is written twice: first with `leases` null, then with the leases that were alive after that.
So all other work began after the mark could be seen, and relies on none of its packs: a backup
reads the marks once it has its lease, and stores again what only pending packs hold. The packs may
be deleted when the grace period is over, none of those leases is alive, and no snapshot needs them.

The order of reading matters to all work that relies on stored blobs: lease, marks, indexes, and the
listing of packs last. A mark that is gone then means that its packs are gone, or needed and safe.
For the same reason no pack's name may ever come back; random bytes at a pack's end see to that.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.stores.store import ObjectStore, StoreFailed

PREFIX = "pending/"

_NAME = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{32}")
_MOST_BYTES = 256 << 20


class DamagedMark(ModelyardError):
    """What is written down of packs that are to go cannot be read."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Packs that one prune found unused."""

    id: str
    """Its random name."""
    written_s: float
    """When it was last written, by the clock of the store."""
    packs: frozenset[str]
    """The names of the packs."""
    leases: frozenset[str] | None
    """The leases of work that may rely on them; None while they were not yet looked for."""


def pending_packs(store: ObjectStore) -> frozenset[str]:
    """The packs that must not be relied on; to be read once one's own lease is written.

    Raises DamagedMark, StoreFailed.
    """
    return frozenset(pack for mark in read_marks(store) for pack in mark.packs)


def read_marks(store: ObjectStore) -> list[Mark]:
    """Every mark in the repository. Raises DamagedMark where one is not valid."""
    marks = []
    for entry in store.listing(PREFIX):
        data = store.read(entry.key, most_bytes=_MOST_BYTES)
        if data is not None:  # else a prune has just completed it
            marks.append(_parse(entry.key, entry.modified_s, data, store.show(entry.key)))
    return marks


def write_mark(store: ObjectStore, packs: Iterable[str]) -> str:
    """Write a mark for packs, without leases; returns its id."""
    id = secrets.token_hex(16)
    _put(store, id, packs, None)
    return id


def complete_mark(store: ObjectStore, id: str, packs: Iterable[str], leases: Iterable[str]) -> None:
    """Write the leases that were alive after a mark was written; the grace period begins.

    Of two prunes that complete a mark at once, the leases of either will do.
    """
    _put(store, id, packs, leases)


def remove_marks(store: ObjectStore, ids: Iterable[str]) -> None:
    """Remove marks; their packs are deleted by now, or needed."""
    store.delete([f"{PREFIX}{id}" for id in ids])


def _put(store: ObjectStore, id: str, packs: Iterable[str], leases: Iterable[str] | None) -> None:
    """Write a mark and read it back: this one, or one that another prune has completed since.

    Raises StoreFailed where it is neither, and leaves no mark.
    """
    wanted = frozenset(packs)
    values = {"packs": sorted(wanted), "leases": None if leases is None else sorted(leases)}
    data = json.dumps(values).encode()
    key = f"{PREFIX}{id}"
    store.overwrite(key, data)
    found = store.read(key, most_bytes=_MOST_BYTES)
    if found != data and not _is_complete(key, found or b"", wanted):
        store.delete([key])
        raise StoreFailed("what was read back is not what was written", where=store.show(key))


def _is_complete(key: str, data: bytes, packs: frozenset[str]) -> bool:
    """Whether these are the bytes of a mark of these packs, with leases."""
    try:
        mark = _parse(key, 0.0, data, where="")
    except DamagedMark:
        return False
    return mark.packs == packs and mark.leases is not None


def _parse(key: str, written_s: float, data: bytes, where: str) -> Mark:
    try:
        values = parse_json(data)
        id = key.removeprefix(PREFIX)
        packs, leases = values["packs"], values["leases"]
        if not _ID.fullmatch(id) or not all(map(_NAME.fullmatch, packs)):
            raise ValueError
        if leases is not None and not all(isinstance(lease, str) for lease in leases):
            raise ValueError
        known = None if leases is None else frozenset(leases)
        return Mark(id, written_s, frozenset(packs), known)
    except (InvalidJson, KeyError, TypeError, ValueError):
        raise DamagedMark(
            "is damaged, so it is not known which packs are about to be deleted",
            where=where,
            hint="delete this object while no prune runs: the next one finds its packs again",
        ) from None
