"""Verifying a repository: every damage is found, and what it touches is named."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest
from pyrage.x25519 import Identity

from adapter_samples import facts, fill_with
from hand_made_snapshots import store
from killed import SOAK
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import load_version, register_version
from modelyard.backup.blob_index import IndexPart
from modelyard.backup.encryption import read_backup_key
from modelyard.backup.needed import Needed
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository, open_repository
from modelyard.backup.selection import Selection
from modelyard.backup.snapshot import make_snapshot
from modelyard.backup.verify import VerifiedRepository, verify_repository
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

TRIES = 200 * SOAK


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two snapshots of a small project, which tests copy."""
    folder = tmp_path_factory.mktemp("verify")
    project = Project(folder / "project")
    for name in ("configs", "models"):
        (project.root / name).mkdir(parents=True)
    (project.configs / "a.yaml").write_text("name: a\n")
    for run in ("1", "2"):
        register_version(project, "demo", fill=fill_with(), provenance=facts(run))
        if run == "2":
            promote_version(project, load_version(project, "demo", 1))
            (project.configs / "b.yaml").write_text("name: b\n")
        repository = open_repository((folder / "backups").as_uri(), project, make=True)
        make_snapshot(project, repository, Selection(), progress=Silent())
    return folder / "backups"


@pytest.fixture
def folder(start: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(start, tmp_path / "backups"))


def repository_at(folder: Path) -> Repository:
    return open_repository(folder.as_uri(), Project(folder))


def verify(folder: Path, share: float = 1.0, seed: int | None = None) -> VerifiedRepository:
    return verify_repository(repository_at(folder), Silent(), share=share, seed=seed)


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_whole_repository_is_found_whole(folder: Path) -> None:
    found = verify(folder)
    assert (found.ok, found.damages, found.snapshots) == (True, (), 2)
    assert (found.read_packs, found.read_bytes) == (found.packs, found.bytes)


def test_a_share_of_the_packs_is_read_and_each_time_others(folder: Path) -> None:
    packs = len(verify(folder).damages) + verify(folder).packs
    assert packs >= 2
    assert verify(folder, share=0.0).read_packs == 0
    assert verify(folder, share=0.01).read_packs == 1
    assert verify(folder, share=0.5).read_packs == -(-packs // 2)


def damage(path: Path, chance: random.Random) -> None:
    """Flip a bit, cut something out, cut the end off, or remove the whole file."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    how = chance.randrange(5)
    if how == 0:
        path.unlink()
        return
    if how == 1:
        del data[at : at + chance.randrange(1, 200)]
    elif how == 2:
        del data[at:]
    elif how == 3:
        data[at : at + 20] = bytes(byte ^ 0xFF for byte in data[at : at + 20])
    else:
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def is_found(folder: Path) -> bool:
    try:
        return not verify(folder).ok
    except ModelyardError:  # the file that says what the repository is
        return True


def test_every_damage_of_every_file_is_found(folder: Path) -> None:
    chance = random.Random(20261130)
    assert not is_found(folder)
    for number in range(TRIES):
        path = chance.choice(objects(folder))
        whole = path.read_bytes()
        damage(path, chance)
        assert is_found(folder), (number, path)
        path.write_bytes(whole)
    assert not is_found(folder)


@pytest.mark.parametrize("kind", ["packs", "indexes", "snapshots"])
def test_every_missing_file_is_found_without_reading_packs(folder: Path, kind: str) -> None:
    for path in objects(folder / kind):
        whole = path.read_bytes()
        path.unlink()
        assert not verify(folder, share=0.0).ok, path
        path.write_bytes(whole)


def test_what_a_damaged_pack_touches_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    repository = open_repository(folder.as_uri(), Project(tmp_path), make=True)
    text = b"name: a\n" * 50
    snapshot = store(repository, {"configs/a.yaml": text, "models/x": b"x"}, blobs_in_a_frame=1)
    place = repository.load_index().find(hashlib.sha256(text).hexdigest())
    assert place is not None
    pack = folder / "packs" / place.pack[:2] / place.pack
    data = bytearray(pack.read_bytes())
    data[place.at + place.length // 2] ^= 1
    pack.write_bytes(data)
    assert verify(folder, share=0.0).ok
    [damaged] = verify(folder).damages
    assert damaged.object == f"packs/{place.pack[:2]}/{place.pack}"
    touched = [(one.snapshot, one.paths) for one in damaged.touches]
    assert touched == [(snapshot.id, ("configs/a.yaml",))]
    pack.unlink()
    [damaged] = verify(folder, share=0.0).damages
    assert damaged.problem == "is missing"
    assert [one.snapshot for one in damaged.touches] == [snapshot.id]


def test_what_a_missing_snapshot_was_is_named(folder: Path) -> None:
    [gone, _] = repository_at(folder).snapshots()
    (folder / "snapshots" / gone).unlink()
    [damaged] = verify(folder, share=0.0).damages
    assert (damaged.object, damaged.problem) == (f"snapshots/{gone}", "is missing")
    assert [(one.snapshot, one.paths) for one in damaged.touches] == [(gone, (".",))]


def test_a_snapshot_that_was_removed_on_purpose_is_not_missed(folder: Path) -> None:
    repository = repository_at(folder)
    [gone, _] = repository.snapshots()
    repository.put_index(IndexPart(removed=(gone,)))
    assert verify(folder).ok  # a prune that was killed here
    (folder / "snapshots" / gone).unlink()
    assert verify(folder).ok


def test_a_missing_pack_that_nothing_needs_is_no_damage(folder: Path) -> None:
    repository = repository_at(folder)
    first, second = repository.snapshots()
    repository.put_index(IndexPart(removed=(second,)))
    (folder / "snapshots" / second).unlink()
    packs = repository.listing().packs
    unused = {pack for pack in packs if not _is_needed(repository, pack, first)}
    assert unused
    for name in unused:
        (folder / "packs" / name[:2] / name).unlink()
    assert verify(folder).ok


def test_an_encrypted_repository_is_verified_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_BACKUP_KEY", str(Identity.generate()))
    project = Project(tmp_path / "project")
    for name in ("configs", "models"):
        (project.root / name).mkdir(parents=True)
    (project.configs / "a.yaml").write_text("name: a\n")
    key = read_backup_key(None, project)
    url = (tmp_path / "encrypted").as_uri()
    repository = open_repository(url, project, make=True, key=key)
    make_snapshot(project, repository, Selection(), progress=Silent())
    assert verify_repository(repository, Silent(), share=1.0).ok
    chance = random.Random(1)
    for path in objects(tmp_path / "encrypted"):
        if path.name != "format.json":
            whole = path.read_bytes()
            damage(path, chance)
            assert not verify_repository(repository, Silent(), share=1.0).ok
            path.write_bytes(whole)


def _is_needed(repository: Repository, pack: str, snapshot: str) -> bool:
    index = repository.load_index()
    needed = Needed()
    needed.add_snapshot(repository.load_snapshot(snapshot), BlobReader(repository, index).read)
    return any(
        needed.holds(sha256) for frame in index.pack(pack).frames for sha256, _ in frame.blobs
    )
