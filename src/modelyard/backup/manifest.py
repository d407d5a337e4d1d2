"""What a snapshot says: a tree of items, each with the hashes of the blobs that hold its bytes.

A folder's content is JSON, a list of its items, and is cut into blobs as the content of a file is;
so an unchanged folder is the same few hashes in every snapshot. docs/backup-format.md is the
reference. Nothing that is parsed here is trusted: paths, links, kinds and counts are checked.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import dropwhile
from typing import Any, Literal, get_args

from modelyard.backup.selection import Selection
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json

Kind = Literal["file", "link", "folder", "sqlite"]

BLOCK_BYTES = 16 << 20
"""The most bytes in a blob: a larger file is cut into blobs of this size, the last one shorter."""
PAGE_BYTES = 16 << 10
"""The size of a blob of a SQLite file; 4 of its usual pages."""
HASHES_IN_A_LIST = 1024
"""The most hashes in a list of hashes, which is a blob too."""
_HASH_BYTES = 32

SNAPSHOT_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_FOLDERS_DEEP = 100
MOST_ITEMS = 2_000_000
_MOST_TREE_BYTES = 64 << 20
"""A tree is held in memory."""
MOST_IN_A_FOLDER = 100_000
"""The most items of a folder that a snapshot is made of, at 640 bytes for each."""
_MOST_BYTES = 1 << 50
_MOST_DIRECT_BLOBS = HASHES_IN_A_LIST
_MOST_DEPTH = 3

ReadBlob = Callable[[str], bytes]
"""Reads a blob by its SHA-256 and checks it against that."""


class DamagedSnapshot(ModelyardError):
    """What a snapshot or one of its trees says cannot be true, or must not be written to a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file, link or folder of the project."""

    path: str
    """From the project's root, with `/`; empty for the root itself."""
    kind: Kind
    """`sqlite` is a file whose blobs are its pages."""
    mode: int = 0
    """Its permission bits."""
    mtime_ns: int = 0
    """When it was last modified, in nanoseconds since 1970."""
    size: int = 0
    """The bytes of its content; of a folder, of the JSON that lists its items."""
    sha256: str | None = None
    """Of the whole content of a file; None for a link and a folder."""
    blobs: tuple[str, ...] = ()
    """The SHA-256 of the blobs of its content, in order; with a `depth`, of lists of them."""
    depth: int = 0
    """0: `blobs` are content. 1: they are lists of 32-byte hashes of content; 2: lists of lists."""
    target: str | None = None
    """Where a link leads."""
    seen: str = ""
    """How the file system described it, to know whether it has changed since; empty: not known."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return posixpath.basename(self.path)


Tree = tuple[Item, ...]
"""The items directly in a folder, in the order of their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A place of the project that is not in the snapshot on purpose."""

    path: str
    """From the project's root."""
    reason: str
    """Why, and what brings it back or adds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something that was selected and could not be stored, or not as it should be."""

    path: str
    """From the project's root."""
    reason: str
    """What stood in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state of a project that really existed."""

    id: str = ""
    """Its name in the repository: when it was made, and the beginning of its SHA-256 as stored."""
    created_at: str
    """When it was begun, UTC."""
    host: str
    """The machine that made it."""
    project: str
    """The folder of the project there."""
    modelyard: str
    """The version of modelyard that made it."""
    selection: Selection
    """What was chosen."""
    tag: str | None = None
    """A word of the user's."""
    parent: str | None = None
    """The snapshot that unchanged files were taken from."""
    indexes: tuple[str, ...] = ()
    """The index objects that were there when it was made; while they are, its blobs are known."""
    root: Item
    """The project's folder."""
    items: int
    """How many items `walk` yields."""
    files: int
    """How many of them are files."""
    bytes: int
    """The sum of their sizes."""
    left_out: tuple[LeftOut, ...] = ()
    """What is not in it, on purpose."""
    skipped: tuple[Skipped, ...] = ()
    """What should be in it and is not, or not as it should be."""


def block_bytes(kind: Kind) -> int:
    """The size of all blobs of an item's content but the last."""
    return PAGE_BYTES if kind == "sqlite" else BLOCK_BYTES


def walk(snapshot: Snapshot, read: ReadBlob) -> Iterator[Item]:
    """Every item below the root, a folder before what is in it, in the order of the names.

    Raises DamagedSnapshot when a tree is not valid, or holds more than the snapshot says.
    """
    left = snapshot.items
    stack = [iter(read_tree(snapshot.root, read))]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            continue
        left -= 1
        if left < 0:
            raise DamagedSnapshot(f"holds more than the {snapshot.items:,} items that it says")
        yield item
        if item.kind == "folder":
            if len(stack) >= MOST_FOLDERS_DEEP:
                raise DamagedSnapshot("has folders nested too deeply", where=item.path)
            stack.append(iter(read_tree(item, read)))
    if left:
        raise DamagedSnapshot(f"holds {left:,} items fewer than it says")


def read_tree(folder: Item, read: ReadBlob) -> Tree:
    """The items directly in a folder. Raises DamagedSnapshot when its tree is not valid."""
    if folder.size > _MOST_TREE_BYTES:
        raise DamagedSnapshot("lists more than a folder can hold", where=folder.path or ".")
    data = b"".join(read(sha256) for sha256 in content_blobs(folder, read))
    if len(data) != folder.size:
        raise DamagedSnapshot("is not as long as its folder says", where=folder.path or ".")
    return parse_tree(data, folder.path)


def content_blobs(item: Item, read: ReadBlob) -> Iterator[str]:
    """The SHA-256 of each blob of an item's content, in order; reads its lists, if it has any.

    Raises DamagedSnapshot when there are more or fewer than its size says.
    """
    left = -(-item.size // block_bytes(item.kind))
    for sha256 in _expand(item.blobs, item.depth, read):
        left -= 1
        if left < 0:
            break
        yield sha256
    if left:
        raise DamagedSnapshot("has not the blobs that its size says", where=item.path or ".")


def _expand(hashes: Sequence[str], depth: int, read: ReadBlob) -> Iterator[str]:
    if depth == 0:
        yield from hashes
        return
    for sha256 in hashes:
        yield from _expand(list_hashes(read(sha256), sha256), depth - 1, read)


def list_hashes(data: bytes, sha256: str) -> list[str]:
    """The hashes in a list of hashes, which is the blob `sha256`. Raises DamagedSnapshot."""
    if not data or len(data) % _HASH_BYTES or len(data) > _HASH_BYTES * HASHES_IN_A_LIST:
        raise DamagedSnapshot("is no list of hashes", where=sha256)
    return [data[start : start + _HASH_BYTES].hex() for start in range(0, len(data), _HASH_BYTES)]


def tree_bytes(tree: Sequence[Item]) -> bytes:
    """The content of a folder; equal items give equal bytes."""
    ordered = sorted(tree, key=lambda item: item.name)
    return json.dumps([_item_mapping(item) for item in ordered], separators=(",", ":")).encode()


def parse_tree(data: bytes, folder: str) -> Tree:
    """The items of a folder from the bytes of its tree. Raises DamagedSnapshot."""
    where = folder or "."
    values = _parsed(data, where)
    if not isinstance(values, list):
        raise DamagedSnapshot("is no list of items", where=where)
    items = tuple(_item(value, folder, is_root=False) for value in values)
    names = [item.path for item in items]
    if len(set(names)) != len(names):
        raise DamagedSnapshot("has two items of one name", where=where)
    return items


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    """The JSON of a snapshot, without its id, which depends on it."""
    values = asdict(replace(snapshot, root=Item(path="", kind="folder")))
    del values["id"]
    values["root"] = _item_mapping(snapshot.root)
    del values["root"]["name"]
    return json.dumps(values, separators=(",", ":")).encode()


def parse_snapshot(data: bytes, id: str) -> Snapshot:
    """The snapshot of these bytes. Raises DamagedSnapshot, which names it."""
    values = _parsed(data, id)
    try:
        return Snapshot(
            id=id,
            created_at=_text(values["created_at"]),
            host=_text(values["host"]),
            project=_text(values["project"]),
            modelyard=_text(values["modelyard"]),
            selection=_selection(values["selection"]),
            tag=None if values["tag"] is None else _text(values["tag"]),
            parent=None if values["parent"] is None else _matching(SNAPSHOT_ID, values["parent"]),
            indexes=tuple(_matching(_SHA256, name) for name in values["indexes"]),
            root=_item(values["root"], "", is_root=True),
            items=_number(values["items"], MOST_ITEMS),
            files=_number(values["files"], MOST_ITEMS),
            bytes=_number(values["bytes"], _MOST_BYTES),
            left_out=tuple(
                LeftOut(path=_text(one["path"]), reason=_text(one["reason"]))
                for one in values["left_out"]
            ),
            skipped=tuple(
                Skipped(path=_text(one["path"]), reason=_text(one["reason"]))
                for one in values["skipped"]
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedSnapshot(f"is no valid snapshot: {error}", where=id) from error


def _item_mapping(item: Item) -> dict[str, Any]:
    """An item as a tree holds it: its name, and what differs from the default."""
    values: dict[str, Any] = {"name": item.name, "kind": item.kind}
    for field in fields(Item):
        value = getattr(item, field.name)
        if field.name not in ("path", "kind") and value != field.default:
            values[field.name] = value
    return values


def _item(values: Any, folder: str, *, is_root: bool) -> Item:
    """The item that a tree holds for `folder`; raises DamagedSnapshot with its place."""
    try:
        kind = values["kind"]
        path = "" if is_root else _join(folder, values["name"])
        if kind not in get_args(Kind) or (is_root and kind != "folder"):
            raise ValueError(f"the kind {kind!r}")
        item = Item(
            path=path,
            kind=kind,
            mode=_number(values.get("mode", 0), 0o7777),
            mtime_ns=_number(values.get("mtime_ns", 0), 1 << 63, least=-(1 << 63)),
            size=_number(values.get("size", 0), _MOST_BYTES),
            sha256=_matching(_SHA256, values["sha256"]) if "sha256" in values else None,
            blobs=tuple(_matching(_SHA256, sha256) for sha256 in values.get("blobs", ())),
            depth=_number(values.get("depth", 0), _MOST_DEPTH),
            target=_text(values["target"]) if "target" in values else None,
            seen=_text(values.get("seen", "")),
        )
        if (item.target is not None) != (kind == "link"):
            raise ValueError("a target, which links have and nothing else")
        if item.target is not None and not leads_inside(item.path, item.target):
            raise ValueError(f"the link {path!r}, which leads out of the project")
        if (item.sha256 is not None) != (kind in ("file", "sqlite")):
            raise ValueError("a SHA-256, which files have and nothing else")
        if len(item.blobs) > _MOST_DIRECT_BLOBS or (kind == "link" and item.size + len(item.blobs)):
            raise ValueError("too many blobs")
        return item
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        where = folder or "."
        raise DamagedSnapshot(f"holds an item that is not valid: {error}", where=where) from error


def _join(folder: str, name: str) -> str:
    """The path of a name in a folder. Raises ValueError for what is no name of one item."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"the name {name!r}")
    return f"{folder}/{name}" if folder else name


def leads_inside(path: str, target: str) -> bool:
    """Whether the link at `path` stays in the project, whatever links its target leads through.

    So `..` may only begin it: behind the name of a link it would go up from where that leads.
    """
    parts = target.split("/")
    ups = len(parts) - len(list(dropwhile(lambda part: part == "..", parts)))
    is_plain = bool(target) and "\0" not in target and not target.startswith("/")
    return is_plain and ".." not in parts[ups:] and ups <= path.count("/")


def _parsed(data: bytes, where: str) -> Any:
    try:
        return parse_json(data)
    except InvalidJson as error:
        raise DamagedSnapshot(error.message, where=where) from error


def _selection(values: Any) -> Selection:
    models = values["models"]
    return Selection(
        models=None if models is None else tuple(_text(name) for name in models),
        **{
            field.name: values[field.name] is True
            for field in fields(Selection)
            if field.name != "models"
        },
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r}, where a text belongs")
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{value!r}, which does not belong there")
    return value


def _number(value: Any, most: int, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r}, where a number up to {most:,} belongs")
    return value
