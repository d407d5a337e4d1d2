"""Copying snapshots into another repository, under its own key, in a folder and in a bucket."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from upkeep_samples import (
    SILENT,
    backdated,
    contents,
    repository_in,
    small_project,
    take,
    write_config,
)

from faulty_store import How, MakeFaulty, faults
from modelyard.backup.copying import CopyResult, copy_snapshots
from modelyard.backup.encryption import Key, read_backup_key
from modelyard.backup.pending import write_mark
from modelyard.backup.repository import DamagedRepository, Repository, open_repository, pack_key
from modelyard.backup.verify import verify_repository
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from s3_server import serving_guarded_s3


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


@pytest.fixture
def source(tmp_path: Path, project: Project) -> Repository:
    return repository_in(tmp_path / "source", project)


@pytest.fixture
def target(tmp_path: Path, project: Project) -> Repository:
    return repository_in(tmp_path / "target", project)


def two_snapshots(project: Project, source: Repository) -> list[str]:
    first = backdated(source, take(project, source, "weekly"), "2026-11-01T00:00:00Z")
    write_config(project, 3, seed=77)
    return [first, take(project, source)]


def copy(source: Repository, target: Repository, *names: str, dry_run: bool = False) -> CopyResult:
    return copy_snapshots(source, target, names, progress=SILENT, dry_run=dry_run)


def test_every_snapshot_is_copied_once(
    project: Project, source: Repository, target: Repository
) -> None:
    ids = two_snapshots(project, source)
    planned = copy(source, target, dry_run=True)
    assert target.snapshots() == () and [one.target for one in planned.snapshots] == [None, None]
    done = copy(source, target)
    assert [(one.snapshot, one.copied) for one in done.snapshots] == [(id, True) for id in ids]
    assert done.read_bytes == planned.read_bytes > 220_000 and done.stored_bytes > 200_000
    for one in done.snapshots:
        assert one.target is not None
        assert contents(target, one.target) == contents(source, one.snapshot)
    first, second = (target.load_snapshot(one.target or "") for one in done.snapshots)
    assert first.tag == "weekly" and second.parent == first.id
    before = target.store.listing("packs/")
    again = copy(source, target)
    assert [one.copied for one in again.snapshots] == [False, False]
    assert [one.target for one in again.snapshots] == [one.target for one in done.snapshots]
    assert again.stored_bytes == 0 and target.store.listing("packs/") == before


def test_a_later_copy_takes_only_what_is_new(
    project: Project, source: Repository, target: Repository
) -> None:
    ids = two_snapshots(project, source)
    copy(source, target, ids[0])
    done = copy(source, target, "latest")
    assert [one.snapshot for one in done.snapshots] == [ids[1]]
    assert 20_000 < done.read_bytes < 40_000
    assert contents(target, done.snapshots[0].target or "") == contents(source, ids[1])


def test_copies_of_snapshots_of_one_second_keep_their_order(
    project: Project, source: Repository, target: Repository
) -> None:
    ids = []
    for seed in range(6):
        write_config(project, 3, seed=seed)
        ids.append(take(project, source))
    made = [(one.snapshot, one.target) for one in copy(source, target).snapshots]
    assert [id for id, _ in made] == ids == list(source.snapshots())
    assert [id for _, id in made] == list(target.snapshots())
    newest = target.load_snapshot("latest")
    assert newest.root == source.load_snapshot("latest").root


def test_a_copy_is_encrypted_for_the_target_s_key(
    project: Project, source: Repository, tmp_path: Path
) -> None:
    ids = two_snapshots(project, source)
    key = Key("file:k", identities=(str(pyrage.x25519.Identity.generate()),))
    url = (tmp_path / "sealed").as_uri()
    target = open_repository(url, project, make=True, key=key)
    copied = copy(source, target).snapshots
    opened = open_repository(url, project, key=key)
    assert contents(opened, copied[1].target or "") == contents(source, ids[1])
    secret = contents(source, ids[1])["configs/embedding_models/3.yaml"][:64]
    held = b"".join(path.read_bytes() for path in tmp_path.glob("sealed/**/*") if path.is_file())
    assert secret not in held and b"embedding_models" not in held
    assert not any(one.copied for one in copy(source, opened).snapshots)
    back = repository_in(tmp_path / "back", project)
    assert contents(back, copy(opened, back).snapshots[1].target or "") == contents(source, ids[1])


def test_a_copy_goes_to_a_bucket(
    project: Project, source: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = two_snapshots(project, source)
    with serving_guarded_s3(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        target = open_repository("s3://registry/team/backups", project, make=True)
        done = copy(source, target)
        assert contents(target, done.snapshots[1].target or "") == contents(source, ids[1])
        assert not any(one.copied for one in copy(source, target).snapshots)
        back = repository_in(tmp_path / "back", project)
        assert contents(back, copy(target, back, "latest").snapshots[0].target or "") == contents(
            source, ids[1]
        )


def test_what_is_pending_in_the_target_is_stored_again(
    project: Project, source: Repository, target: Repository
) -> None:
    ids = two_snapshots(project, source)
    copy(source, target, ids[0])
    write_mark(target.store, target.listing().packs)
    pending = set(target.listing().packs)
    done = copy(source, target, ids[1])
    assert done.read_bytes > 200_000
    target.store.delete([pack_key(name) for name in pending])
    assert contents(target, done.snapshots[0].target or "") == contents(source, ids[1])


def test_damage_in_the_source_never_reaches_the_target(
    project: Project, source: Repository, target: Repository
) -> None:
    two_snapshots(project, source)
    assert source.store.folder is not None
    for name in source.listing().packs:
        place = source.store.folder / pack_key(name)
        data = bytearray(place.read_bytes())
        data[5000] ^= 1
        place.write_bytes(data)
    with pytest.raises(DamagedRepository, match="damaged"):
        copy(source, target)
    assert target.snapshots() == ()


def test_the_same_repository_and_unknown_names_are_refused(
    project: Project, source: Repository, target: Repository
) -> None:
    two_snapshots(project, source)
    with pytest.raises(InvalidInput, match="same repository"):
        copy(source, source)
    with pytest.raises(InvalidInput, match="there is no snapshot"):
        copy(source, target, "20200101T000000Z-00000000")


@pytest.mark.parametrize("how", ["error", "short", "lost"])
def test_a_fault_at_any_call_loses_nothing_and_the_next_copy_completes(
    project: Project, source: Repository, target: Repository, how: How
) -> None:
    ids = two_snapshots(project, source)
    expected = {id: contents(source, id) for id in ids}

    def check() -> None:
        for id in target.snapshots():
            created = target.load_snapshot(id).created_at
            same = next(one for one in ids if source.load_snapshot(one).created_at == created)
            assert contents(target, id) == expected[same]

    def work(make_faulty: MakeFaulty) -> None:
        copy(source, replace(target, store=make_faulty(target.store)))

    for number in faults(work, how, each=8):
        check()
        assert verify_repository(target, SILENT, share=1.0).ok, number
        assert len(copy(source, target).snapshots) == 2, number
        assert len(target.snapshots()) == 2, number
        check()
        target.store.delete(
            [entry.key for entry in target.store.listing() if entry.key != "format.json"]
        )


def test_a_key_in_the_environment_opens_the_copy(
    project: Project, source: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_snapshots(project, source)
    monkeypatch.setenv("COPY_KEY", str(pyrage.x25519.Identity.generate()))
    key = read_backup_key("env:COPY_KEY", project)
    url = (tmp_path / "sealed").as_uri()
    copy(source, open_repository(url, project, make=True, key=key))
    with pytest.raises(InvalidInput, match="no key was given"):
        open_repository(url, project)
    assert os.environ["COPY_KEY"] not in (tmp_path / "sealed" / "format.json").read_text()
