"""A central registry of adapter versions on any object store: its layout, versions and tags.

    registry.json                            marks a registry, and names its layout
    blobs/sha256/ab/cdef...                  the bytes of a file, named after their SHA-256
    retired/<random id>.json                 names of blobs that are given up (blobs.py)
    adapters/NAME/versions/N.json            a version: its MANIFEST.json, and the SHA-256 of that
    adapters/NAME/deleted/N.json             says that the version is deleted
    adapters/NAME/tags/TAG/000000001.json    one move of a tag; the last one counts
    adapters/NAME/figures/N/<sha256>.json    figures recorded later (figures.py)

Blobs are written before the version that names them, and a version before the tag that points to
it. Versions and moves are created and never overwritten; the record of a deleted version stays, so
that no other one gets its number. Creating the next move is a compare and swap: a writer that finds
its number taken reads the last move again. The store only has to refuse a second creation, which
folders do too. Nothing read from here is trusted before it is checked. Does not know how files are
uploaded or downloaded.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
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
from modelyard.records.modelref import ModelRef, version_number
from modelyard.stores.store import ObjectStore, StoreFailed, open_store

LATEST = "latest"
"""The tag of the version with the highest number; it never moves to a lower one."""
ACTIVE = "in-use"
"""The tag of the version that was active where an adapter was last pushed without a number."""

_LAYOUT_KEY = "registry.json"
_LAYOUT = b'{"format": "modelyard adapters", "layout": 1}\n'
_SMALL_BYTES = 4_000_000
_MOST_MOVES_TRIED = 100


class UnguardedStore(ModelyardError):
    """The store overwrites objects that it should only create: two pushes could lose a version."""


class VersionTaken(ModelyardError):
    """Another version already has the number."""


class VersionDeleted(ModelyardError):
    """The version was deleted from the registry."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry in one object store."""

    store: ObjectStore
    """The object store."""
    single_writer: bool = False
    """Check for an object before writing instead of relying on the store; safe for one writer."""

    def prepare(self) -> None:
        """Make the store a registry if it is none yet, and test that it refuses a second creation.

        Some S3 servers ignore conditions, and overwrite. The test creates an object that exists;
        where that succeeds, it has replaced equal bytes. Raises UnguardedStore unless
        `single_writer`.
        """
        known = self.is_there()
        if self.single_writer:
            if not known:
                self.store.create(_LAYOUT_KEY, _LAYOUT)
        elif self.store.create(_LAYOUT_KEY, _LAYOUT) and self.store.create(_LAYOUT_KEY, _LAYOUT):
            raise UnguardedStore(
                "this store overwrites objects that it should only create, so two machines that "
                "push at once could lose a version",
                where=self.store.url,
                hint="use a store with conditional writes (If-None-Match); if nobody else ever "
                "pushes here at the same time, push with --single-writer",
            )

    def is_there(self) -> bool:
        """Whether the store holds a registry. Raises ModelyardError for one of another layout."""
        found = self.store.read(_LAYOUT_KEY, most_bytes=_SMALL_BYTES)
        if found not in (None, _LAYOUT) and b'"layout"' not in (found or b""):
            raise ModelyardError(
                "the registry's own file is damaged",
                where=self.store.show(_LAYOUT_KEY),
                hint=f"write this line into it again: {_LAYOUT.decode().strip()}",
            )
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
        return sorted(self._numbers(adapter, "versions") - self._numbers(adapter, "deleted"))

    def deleted_numbers(self, adapter: str) -> list[int]:
        """The numbers of an adapter's deleted versions, ascending."""
        return sorted(self._numbers(adapter, "versions") & self._numbers(adapter, "deleted"))

    def _numbers(self, adapter: str, folder: str) -> set[int]:
        names = self.store.names(f"adapters/{check_name(adapter, 'adapter')}/{folder}/")
        stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return set(filter(None, map(version_number, stems)))

    def version(self, adapter: str, number: int) -> RemoteVersion | None:
        """One version, checked against its digest; None when there is none, or it was deleted.

        Raises DamagedRegistry when it is not valid.
        """
        found = self.record(adapter, number)
        return None if found is None or self.is_deleted(adapter, number) else found

    def is_deleted(self, adapter: str, number: int) -> bool:
        """Whether a version was deleted here, and not pushed again."""
        return self.store.size_bytes(_deleted_key(adapter, number)) is not None

    def delete_version(self, adapter: str, number: int) -> bool:
        """Delete a version: from now on nobody finds it. Returns False when it was deleted."""
        mark = {"deleted_at": utc_now()}
        return self._create(_deleted_key(adapter, number), (json.dumps(mark) + "\n").encode())

    def record(self, adapter: str, number: int) -> RemoteVersion | None:
        """The record of a version, also of a deleted one; None when there is none.

        Raises DamagedRegistry when it is not valid.
        """
        key = _version_key(adapter, number)
        data = self.store.read(key, most_bytes=_SMALL_BYTES)
        if data is None:
            return None
        return parse_record(data, adapter, number, where=self.store.show(key))

    def add_version(self, version: RemoteVersion, *, rewrite: bool = False) -> bool:
        """Create a version, after its blobs. Returns False when it exists already.

        `rewrite` repairs a damaged one, and brings back one that was deleted. Raises VersionTaken
        when another version has the number, VersionDeleted.
        """
        key, data = _version_key(version.adapter, version.number), record_bytes(version)
        added = self._create(key, data)
        if not added:
            try:
                found = self.record(version.adapter, version.number)
            except DamagedRegistry:
                if not rewrite:
                    raise
                self.store.overwrite(key, data)
                added, found = True, version
            if found is None or found.digest != version.digest:
                raise taken(version, self.store.url)
        if self.is_deleted(version.adapter, version.number):
            if not rewrite:
                raise deleted(version, self.store.url)
            self.store.delete([_deleted_key(version.adapter, version.number)])
            return True
        return added

    def tags(self, adapter: str) -> list[str]:
        """The names of an adapter's tags, those that were removed included."""
        return self.store.folders(f"adapters/{check_name(adapter, 'adapter')}/tags/")

    def tag(self, adapter: str, tag: str) -> int | None:
        """The number of the version that a tag points to; None when there is none."""
        return self._last_move(adapter, tag)[1]

    def before_damage(self, adapter: str, tag: str) -> int | None:
        """The number that a tag pointed to by its last move that can be read; else None."""
        for last in reversed(self._moves(adapter, tag)):
            with suppress(DamagedRegistry):
                return self._target(adapter, tag, last)
        return None

    def move_tag(
        self,
        adapter: str,
        tag: str,
        number: int | None,
        *,
        only_up: bool = False,
        only_from: int | None = None,
        mend: bool = False,
    ) -> bool:
        """Point a tag to a version, or remove it (None); with `only_up`, never to a lower number.

        `only_from` moves it only from that version. `mend` also moves a tag whose last move is
        damaged. Returns whether it moved. Two moves at once both happen, one after the other.
        """
        for _ in range(_MOST_MOVES_TRIED):
            is_damaged = False
            try:
                last, current = self._last_move(adapter, tag)
            except DamagedRegistry:
                if not mend:
                    raise
                last, current, is_damaged = self._moves(adapter, tag)[-1], None, True
            if (current == number and not is_damaged) or only_from not in (None, current):
                return False
            if only_up and current is not None and number is not None and current > number:
                return False
            move = {"version": number, "before": current, "moved_at": utc_now()}
            key = f"{_tag_prefix(adapter, tag)}{last + 1:09d}.json"
            if self._create(key, (json.dumps(move) + "\n").encode()):
                return True
        raise StoreFailed(
            f"others moved the tag {tag} of {adapter} {_MOST_MOVES_TRIED} times in the meantime",
            where=self.store.url,
            hint="run the same command again",
        )

    def would_move(self, adapter: str, tag: str, number: int | None) -> bool:
        """Whether `move_tag` with `mend` would move the tag."""
        try:
            return self.tag(adapter, tag) != number
        except DamagedRegistry:
            return True

    def _last_move(self, adapter: str, tag: str) -> tuple[int, int | None]:
        """The number of a tag's last move, from 1, and of the version that it points to."""
        moves = self._moves(adapter, tag)
        return (moves[-1], self._target(adapter, tag, moves[-1])) if moves else (0, None)

    def _moves(self, adapter: str, tag: str) -> list[int]:
        """The numbers of a tag's moves, ascending."""
        names = self.store.names(_tag_prefix(adapter, tag))
        stems = (name.removesuffix(".json") for name in names)
        return sorted(int(stem) for stem in stems if re.fullmatch(r"[0-9]{9}", stem))

    def _target(self, adapter: str, tag: str, move: int) -> int | None:
        """The version that one move points to. Raises DamagedRegistry when it is not valid."""
        key = f"{_tag_prefix(adapter, tag)}{move:09d}.json"
        data = self.store.read(key, most_bytes=_SMALL_BYTES)
        try:
            number = parse_mapping(data or b"", where=self.store.show(key)).get("version", "")
            if number is None:
                return None  # removed
            if type(number) is not int or version_number(str(number)) is None:
                raise DamagedRegistry("points to no version", where=self.store.show(key))
        except DamagedRegistry as error:
            words = f"{adapter}@VERSION {tag} {self.store.url}"
            error.hint = f"point it to a version: `models adapters registry tag {words}`"
            raise
        return number

    def _create(self, key: str, data: bytes) -> bool:
        if self.single_writer and self.store.size_bytes(key) is not None:
            return False
        return self.store.create(key, data)


def open_registry(url: str, *, make: bool = False, single_writer: bool = False) -> Registry | None:
    """The registry at `url`; None when it is a folder that does not exist and `make` is off.

    Sends no request yet. Raises InvalidInput for an invalid address.
    """
    store = open_store(url, make=make)
    return None if store is None else Registry(store, single_writer)


def find_remote_version(registry: Registry, reference: str) -> RemoteVersion:
    """The version that `name@3` names; for `name`, the one tagged `in-use`, else the latest.

    Raises InvalidInput, which lists the existing versions, when there is none, DamagedRegistry when
    it is not valid.
    """
    named = ModelRef.parse(reference, kind="adapter")
    adapter, number = named.name, named.version
    where = registry.store.url
    if not registry.is_there():
        raise InvalidInput(
            "there is no registry here",
            where=where,
            hint="`models adapters push NAME REMOTE` makes one; check the address",
        )
    if number is None:
        number = registry.tag(adapter, ACTIVE) or registry.tag(adapter, LATEST)
    found = registry.version(adapter, number) if number else None
    if found is not None:
        return found
    numbers = registry.numbers(adapter)
    versions = ", ".join(f"{adapter}@{number}" for number in numbers)
    if number and registry.is_deleted(adapter, number):
        raise InvalidInput(
            f"{adapter}@{number} was deleted there",
            where=where,
            hint=f"there are: {versions}" if versions else "no version of it is left there",
        )
    if numbers:
        asked = adapter if number is None else f"{adapter}@{number}"
        raise InvalidInput(f"there is no {asked}", where=where, hint=f"there are: {versions}")
    known = registry.adapters()
    raise InvalidInput(
        f"there is no adapter '{adapter}'{did_you_mean(adapter, known)}",
        where=where,
        hint=f"there are: {', '.join(known)}" if known else "nothing was pushed there yet",
    )


def taken(version: RemoteVersion, where: str) -> VersionTaken:
    """The error of a push whose number is another version's."""
    adapter, number = version.adapter, version.number
    return VersionTaken(
        f"{version.name} is another version there: somebody pushed a different one under this "
        "number first",
        where=where,
        hint=f"nothing was overwritten. Each project counts its own versions, so of two that train "
        f"one adapter only the first can push number {number}: pull before training, or give "
        f"yours a name of its own (`models adapters import models/versions/{adapter}/{number} "
        f"--name {adapter}-2 --base-model BASE`) and push that",
    )


def deleted(version: RemoteVersion, where: str) -> VersionDeleted:
    """The error of a push of a version that was deleted."""
    return VersionDeleted(
        f"{version.name} was deleted there",
        where=where,
        hint="`--force` stores it again, under the same number",
    )


def _version_key(adapter: str, number: int) -> str:
    return f"adapters/{check_name(adapter, 'adapter')}/versions/{number}.json"


def _deleted_key(adapter: str, number: int) -> str:
    return f"adapters/{check_name(adapter, 'adapter')}/deleted/{number}.json"


def _tag_prefix(adapter: str, tag: str) -> str:
    return f"adapters/{check_name(adapter, 'adapter')}/tags/{tag}/"
