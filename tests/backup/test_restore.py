"""Restoring into a new folder: exactly what was backed up, or nothing and why."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hand_made_snapshots import MTIME_NS, Content, Link, Pages, sqlite_bytes, store
from modelyard.backup import write_items
from modelyard.backup.chosen_items import require_distinct
from modelyard.backup.compression import DamagedData
from modelyard.backup.in_place import restore_in_place
from modelyard.backup.manifest import DamagedSnapshot, Item
from modelyard.backup.repository import DamagedRepository, Repository, open_repository
from modelyard.backup.restore import Restored, restore_to
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.core.progress import Silent
from small_disk import mounted_disk, remount


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return open_repository((tmp_path / "backups").as_uri(), Project(tmp_path), make=True)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, Content]:
    noise = random.Random(1)
    return {
        "configs/a.yaml": b"name: a\n",
        "configs/empty.yaml": b"",
        "configs/same.yaml": b"name: a\n",
        "datasets": None,
        "models/embeddings/docs/docs@12345678.index": Pages(sqlite_bytes(tmp_path / "db", 2_000)),
        "models/trained/demo": Link("../versions/demo/1"),
        "models/versions/demo/1/adapter.safetensors": noise.randbytes((16 << 20) + 12_345),
        "models/versions/demo/1/MANIFEST.json": b"{}",
        "models/versions/demo/2/MANIFEST.json": b"{ }",
        "models/versions/other/1/MANIFEST.json": b"{}\n",
    }


def restore(repository: Repository, folder: Path, **options: Any) -> Restored:
    return restore_to(repository, "latest", folder, Silent(), **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def found(folder: Path) -> dict[str, Content]:
    """What is below a folder, as `store` takes it."""
    contents: dict[str, Content] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            contents[name] = Link(str(path.readlink()))
        elif path.is_file():
            data = path.read_bytes()
            contents[name] = Pages(data) if name.endswith(".index") else data
        elif not any(path.iterdir()):
            contents[name] = None
    return contents


def test_everything_comes_back_as_it_was(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents)
    restored = restore(repository, work / "new")
    assert found(work / "new") == contents
    assert (restored.files, restored.dry_run) == (9 - 1, False)
    for path in (work / "new").rglob("*"):
        status = path.lstat()
        assert status.st_mtime_ns == MTIME_NS, path
        if not path.is_symlink():
            assert status.st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path
    assert names(work) == ["new"]


def test_a_dry_run_writes_nothing(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents)
    assert restore(repository, work / "new", dry_run=True).files == 8
    assert not (work / "new").exists()


def test_only_what_is_named_comes_back(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents)
    restore(repository, work / "models", models=["demo"])
    assert found(work / "models") == {
        path: content for path, content in contents.items() if "/demo" in path
    }
    restore(repository, work / "paths", only=["configs/a.yaml", "./models/versions/other/"])
    assert found(work / "paths").keys() == {
        "configs/a.yaml",
        "models/versions/other/1/MANIFEST.json",
    }


def test_what_is_left_out_is_not_even_read(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents, blobs_in_a_frame=1)
    for pack in packs(repository):
        data = bytearray(pack.read_bytes())
        if len(data) > 16 << 20:
            data[8 << 20] ^= 1
            pack.write_bytes(data)
    with pytest.raises((DamagedRepository, DamagedData)):
        restore(repository, work / "new")
    restore(repository, work / "new", without=["models/versions/demo/1/adapter.safetensors"])
    assert found(work / "new") == {
        path: content
        for path, content in contents.items()
        if not path.startswith("models/versions/demo/1/")
    }
    with pytest.raises(InvalidInput, match="no 'configs/nothing'"):
        restore(repository, work / "other", without=["configs/nothing"])


def test_what_the_snapshot_lacks_is_named(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents)
    with pytest.raises(InvalidInput, match=r"no adapter 'demmo' .*demo"):
        restore(repository, work / "new", models=["demmo"])
    with pytest.raises(InvalidInput, match=r"no 'config' .*configs"):
        restore(repository, work / "new", only=["config"])


def test_a_folder_that_exists_is_left_alone(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents)
    (work / "new").mkdir()
    with pytest.raises(InvalidInput, match="exists already"):
        restore(repository, work / "new")


def test_bits_that_run_a_program_as_its_owner_do_not_come_back(
    repository: Repository, work: Path
) -> None:
    store(repository, {"a": b"#!/bin/sh\n"}, change=lambda item: replace(item, mode=0o6755))
    restore(repository, work / "new")
    assert (work / "new" / "a").stat().st_mode & 0o7777 == 0o755


# Damage.


def packs(repository: Repository) -> list[Path]:
    assert repository.store.folder is not None
    return sorted((repository.store.folder / "packs").glob("*/*"))


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_block_never_reaches_a_file(
    repository: Repository, contents: dict[str, Content], work: Path, seed: int
) -> None:
    store(repository, contents)
    chance = random.Random(seed)
    refused = 0
    for number in range(6):
        pack = chance.choice(packs(repository))
        whole = pack.read_bytes()
        damaged = bytearray(whole)
        at = chance.randrange(len(damaged))
        if number % 3 == 0:
            del damaged[at : at + chance.randrange(1, 100)]
        else:
            damaged[at] ^= 1 << chance.randrange(8)
        pack.write_bytes(damaged)
        try:
            restore(repository, work / "new")
        except (DamagedRepository, DamagedData):
            refused += 1
            assert names(work) == []
        else:  # what was damaged is the random end of a pack, which belongs to no blob
            assert found(work / "new") == contents
            shutil.rmtree(work / "new")
        pack.write_bytes(whole)
    assert refused >= 3


def test_a_file_that_is_not_the_one_of_its_hash_is_refused(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    def swapped(item: Item) -> Item:
        return replace(item, blobs=item.blobs[::-1]) if item.kind == "sqlite" else item

    del contents["models/trained/demo"]
    store(repository, contents, change=swapped)
    with pytest.raises(DamagedSnapshot, match="not the file that was backed up"):
        restore_in_place(Project(work), repository, "latest", Silent())
    assert not (work / "models").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"size": 1 << 50},
        {"size": 9},
        {"mtime_ns": 1 << 63},
        {"path": "configs/\ud800"},
        {"blobs": ("0" * 64,)},
    ],
)
def test_an_item_that_cannot_be_is_refused(
    repository: Repository, work: Path, change: dict[str, Any]
) -> None:
    def changed(item: Item) -> Item:
        return replace(item, **change) if item.path == "configs/a.yaml" else item

    store(repository, {"configs/a.yaml": b"name: a\n"}, change=changed)
    with pytest.raises(ModelyardError):
        restore(repository, work / "new")
    assert names(work) == []


def test_names_that_the_disk_takes_for_one_are_refused(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        Item(path=path, kind="file", sha256="0" * 64)
        for path in ("configs/A.yaml", "configs/a.yaml", "e\u0301", "\u00e9")
    ]
    require_distinct(items, work)  # this disk tells them apart
    monkeypatch.setattr("modelyard.backup.chosen_items._takes_for_one", lambda *names: True)
    for pair in (items[:2], items[2:]):
        with pytest.raises(InvalidInput, match="for one path"):
            require_distinct(pair, work)


# Disks.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", "40m") as place:
        yield place


def test_a_disk_without_room_is_found_before_anything_is_written(
    repository: Repository, contents: dict[str, Content], disk: Path
) -> None:
    store(repository, contents)
    (disk / "full").write_bytes(bytes(10 << 20))
    with pytest.raises(NoSpace, match="restoring it needs"):
        restore(repository, disk / "new")
    assert names(disk) == ["full"]


def test_a_disk_that_fills_meanwhile_is_left_as_it_was(
    repository: Repository,
    contents: dict[str, Content],
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store(repository, contents)
    monkeypatch.setattr("modelyard.backup.restore.require_room", lambda chosen, folder: None)
    (disk / "full").write_bytes(bytes(30 << 20))
    with pytest.raises(NoSpace, match="no space left"):
        restore(repository, disk / "new")
    assert names(disk) == ["full"]


def test_a_read_only_disk_is_named(
    repository: Repository, contents: dict[str, Content], disk: Path
) -> None:
    store(repository, contents)
    remount(disk, "ro")
    with pytest.raises(ModelyardError, match="Read-only") as caught:
        restore(repository, disk / "new")
    assert "read-only" in (caught.value.hint or "")


def test_every_thread_gives_its_files_back_when_one_fails(
    repository: Repository, contents: dict[str, Content], work: Path
) -> None:
    store(repository, contents)
    pack = max(packs(repository), key=lambda path: path.stat().st_size)
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    before = len(names(Path("/proc/self/fd")))
    with pytest.raises(DamagedRepository):
        restore(repository, work / "new")
    assert len(names(Path("/proc/self/fd"))) == before
    assert write_items._THREADS > 1


def test_only_what_was_staged_for_this_folder_is_swept(
    repository: Repository, contents: dict[str, Content], tmp_path: Path
) -> None:
    store(repository, contents)
    left = tmp_path / f"{STAGING_PREFIX}0123abcd-new[1]*"
    others = [
        tmp_path / f"{STAGING_PREFIX}{name}"
        for name in ("0123abcd-my-new[1]*", "0123abcd-new1", "other-0123abcd-new[1]*")
    ]
    for folder in (left, *others):
        folder.mkdir()
    restore(repository, tmp_path / "new[1]*")
    assert not left.exists() and all(folder.exists() for folder in others)


def test_a_mounted_disk_is_not_the_new_folder_and_one_in_it_is(
    repository: Repository, contents: dict[str, Content], tmp_path: Path
) -> None:
    store(repository, contents)
    (tmp_path / "disk").mkdir()
    with pytest.raises(InvalidInput, match="exists already") as refused:
        restore(repository, tmp_path / "disk")
    assert f"{tmp_path}/disk/restored" in str(refused.value.hint)
