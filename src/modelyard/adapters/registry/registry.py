"""A central registry of adapter versions on any object store: what lies where in it, and is it so.

    registry.json                            says that this is a registry, and of which layout
    blobs/sha256/ab/cdef...                  the bytes of a file, named after their SHA-256
    adapters/NAME/versions/N.json            a version: its MANIFEST.json, and the SHA-256 of that
    adapters/NAME/tags/TAG/000000001.json    one move of a tag; the highest number is where it is

Blobs are written before the version that names them, and a version before the tag that leads to it.
Versions and moves are created and never written again. Creating the next move is the compare and
swap: whoever saw the last one before, and finds that number taken, looks again. That needs nothing
of a store but to refuse a second creation, which folders can do too. Nothing read from here is
believed before it is checked. Does not know how files get here or from here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from modelyard.adapters.registry.record import (
    DamagedRegistry,
    RemoteVersion,
    parse_mapping,
    parse_record,
    record_bytes,
)
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.core.layout import check_name
from modelyard.stores.store import ObjectStore, StoreFailed, open_store

LATEST = "latest"
"""The tag of the version with the highest number; it only goes up."""
ACTIVE = "in-use"
"""The tag of the version that whoever pushed last without naming a number had active."""

_LAYOUT_KEY = "registry.json"
_LAYOUT = b'{"format": "modelyard adapters", "layout": 1}\n'
_SMALL_BYTES = 4_000_000
_MOST_MOVES_TRIED = 100
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class UnguardedStore(ModelyardError):
    """The store creates an object that is there already, so two pushes could lose one of them."""


class VersionTaken(ModelyardError):
    """The number of a version belongs to another version already."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry in one object store."""

    store: ObjectStore
    """Where it is."""
    single_writer: bool = False
    """Look before writing instead of relying on the store to refuse: safe for one writer only."""

    def prepare(self) -> None:
        """Make the store a registry if it is none yet, and prove that it guards what is there.

        Some servers that speak S3 take no notice of conditions, and overwrite. The proof is to
        create what is there already; where that succeeds, it has replaced equal bytes.
        Raises UnguardedStore unless `single_writer`.
        """
        known = self.is_there()
        if self.single_writer:
            if not known:
                self.store.create(_LAYOUT_KEY, _LAYOUT)
        elif self.store.create(_LAYOUT_KEY, _LAYOUT) and self.store.create(_LAYOUT_KEY, _LAYOUT):
            raise UnguardedStore(
                "this store overwrites what it was asked only to create, so two machines that push "
                "at once could lose a version",
                where=self.store.url,
                hint="use a store with conditional writes (If-None-Match); if nobody else ever "
                "pushes here at the same time, push with --single-writer",
            )

    def require_layout(self) -> None:
        """Fail unless the store holds a registry that this program can read."""
        if not self.is_there():
            raise InvalidInput(
                "there is no registry here",
                where=self.store.url,
                hint="`models adapters push NAME REMOTE` makes one; check the address",
            )

    def is_there(self) -> bool:
        """Whether the store holds a registry. Raises ModelyardError for one of another layout."""
        found = self.store.read(_LAYOUT_KEY, most_bytes=_SMALL_BYTES)
        if found not in (None, _LAYOUT):
            raise ModelyardError(
                "the registry has a layout that this modelyard does not know",
                where=self.store.show(_LAYOUT_KEY),
                hint="update modelyard in this environment",
            )
        return found is not None

    def adapters(self) -> list[str]:
        """The names of all adapters here."""
        return self.store.folders("adapters/")

    def numbers(self, adapter: str) -> list[int]:
        """The numbers of an adapter's versions, ascending; nothing is read from them."""
        names = self.store.names(f"adapters/{check_name(adapter, 'adapter')}/versions/")
        stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return sorted(int(stem) for stem in stems if _NUMBER.fullmatch(stem))

    def version(self, adapter: str, number: int) -> RemoteVersion | None:
        """One version, checked against its own digest; None when there is none.

        Raises DamagedRegistry when it is not what it should be.
        """
        key = _version_key(adapter, number)
        data = self.store.read(key, most_bytes=_SMALL_BYTES)
        if data is None:
            return None
        return parse_record(data, adapter, number, where=self.store.show(key))

    def add_version(self, version: RemoteVersion, *, rewrite: bool = False) -> bool:
        """Create a version; its blobs must be there. Returns False when it was there already.

        `rewrite` mends one that is damaged. Raises VersionTaken when the number is another's.
        """
        key, data = _version_key(version.adapter, version.number), record_bytes(version)
        if self._create(key, data):
            return True
        try:
            found = self.version(version.adapter, version.number)
        except DamagedRegistry:
            if not rewrite:
                raise
            self.store.overwrite(key, data)
            return True
        if found is None or found.digest != version.digest:
            raise taken(version.name, self.store.url)
        return False

    def tag(self, adapter: str, tag: str) -> int | None:
        """The number of the version a tag leads to; None when there is no such tag."""
        return self._last_move(adapter, tag)[1]

    def move_tag(self, adapter: str, tag: str, number: int, *, only_up: bool = False) -> bool:
        """Lead a tag to a version, unless it leads there (or, with `only_up`, beyond) already.

        Returns whether it moved. Of two moves at once both happen, in one order.
        """
        for _ in range(_MOST_MOVES_TRIED):
            last, current = self._last_move(adapter, tag)
            if current == number or (only_up and current is not None and current > number):
                return False
            move = {"version": number, "before": current, "moved_at": utc_now()}
            key = f"{_tag_prefix(adapter, tag)}{last + 1:09d}.json"
            if self._create(key, (json.dumps(move) + "\n").encode()):
                return True
        raise StoreFailed(
            f"the tag {tag} of {adapter} moved {_MOST_MOVES_TRIED} times under our hands",
            where=self.store.url,
            hint="run the same command again",
        )

    def _last_move(self, adapter: str, tag: str) -> tuple[int, int | None]:
        """The number of a tag's last move, from 1, and of the version it leads to."""
        prefix = _tag_prefix(adapter, tag)
        stems = [name.removesuffix(".json") for name in self.store.names(prefix)]
        last = max((int(stem) for stem in stems if re.fullmatch(r"[0-9]{9}", stem)), default=0)
        if last == 0:
            return 0, None
        key = f"{prefix}{last:09d}.json"
        data = self.store.read(key, most_bytes=_SMALL_BYTES)
        number = parse_mapping(data or b"", where=self.store.show(key)).get("version")
        if type(number) is not int or not _NUMBER.fullmatch(str(number)):
            raise DamagedRegistry("leads to no version", where=self.store.show(key))
        return last, number

    def _create(self, key: str, data: bytes) -> bool:
        if self.single_writer and self.store.size_bytes(key) is not None:
            return False
        return self.store.create(key, data)


def blob_key(sha256: str) -> str:
    """Where the bytes with this SHA-256 (64 hex digits, checked before) lie."""
    return f"blobs/sha256/{sha256[:2]}/{sha256[2:]}"


def open_registry(url: str, *, make: bool = False, single_writer: bool = False) -> Registry | None:
    """The registry at `url`; None when it is a folder that is not there and `make` is off.

    Nothing is asked of a distant store yet. Raises InvalidInput for an address that is none.
    """
    store = open_store(url, make=make)
    return None if store is None else Registry(store, single_writer)


def find_remote_version(registry: Registry, reference: str) -> RemoteVersion:
    """The version a person means: `name@3`, or `name` for the active one where it was pushed.

    Without a tag `in-use` it is the latest. Raises InvalidInput when there is none, saying what
    there is, DamagedRegistry when it is not what it should be.
    """
    adapter, at, asked = reference.partition("@")
    check_name(adapter, "adapter")
    registry.require_layout()
    if not at:
        number = registry.tag(adapter, ACTIVE) or registry.tag(adapter, LATEST)
    else:
        # A number from 1 as it is always written; anything else names no version.
        number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
        number = number if str(number) == asked else 0
    found = registry.version(adapter, number) if number else None
    if found is not None:
        return found
    where = registry.store.url
    if numbers := registry.numbers(adapter):
        versions = ", ".join(f"{adapter}@{one}" for one in numbers)
        raise InvalidInput(f"there is no {reference}", where=where, hint=f"there are: {versions}")
    known = registry.adapters()
    raise InvalidInput(
        f"there is no adapter '{adapter}'{did_you_mean(adapter, known)}",
        where=where,
        hint=f"there are: {', '.join(known)}" if known else "nothing was pushed there yet",
    )


def taken(name: str, where: str) -> VersionTaken:
    """The error of a push whose number is another version's."""
    adapter, _, number = name.partition("@")
    return VersionTaken(
        f"{name} is another version there: somebody pushed a different one under this number first",
        where=where,
        hint=f"nothing was overwritten. Each project counts its own versions, so of two that train "
        f"one adapter only the first can push number {number}: pull before training, or give "
        f"yours a name of its own (`models adapters import models/versions/{adapter}/{number} "
        f"--name {adapter}-2 --base-model BASE`) and push that",
    )


def _version_key(adapter: str, number: int) -> str:
    return f"adapters/{check_name(adapter, 'adapter')}/versions/{number}.json"


def _tag_prefix(adapter: str, tag: str) -> str:
    return f"adapters/{check_name(adapter, 'adapter')}/tags/{tag}/"
