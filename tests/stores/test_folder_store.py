"""A folder creates an object once in each way that file systems know, whoever is killed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from file_systems import mounted_exfat, refuse
from killed import interruptions
from modelyard.stores import folder as folder_module
from modelyard.stores.store import ObjectStore, StoreFailed, open_store

KEY = "adapters/demo/tags/best/000000001.json"


def without_flagged_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(source))

    monkeypatch.setattr(folder_module, "_rename_to_new", refused)


@pytest.fixture(params=["link", "rename", "claim", "exFAT"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    if request.param == "exFAT":
        with mounted_exfat(tmp_path / "disk") as disk:
            yield disk / "store"
        return
    if request.param != "link":
        refuse(monkeypatch, "link", errno.EPERM)
    if request.param == "claim":
        without_flagged_renames(monkeypatch)
    yield tmp_path / "store"


def opened(place: Path) -> ObjectStore:
    store = open_store(place.as_uri(), make=True)
    assert store is not None
    return store


def names_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_an_object_is_created_once_and_nothing_else_is_left(place: Path) -> None:
    store = opened(place)
    assert store.create(KEY, b"first")
    assert not store.create(KEY, b"second")
    assert store.read(KEY, most_bytes=100) == b"first"
    store.overwrite(KEY, b"third")
    assert store.read(KEY, most_bytes=100) == b"third"
    store.delete([KEY])
    assert store.create(KEY, b"fourth")
    assert names_in(place) == ["adapters"]


def test_of_many_that_create_at_once_one_succeeds(place: Path) -> None:
    store = opened(place)
    keys = [f"objects/{number}" for number in range(20)]
    won: list[tuple[str, bytes]] = []
    start = threading.Barrier(4)

    def create(writer: int) -> None:
        start.wait()
        for key in keys:
            data = f"{key} by {writer}".encode()
            if store.create(key, data):
                won.append((key, data))

    writers = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(key for key, _ in won) == sorted(keys)
    assert all(store.read(key, most_bytes=100) == data for key, data in won)
    assert names_in(place) == ["objects"]


def test_a_killed_creation_leaves_nothing_or_a_whole_object(place: Path) -> None:
    store = opened(place)
    left: set[bytes | None] = set()
    for _ in interruptions(lambda: store.create(KEY, b"of the killed"), "kill"):
        found = store.read(KEY, most_bytes=100)
        left.add(found)
        assert found in (None, b"of the killed")
        listed = {entry.key for entry in store.listing()}
        assert listed == (set() if found is None else {KEY})
        created = store.create(KEY, b"of the next")
        now = store.read(KEY, most_bytes=100)
        assert now == (b"of the next" if created else b"of the killed")
        store.delete([KEY])
    assert left == {None, b"of the killed"}


@pytest.fixture
def claiming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    refuse(monkeypatch, "link", errno.ENOSYS)
    without_flagged_renames(monkeypatch)
    return tmp_path / "store"


def at_rename(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Path], object]) -> None:
    """Do something right before the next rename that begins at a claim's file."""
    rename = Path.rename

    def delayed(self: Path, target: Path) -> Path:
        if self.is_file():
            monkeypatch.setattr(Path, "rename", rename)
            meanwhile(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", delayed)


def test_a_creation_that_another_process_completes_has_succeeded(
    claiming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(claiming)
    others = []
    at_rename(monkeypatch, lambda _: others.append(store.create(KEY, b"second")))
    assert store.create(KEY, b"first")
    assert others == [False]
    assert store.read(KEY, most_bytes=100) == b"first"
    assert names_in(claiming) == ["adapters"]


def test_a_claim_after_the_object_is_there_has_failed(
    claiming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(claiming)
    exists = os.path.lexists
    asked = 0

    def slow(path: Path) -> bool:
        """The second question is answered as before another process created the object."""
        nonlocal asked
        asked += 1
        found = exists(path)
        if asked == 2:
            assert store.create(KEY, b"of another")
        return found

    monkeypatch.setattr(os.path, "lexists", slow)
    assert not store.create(KEY, b"too late")
    assert store.read(KEY, most_bytes=100) == b"of another"
    assert names_in(claiming) == ["adapters"]


def test_what_was_killed_a_day_ago_is_removed(claiming: Path) -> None:
    store = opened(claiming)
    for name, age_s in (("old", 90_000), ("new", 3_600)):
        left = claiming / f"{folder_module.CREATING_PREFIX}{name}"
        left.mkdir()
        (left / "x#1").write_bytes(b"x")
        written_s = left.stat().st_mtime - age_s
        os.utime(left, (written_s, written_s))
    assert store.create(KEY, b"x")
    assert names_in(claiming) == [f"{folder_module.CREATING_PREFIX}new", "adapters"]


def test_a_file_system_with_no_way_is_said_plainly(
    claiming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(claiming)
    rename = Path.rename

    def of_files_only(self: Path, target: Path) -> Path:
        if self.is_dir():
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", of_files_only)
    with pytest.raises(StoreFailed) as refused:
        store.create(KEY, b"x")
    assert "no hard links" in refused.value.message
    assert names_in(claiming) == ["adapters"]
