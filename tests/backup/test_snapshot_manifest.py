"""What a snapshot says, and that no hostile one is believed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from modelyard.backup.manifest import (
    DamagedSnapshot,
    Item,
    LeftOut,
    Skipped,
    Snapshot,
    content_blobs,
    leads_inside,
    parse_snapshot,
    parse_tree,
    read_tree,
    snapshot_bytes,
    tree_bytes,
    walk,
)
from modelyard.backup.selection import Selection

ID = "20261130T180000Z-0123abcd"
SHA = hashlib.sha256(b"").hexdigest()
FILE = Item(path="a", kind="file", mode=0o640, mtime_ns=5, size=3, sha256=SHA, blobs=(SHA,))


class Blobs:
    """Blobs by their hash, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def keep(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self.kept[sha256] = data
        return sha256

    def folder(self, path: str, *items: Item) -> Item:
        data = tree_bytes(items)
        return Item(path=path, kind="folder", mode=0o755, size=len(data), blobs=(self.keep(data),))


def snapshot(root: Item, items: int) -> Snapshot:
    return Snapshot(
        id=ID,
        created_at="2026-11-30T18:00:00Z",
        host="here",
        project="/srv/project",
        modelyard="1.0",
        selection=Selection(models=("one",), include_datasets=True),
        tag="weekly",
        parent=ID,
        indexes=(SHA,),
        root=root,
        items=items,
        files=1,
        bytes=3,
        left_out=(LeftOut(path="logs", reason="of this machine"),),
        skipped=(Skipped(path="a", reason="cannot be read"),),
    )


def test_a_snapshot_is_read_as_it_was_written() -> None:
    written = snapshot(Blobs().folder(""), 0)
    assert parse_snapshot(snapshot_bytes(written), ID) == written


def test_a_walk_yields_every_item_with_its_path() -> None:
    blobs = Blobs()
    link = Item(path="x/l", kind="link", mode=0o777, target="../a")
    inner = blobs.folder("x", replace(FILE, path="x/b"), link)
    root = blobs.folder("", inner, FILE)
    found = list(walk(snapshot(root, 4), blobs.kept.__getitem__))
    assert [item.path for item in found] == ["a", "x", "x/b", "x/l"]
    assert found[0] == FILE and found[3] == link


@pytest.mark.parametrize("items", [1, 3])
def test_a_snapshot_that_miscounts_is_refused(items: int) -> None:
    blobs = Blobs()
    root = blobs.folder("", FILE, replace(FILE, path="b"))
    with pytest.raises(DamagedSnapshot, match="items"):
        list(walk(snapshot(root, items), blobs.kept.__getitem__))


def test_a_name_that_is_not_unicode_survives() -> None:
    odd = replace(FILE, path="caf\udce9")
    assert parse_tree(tree_bytes([odd]), "") == (odd,)


def test_many_hashes_are_read_through_lists() -> None:
    blobs = Blobs()
    pages = [hashlib.sha256(bytes([number % 256])).digest() for number in range(1500)]
    lists = (blobs.keep(b"".join(pages[:1024])), blobs.keep(b"".join(pages[1024:])))
    one = Item(path="db", kind="sqlite", size=1500 * 16384, sha256=SHA, blobs=lists, depth=1)
    assert list(content_blobs(one, blobs.kept.__getitem__)) == [page.hex() for page in pages]
    for size in (1499 * 16384, 1501 * 16384):
        with pytest.raises(DamagedSnapshot, match="its size says"):
            list(content_blobs(replace(one, size=size), blobs.kept.__getitem__))


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"x" * 32 * 1025])
def test_lists_that_are_no_lists_are_refused(data: bytes) -> None:
    blobs = Blobs()
    item = replace(FILE, blobs=(blobs.keep(data),), depth=1)
    with pytest.raises(DamagedSnapshot, match="no list"):
        list(content_blobs(item, blobs.kept.__getitem__))


def test_a_tree_that_is_not_as_long_as_its_folder_says_is_refused() -> None:
    blobs = Blobs()
    with pytest.raises(DamagedSnapshot, match="not as long"):
        read_tree(replace(blobs.folder("", FILE), size=5), blobs.kept.__getitem__)


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("models/trained/a", "../versions/a/3", True),
        ("a", "b", True),
        ("x/a", "..", True),
        ("a", "..", False),
        ("x/a", "../../b", False),
        ("x/a", "/etc/passwd", False),
        ("x/a", "b/../../..", False),
        ("x/a", "", False),
    ],
)
def test_links_lead_inside_whatever_they_lead_through(
    path: str, target: str, expected: bool
) -> None:
    assert leads_inside(path, target) is expected


HOSTILE: list[dict[str, Any]] = [
    *({"name": name} for name in ("..", ".", "", "/etc/passwd", "a/b", "a\0b", 7, None)),
    *({"kind": kind} for kind in ("device", "folder", "link", None)),
    {"kind": "link", "target": "../../etc"},
    {"target": "b"},
    *({"mode": mode} for mode in (0o104755, -1)),
    *({"size": size} for size in (1 << 60, True, "3")),
    *({"sha256": sha256} for sha256 in ("../x", None)),
    *({"blobs": blobs} for blobs in (["x"], [SHA] * 1025, 5)),
    {"depth": 9},
]


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_item_is_refused(change: dict[str, Any]) -> None:
    values = json.loads(tree_bytes([FILE]))
    values[0].update(change)
    with pytest.raises(DamagedSnapshot, match="not valid"):
        parse_tree(json.dumps(values).encode(), "")


@pytest.mark.parametrize("data", [b"", b"{}", b"7", b"[7]", b"[[]]", b"\xff", b"[" * 100_000])
def test_what_is_no_tree_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedSnapshot):
        parse_tree(data, "x")


def test_two_items_of_one_name_are_refused() -> None:
    values = json.loads(tree_bytes([FILE]))
    with pytest.raises(DamagedSnapshot, match="one name"):
        parse_tree(json.dumps(values * 2).encode(), "")


def test_folders_without_end_are_refused() -> None:
    blobs = Blobs()
    folder = blobs.folder("a")
    for _ in range(200):
        folder = blobs.folder("a", folder)
    with pytest.raises(DamagedSnapshot, match="too deeply"):
        list(walk(snapshot(folder, 10_000), blobs.kept.__getitem__))


@pytest.mark.parametrize(
    "change",
    [{"items": -1}, {"root": 3}, {"parent": "x"}, {"tag": 5}, {"left_out": [1]}, {"selection": {}}],
)
def test_a_hostile_snapshot_is_refused(change: dict[str, Any]) -> None:
    values = json.loads(snapshot_bytes(snapshot(Blobs().folder(""), 0)))
    with pytest.raises(DamagedSnapshot):
        parse_snapshot(json.dumps({**values, **change}).encode(), ID)
    for name in values:
        with pytest.raises(DamagedSnapshot):
            parse_snapshot(json.dumps({k: v for k, v in values.items() if k != name}).encode(), ID)
