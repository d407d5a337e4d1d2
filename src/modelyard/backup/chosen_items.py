"""Which items of a snapshot are restored, and whether the disk can hold them as they are meant."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.backup.manifest import DamagedSnapshot, Item, ReadBlob, Snapshot, read_tree, walk
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.files import STAGING_PREFIX, disk_errors

_VERSIONS, _TRAINED = "models/versions", "models/trained"
_LATEST_TIME_NS = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What of a snapshot is restored."""

    items: tuple[Item, ...]
    """The items, a folder before what is in it."""
    rest: tuple[Item, ...] = ()
    """The items that are not chosen."""
    whole: frozenset[str] = frozenset({""})
    """The paths of which all that is below was chosen; the root's is empty."""

    left_out: frozenset[str] = frozenset()
    """The paths that are left out, with what is below them; they are among no items."""

    @property
    def bytes(self) -> int:
        """The sum of the sizes of its files."""
        return sum(item.size for item in self.items if item.kind != "folder")

    @property
    def files(self) -> int:
        """How many of the items are files."""
        return sum(item.kind in ("file", "sqlite") for item in self.items)


def choose_items(
    snapshot: Snapshot,
    read: ReadBlob,
    *,
    models: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
) -> Chosen:
    """The items of a snapshot that belong to these adapters or lie at these paths; all for None.

    models: names of adapters, of which versions and link are meant.
    only: paths from the project's root, each with what is below it.
    without: paths that are left out, and not even read; of a version, the whole version is.
    Raises InvalidInput for a name or path that the snapshot does not hold, DamagedSnapshot when
    what it holds cannot be written to any disk.
    """
    left_out = {_of_version(posixpath.normpath(text)) for text in without}
    found = _walk_without(snapshot, read, left_out) if left_out else walk(snapshot, read)
    items = tuple(_checked(found))
    if sum(item.size for item in items if item.kind != "folder") > snapshot.bytes:
        raise DamagedSnapshot("holds more bytes than it says", where=snapshot.id)
    if models is None and only is None:
        return Chosen(items=items, left_out=frozenset(left_out))
    paths = {item.path for item in items}
    wanted = {*_of_models(models or (), paths, snapshot), *_of_paths(only or (), paths, snapshot)}
    inside = {path for path in paths if any(is_in(path, place) for place in wanted)}
    parents = {parent for path in inside for parent in _parents(path)}
    return Chosen(
        items=tuple(item for item in items if item.path in inside | parents),
        rest=tuple(item for item in items if item.path not in inside | parents),
        whole=frozenset(wanted),
        left_out=frozenset(left_out),
    )


def _walk_without(snapshot: Snapshot, read: ReadBlob, left_out: set[str]) -> Iterator[Item]:
    """The items but for these paths, so that a folder that cannot be read can be left out."""
    missing = set(left_out)
    folders, count = [snapshot.root], 0
    while folders:
        below = []
        for item in read_tree(folders.pop(), read):
            count += 1
            if count > snapshot.items:
                raise DamagedSnapshot("holds more items than it says", where=snapshot.id)
            if item.path in left_out:
                missing.discard(item.path)
                continue
            yield item
            if item.kind == "folder":
                below.append(item)
        folders += reversed(below)
    if missing:
        raise InvalidInput(
            f"the snapshot holds no '{min(missing)}'",
            where=snapshot.id,
            hint=f"`models backup show {snapshot.id} --files` lists what it holds",
        )


def _of_version(path: str) -> str:
    """The version that a path is in; else the path."""
    match = re.match(rf"{_VERSIONS}/[^/]+/[^/]+", path)
    return match[0] if match else path


def require_distinct(items: Iterable[Item], folder: Path) -> None:
    """Raise InvalidInput where the disk of `folder` would take two of the paths for one."""
    forms = [form for form, probe in _FORMS.items() if _takes_for_one(folder, *probe)]
    seen: dict[str, str] = {}
    for item in items if forms else ():
        key = item.path
        for form in forms:
            key = form(key)
        other = seen.setdefault(key, item.path)
        if other != item.path:
            raise InvalidInput(
                f"the disk takes {item.path} and {other} for one path",
                where=str(folder),
                hint="restore to a disk that tells them apart, or choose one of them with --only",
            )


def _compose(text: str) -> str:
    return unicodedata.normalize("NFC", text)


_FORMS: dict[Callable[[str], str], tuple[str, str]] = {
    _compose: ("e\u0301", "\u00e9"),
    str.casefold: ("a", "A"),
}
"""What a disk may do to a name before it compares, and two names that it takes for one then."""


def _takes_for_one(folder: Path, name: str, other: str) -> bool:
    probe = folder / f"{STAGING_PREFIX}{name}"
    with disk_errors(folder):
        probe.touch(exist_ok=False)
        try:
            return os.path.lexists(folder / f"{STAGING_PREFIX}{other}")
        finally:
            probe.unlink()


def _checked(items: Iterator[Item]) -> Iterator[Item]:
    """The items, of which each can be written: names of bytes, times that a disk can keep."""
    for item in items:
        with suppress(UnicodeEncodeError):
            os.fsencode(item.path + (item.target or ""))
            if -_LATEST_TIME_NS < item.mtime_ns < _LATEST_TIME_NS:
                yield item
                continue
        raise DamagedSnapshot("holds an item that no disk can hold", where=ascii(item.path))


def _of_models(models: Sequence[str], paths: set[str], snapshot: Snapshot) -> Iterator[str]:
    known = sorted(
        {path.split("/")[2] for path in paths if path.startswith((f"{_VERSIONS}/", f"{_TRAINED}/"))}
    )
    for name in models:
        if name not in known:
            raise InvalidInput(
                f"the snapshot holds no adapter '{name}'{did_you_mean(name, known)}",
                where=snapshot.id,
                hint=f"it holds: {', '.join(known)}" if known else "it holds none",
            )
        yield from (f"{_VERSIONS}/{name}", f"{_TRAINED}/{name}")


def _of_paths(only: Sequence[str], paths: set[str], snapshot: Snapshot) -> Iterator[str]:
    for text in only:
        path = posixpath.normpath(text)
        if path not in paths:
            raise InvalidInput(
                f"the snapshot holds no '{text}'{did_you_mean(path, sorted(paths))}",
                where=snapshot.id,
                hint=f"paths are those of the project, such as configs; `models backup show "
                f"{snapshot.id} --files` lists them",
            )
        yield path


def is_in(path: str, place: str) -> bool:
    """Whether a path is a place, or below it; everything is below the root, which is empty."""
    return not place or path == place or path.startswith(f"{place}/")


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path
