"""A repository: objects under the hash of their bytes, found again, and checked when read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backup.blob_index import Frame, IndexPart, Pack, index_bytes, parse_index
from modelyard.backup.compression import DamagedData, compress, decompress
from modelyard.backup.manifest import Item, Snapshot
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import (
    DamagedRepository,
    NoRepository,
    Repository,
    open_repository,
    pack_key,
)
from modelyard.backup.selection import Selection
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.layout import Project

SNAPSHOT = Snapshot(
    created_at="2026-11-30T18:00:00Z",
    host="here",
    project="/srv/project",
    modelyard="1.0",
    selection=Selection(),
    root=Item(path="", kind="folder"),
    items=0,
    files=0,
    bytes=0,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def repository(project: Project) -> Repository:
    return open_repository(None, project, make=True)


def store_blobs(repository: Repository, *blobs: bytes) -> Pack:
    """One pack with one compressed frame of these blobs, and its index."""
    stored = compress(b"".join(blobs))
    name, size = repository.put_pack(stored)
    held = tuple((hashlib.sha256(blob).hexdigest(), len(blob)) for blob in blobs)
    pack = Pack(name, size, (Frame(0, len(stored), "zstd", held),))
    repository.put_index(IndexPart(packs=(pack,)))
    return pack


def test_a_repository_is_made_once_and_found_again(project: Project) -> None:
    with pytest.raises(NoRepository):
        open_repository(None, project)
    made = open_repository(None, project, make=True)
    assert open_repository(None, project).id == made.id
    assert open_repository(project.backups.as_uri(), project, make=True).id == made.id


def test_a_new_folder_is_its_owners_alone(project: Project, tmp_path: Path) -> None:
    open_repository(None, project, make=True)
    assert project.backups.stat().st_mode & 0o777 == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    open_repository(shared.as_uri(), project, make=True)
    assert shared.stat().st_mode & 0o777 == 0o755
    with pytest.raises(ModelyardError, match="another machine"):
        open_repository(f"file://elsewhere{tmp_path}/new", project, make=True)
    assert not (tmp_path / "new").exists()


def test_a_repository_is_not_made_among_other_files(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    elsewhere.mkdir()
    (elsewhere / "notes.txt").touch()
    with pytest.raises(InvalidInput, match=r"holds other things, such as 'notes\.txt'"):
        open_repository(elsewhere.as_uri(), project, make=True)
    (elsewhere / "notes.txt").rename(elsewhere / "format.json#1")  # as a killed writer leaves it
    open_repository(elsewhere.as_uri(), project, make=True)
    assert (elsewhere / "format.json").exists()


def test_a_blob_is_found_and_read(repository: Repository) -> None:
    pack = store_blobs(repository, b"first", b"second")
    index = repository.load_index()
    second = hashlib.sha256(b"second").hexdigest()
    place = index.find(second)
    assert place is not None and (place.pack, place.skip, place.size) == (pack.name, 5, 6)
    assert BlobReader(repository, index).read(second) == b"second"
    assert index.find(hashlib.sha256(b"third").hexdigest()) is None
    assert index.packs() == {pack.name: pack.size} == repository.listing().packs
    assert index.without({pack.name}).find(second) is None


def test_a_snapshot_is_found_by_its_id_by_its_beginning_and_as_the_latest(
    repository: Repository,
) -> None:
    with pytest.raises(NoData):
        repository.load_snapshot("latest")
    first = repository.put_snapshot(SNAPSHOT)
    second = repository.put_snapshot(replace(SNAPSHOT, created_at="2026-11-30T19:00:00Z"))
    assert repository.snapshots() == (first.id, second.id) == repository.listing().snapshots
    assert repository.load_snapshot("latest") == second
    assert repository.load_snapshot(first.id) == repository.load_snapshot(first.id[:13]) == first
    with pytest.raises(InvalidInput, match="2 snapshots begin"):
        repository.load_snapshot("20261130")
    with pytest.raises(InvalidInput, match="there is no snapshot"):
        repository.load_snapshot("lasted")


def test_snapshots_of_one_second_have_ids_in_their_order(repository: Repository) -> None:
    ids: list[str] = []
    for number in range(5):
        made = replace(SNAPSHOT, tag=str(number))
        ids.append(repository.put_snapshot(made, after=ids[-1] if ids else None).id)
    assert list(repository.snapshots()) == ids == sorted(ids)
    assert repository.load_snapshot("latest").tag == "4"
    wrong_clock = replace(SNAPSHOT, created_at="2036-01-01T00:00:00Z")
    later = repository.put_snapshot(SNAPSHOT, after=repository.put_snapshot(wrong_clock).id)
    assert later.id.startswith("20261130T180000Z")


def test_snapshots_that_are_complete_are_missed_until_they_are_removed(
    repository: Repository,
) -> None:
    id = repository.put_snapshot(SNAPSHOT).id
    repository.put_index(IndexPart(snapshots=(id,)))
    assert repository.load_index().snapshots == {id}
    repository.put_index(IndexPart(removed=(id,)))
    assert repository.load_index().snapshots == set()


def test_a_changed_or_missing_object_is_found(repository: Repository, project: Project) -> None:
    pack = store_blobs(repository, b"first")
    id = repository.put_snapshot(SNAPSHOT).id
    index = next((project.backups / "indexes").iterdir())
    for place, read in (
        (project.backups / pack_key(pack.name), lambda: repository.read_pack(pack.name)),
        (index, repository.load_index),
        (project.backups / "snapshots" / id, lambda: repository.load_snapshot(id)),
    ):
        data = place.read_bytes()
        place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(DamagedRepository, match="was changed"):
            read()
        place.write_bytes(data)
        read()
    (project.backups / pack_key(pack.name)).unlink()
    with pytest.raises(DamagedRepository, match="is missing"):
        repository.read_pack(pack.name)


def test_every_changed_byte_of_the_format_is_found(project: Project) -> None:
    open_repository(None, project, make=True)
    place = project.backups / "format.json"
    data = place.read_bytes()
    for at in range(len(data)):
        place.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ModelyardError):
            open_repository(None, project)


def test_a_newer_format_is_named(project: Project) -> None:
    open_repository(None, project, make=True)
    place = project.backups / "format.json"
    place.write_text(json.dumps({**json.loads(place.read_bytes()), "version": 2}))
    with pytest.raises(ModelyardError, match="has format 2"):
        open_repository(None, project)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = compress(bytes(1 << 24))
    assert len(bomb) < 2000
    with pytest.raises(DamagedData, match="larger"):
        decompress(bomb, most_bytes=1 << 20, where="a pack")
    for damaged in (b"", b"no zstd", bomb[:-5], bomb + b"more"):
        with pytest.raises(DamagedData):
            decompress(damaged, most_bytes=1 << 30, where="a pack")


@pytest.mark.parametrize(
    "old,new",
    [
        ('"zstd"', '"lzma"'),
        ('"at":0', '"at":-1'),
        ('"length":5', '"length":"5"'),
        ('"snapshots":[]', '"snapshots":["../x"]'),
        ('"packs"', '"backs"'),
        (",5]]", ",17000000]]"),
        ("[[", "[[["),
    ],
)
def test_a_hostile_index_is_refused(old: str, new: str) -> None:
    sha256 = hashlib.sha256(b"").hexdigest()
    part = IndexPart(packs=(Pack(sha256, 5, (Frame(0, 5, "zstd", ((sha256, 5),)),)),))
    data = index_bytes(part)
    assert parse_index(data, where="here") == part
    assert old in data.decode()
    with pytest.raises(ModelyardError):
        parse_index(data.decode().replace(old, new).encode(), where="here")
