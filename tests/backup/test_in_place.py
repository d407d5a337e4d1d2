"""Restoring over a project: what comes back, what never does, and what becomes of the rest."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter_samples import facts, fill_with
from hand_made_snapshots import Content, Link, contents_of, store
from modelyard.adapters.gc import load_pins, pin_version
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import (
    active_number,
    adapter_lock,
    highest_number,
    list_adapters,
    load_version,
    register_version,
    version_numbers,
)
from modelyard.answering.forget_organisation import forget_organisation
from modelyard.backup.in_place import (
    RestoredInPlace,
    discard_replaced,
    kept_restores,
    restore_in_place,
    undo_restore,
)
from modelyard.backup.manifest import DamagedSnapshot, Item, Snapshot
from modelyard.backup.repository import DamagedRepository, Repository, open_repository
from modelyard.chatdata.feedback import Feedback, list_feedback, record_feedback
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.files import LockHeld
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.core.progress import Silent
from modelyard.core.state import open_state
from modelyard.records.backup_run import BackupRun, last_good_run, record_backup_run
from small_disk import mounted_disk, remount


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return open_repository((tmp_path / "backups").as_uri(), Project(tmp_path), make=True)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two adapters, configs, feedback and a ledger, which tests copy."""
    project = Project(tmp_path_factory.mktemp("start") / "project")
    for name in ("configs/profiles", "models", "datasets"):
        (project.root / name).mkdir(parents=True)
    (project.configs / "a.yaml").write_text("name: a\n")
    (project.configs / "profiles" / "b.yaml").write_text("name: b\n")
    for adapter, org in (("demo", "techcorp"), ("marigold-tone", "marigold")):
        for run in (1, 2):
            facts_of_run = facts(f"{adapter}-{run}", org=org)
            register_version(project, adapter, fill=fill_with(), provenance=facts_of_run)
    promote_version(project, load_version(project, "demo", 1))
    promote_version(project, load_version(project, "marigold-tone", 2))
    pin_version(project, "demo", 1)
    for org in (None, "marigold"):
        record_feedback(
            project, [Feedback(prompt=f"Of {org}", answer="No.", rating="good", org=org)]
        )
    spend(project, 100)
    return project.root


@pytest.fixture
def project(start: Path, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(start, tmp_path / "project", symlinks=True)))


def spend(project: Project, nano_usd: int) -> None:
    row = ("production", "", "2026-11-30", nano_usd)
    with open_state(project) as state:
        state.execute("INSERT OR REPLACE INTO spending VALUES (?, ?, ?, ?, 0)", row)


def spent(project: Project) -> int:
    with open_state(project) as state:
        return int(state.execute("SELECT nano_usd FROM spending").fetchone()[0])


def back_up(
    project: Project, repository: Repository, contents: Mapping[str, Content] | None = None
) -> Snapshot:
    """A snapshot of the project, or of other contents, with the modes that its files have."""

    def with_mode(item: Item) -> Item:
        place = project.root / item.path
        return replace(item, mode=place.stat().st_mode & 0o777) if place.exists() else item

    return store(repository, contents or contents_of(project), change=with_mode)


def restore(project: Project, repository: Repository, **options: Any) -> RestoredInPlace:
    return restore_in_place(project, repository, "latest", Silent(), **options)


def files(project: Project) -> Mapping[str, Content]:
    """Everything but databases, of which two are rarely the same bytes."""
    return {
        path: content for path, content in contents_of(project).items() if not path.endswith(".db")
    }


def test_an_unchanged_project_is_left_as_it_is(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    restored = restore(project, repository)
    assert (restored.put_back, restored.moved_away, restored.kept) == ((), (), ())
    assert restored.state


def test_what_was_changed_removed_and_added_is_as_it_was(
    project: Project, repository: Repository
) -> None:
    before = files(project)
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: broken\n")
    shutil.rmtree(project.configs / "profiles")
    (project.configs / "new.yaml").write_text("name: new\n")
    shutil.rmtree(project.adapter_version("demo", 1))
    (project.adapter_version("demo", 2) / "MANIFEST.json").chmod(0o640)
    (project.adapter_version("demo", 2) / "MANIFEST.json").write_text("{}")
    project.trained_link("demo").unlink()
    restored = restore(project, repository)
    assert files(project) == before
    assert set(restored.put_back) == {
        "configs/a.yaml",
        "configs/profiles/b.yaml",
        "models/trained/demo",
        "models/versions/demo/1",
        "models/versions/demo/2",
    }
    assert restored.moved_away == ("configs/new.yaml",)
    assert restored.replaced_in is not None
    kept = project.root / restored.replaced_in
    assert (kept / "configs" / "a.yaml").read_text() == "name: broken\n"
    assert (kept / "configs" / "new.yaml").read_text() == "name: new\n"
    assert (kept / "models/versions/demo/2/MANIFEST.json").read_text() == "{}"
    assert not (kept.parent / "new").exists()
    assert not project.restoring.is_symlink()


def test_the_rows_of_the_state_come_back_and_the_restore_is_recorded(
    project: Project, repository: Repository
) -> None:
    snapshot = back_up(project, repository)
    promote_version(project, load_version(project, "demo", 2))
    pin_version(project, "marigold-tone", 2)
    record_feedback(project, [Feedback(prompt="Later", answer="No.", rating="bad")])
    restore(project, repository)
    assert active_number(project, "demo") == 1
    assert [move.to_version for move in pointer_history(project, "demo")] == [1]
    assert load_pins(project) == {"demo": {1: None}}
    assert {row.prompt for row in list_feedback(project)} == {"Of None", "Of marigold", "Later"}
    audit = last_good_run(project, "restore")
    assert audit is not None
    assert (audit.snapshot, audit.repository) == (snapshot.id, repository.store.url)
    promote_version(project, load_version(project, "demo", 2))
    assert [move.to_version for move in pointer_history(project, "demo")] == [1, 2]


def test_versions_made_since_stay_and_no_number_is_used_twice(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    newer = facts("newer")
    register_version(project, "demo", fill=fill_with(), provenance=newer)
    restored = restore(project, repository)
    assert version_numbers(project, "demo") == [1, 2, 3]
    assert [kept.path for kept in restored.kept] == ["models/versions/demo/.highest-number"]
    shutil.rmtree(project.adapter_version("demo", 3))
    assert highest_number(project, "demo") == 3


def test_what_was_spent_stays_spent(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    spend(project, 500)
    restore(project, repository)
    assert spent(project) == 500
    spend(project, 20)  # as in a ledger that was lost
    restore(project, repository)
    assert spent(project) == 100


def test_reservations_that_were_settled_since_the_backup_stay_settled(
    project: Project, repository: Repository
) -> None:
    row = "INSERT INTO reservations VALUES (1, 'production', '', '2026-11-30', 'x', 7, 1, NULL)"
    with open_state(project) as state:
        state.execute(row)
    snapshot = back_up(project, repository)
    with open_state(project) as state:
        state.execute("DELETE FROM reservations")
    run = BackupRun(kind="backup", repository="r", snapshot=snapshot.id, ok=True, made_by="x")
    record_backup_run(project, run)
    restore(project, repository)
    with open_state(project) as state:
        assert state.execute("SELECT count(*) FROM reservations").fetchone()[0] == 0


def test_who_was_forgotten_stays_forgotten(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    forget_organisation(project, "marigold", adapters=True)
    restored = restore(project, repository)
    assert list_adapters(project) == ["demo"]
    assert not project.trained_link("marigold-tone").is_symlink()
    assert [row.prompt for row in list_feedback(project)] == ["Of None"]
    assert {kept.path for kept in restored.kept} >= {
        "models/versions/marigold-tone/1",
        "models/versions/marigold-tone/2",
        "models/trained/marigold-tone",
    }


def test_only_named_adapters_come_back_with_their_history(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: later\n")
    for name in ("demo", "marigold-tone"):
        shutil.rmtree(project.adapter_version(name, 2))
    promote_version(project, load_version(project, "marigold-tone", 1))
    spend(project, 20)
    restored = restore(project, repository, models=["demo"])
    assert not restored.state
    assert version_numbers(project, "demo") == [1, 2]
    assert version_numbers(project, "marigold-tone") == [1]
    assert (project.configs / "a.yaml").read_text() == "name: later\n"
    assert active_number(project, "marigold-tone") == 1
    assert spent(project) == 20


def test_configs_that_were_added_stay_where_only_files_are_named(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: later\n")
    (project.configs / "new.yaml").write_text("name: new\n")
    restore(project, repository, only=["configs/a.yaml"])
    assert (project.configs / "a.yaml").read_text() == "name: a\n"
    assert (project.configs / "new.yaml").exists()


def test_what_is_left_out_is_left_as_it_is(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    for name in ("a.yaml", "profiles/b.yaml"):
        (project.configs / name).write_text("name: later\n")
    restored = restore(project, repository, without=["configs/profiles"])
    assert (restored.put_back, restored.moved_away) == (("configs/a.yaml",), ())
    assert (project.configs / "profiles" / "b.yaml").read_text() == "name: later\n"


def test_deployed_configs_do_not_come_back_without_their_history(
    project: Project, repository: Repository
) -> None:
    contents = contents_of(project) | {
        ".models/deployed/.revisions/test-1/profiles.yaml": b"{}\n",
        ".models/deployed/test": Link(".revisions/test-1"),
    }
    back_up(project, repository, contents)
    with pytest.raises(InvalidInput, match="belong together"):
        restore(project, repository, only=[".models/deployed"])
    restore(project, repository)
    assert str(project.deployed("test").readlink()) == ".revisions/test-1"


def test_a_folder_that_was_empty_is_left_where_it_is_not(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository, {"configs/a.yaml": b"name: a\n", ".models": None, "models": None})
    restored = restore(project, repository, only=[".models", "models"])
    assert (restored.put_back, restored.moved_away) == ((), ())


def test_an_empty_folder_is_made(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    (project.root / "datasets").rmdir()
    restore(project, repository, only=["datasets"])
    assert (project.root / "datasets").is_dir()


def test_a_dry_run_changes_nothing(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: later\n")
    before = files(project)
    restored = restore(project, repository, dry_run=True)
    assert restored.put_back == ("configs/a.yaml",)
    assert restored.replaced_in is None
    assert files(project) == before
    assert last_good_run(project, "restore") is None


def test_a_restore_can_be_undone_and_that_too(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: later\n")
    (project.configs / "new.yaml").write_text("name: new\n")
    (project.configs / "profiles" / "b.yaml").unlink()
    promote_version(project, load_version(project, "demo", 2))
    later = files(project)
    restore(project, repository)
    restored = files(project)
    undo_restore(project)
    assert files(project) == later
    assert [move.to_version for move in pointer_history(project, "demo")] == [1, 2]
    undo_restore(project)
    assert files(project) == restored
    assert [move.to_version for move in pointer_history(project, "demo")] == [1]


def test_what_was_replaced_is_kept_until_it_is_discarded(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: later\n")
    restore(project, repository)
    assert discard_replaced(project, dry_run=True) == discard_replaced(project)
    assert kept_restores(project) == []
    with pytest.raises(NoData):
        undo_restore(project)


def test_a_state_that_is_damaged_is_replaced_as_a_whole(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    project.state_db.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        project.state_db.with_name(f"state.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(ModelyardError):
        restore(project, repository, only=["configs/a.yaml"])
    restored = restore(project, repository)
    assert spent(project) == 100
    assert restored.replaced_in is not None
    kept = project.root / restored.replaced_in / ".models" / "state.db"
    assert kept.read_bytes().startswith(b"no database")


def test_a_state_of_a_newer_version_is_refused_before_anything_is_changed(
    project: Project, repository: Repository
) -> None:
    newer = Project(
        Path(shutil.copytree(project.root, project.root.parent / "newer", symlinks=True))
    )
    with closing(sqlite3.connect(newer.state_db)) as state:
        state.execute("PRAGMA user_version = 999")
    back_up(project, repository, contents_of(newer))
    (project.configs / "a.yaml").write_text("name: later\n")
    before = files(project)
    with pytest.raises(ModelyardError, match="newer modelyard"):
        restore(project, repository)
    assert files(project) == before
    assert not any(project.restores.iterdir())


def test_a_damaged_repository_changes_nothing(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    (project.configs / "a.yaml").write_text("name: later\n")
    shutil.rmtree(project.adapter_version("demo", 1))
    before = files(project)
    assert repository.store.folder is not None
    for pack in (repository.store.folder / "packs").glob("*/*"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 3] ^= 1
        pack.write_bytes(data)
    with pytest.raises(ModelyardError):
        restore(project, repository)
    assert files(project) == before
    assert not project.restores.exists() or not any(project.restores.iterdir())


def test_an_adapter_that_is_in_use_is_not_replaced(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    shutil.rmtree(project.adapter_version("demo", 1))
    with adapter_lock(project, "demo", wait_s=0.0), pytest.raises(LockHeld):
        restore(project, repository)
    assert version_numbers(project, "demo") == [2]
    assert not any(project.restores.iterdir())


@pytest.mark.parametrize("path", [".git/hooks/post-checkout", "run.sh", "src/x.py"])
def test_what_is_no_part_of_a_project_is_never_written_over_it(
    project: Project, repository: Repository, path: str
) -> None:
    store(repository, {"configs/a.yaml": b"name: a\n", path: b"#!/bin/sh\n"})
    with pytest.raises(DamagedSnapshot, match="no part of a project"):
        restore(project, repository)
    assert not (project.root / path).exists()


def test_nothing_is_written_through_a_link_of_the_project(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    back_up(project, repository)
    elsewhere = tmp_path / "elsewhere"
    (project.configs / "profiles").rename(elsewhere)
    (project.configs / "profiles").symlink_to(elsewhere)
    (elsewhere / "b.yaml").write_text("name: of others\n")
    with pytest.raises(InvalidInput, match="is a link"):
        restore(project, repository)
    assert (elsewhere / "b.yaml").read_text() == "name: of others\n"


def test_a_snapshot_cannot_bring_a_restore_of_its_own(
    project: Project, repository: Repository
) -> None:
    contents = contents_of(project) | {
        ".models/restoring": Link("restores/x"),
        ".models/restores/x/plan.json": b"{}",
    }
    back_up(project, repository, contents)
    restored = restore(project, repository)
    assert {kept.path for kept in restored.kept} == {
        ".models/restoring",
        ".models/restores/x/plan.json",
    }
    assert not project.restoring.is_symlink()


def test_recorded_prompts_and_records_of_answers_are_not_put_back_over_others(
    project: Project, repository: Repository
) -> None:
    contents = contents_of(project) | {
        ".models/recorded-prompts.db": b"prompts of then",
        ".models/traffic.db": b"answers of then",
        ".models/traffic-spool/a.jsonl": b"{}\n",
    }
    back_up(project, repository, contents)
    project.traffic_db.write_bytes(b"answers of now")
    restored = restore(project, repository)
    assert project.traffic_db.read_bytes() == b"answers of now"
    assert not project.recorded_prompts.exists()
    assert len(restored.kept) == 3


def test_the_record_of_a_hosted_job_goes_on_from_where_it_is(
    project: Project, repository: Repository
) -> None:
    record = "experiments/hosted/hosted.json"
    back_up(project, repository, {**contents_of(project), record: b'{"job": null}'})
    assert record in restore(project, repository).put_back
    (project.root / record).write_text('{"job": "begun and paid for"}')
    restored = restore(project, repository)
    assert [kept.path for kept in restored.kept] == [record]
    assert "paid for" in (project.root / record).read_text()


def test_a_missing_pack_is_named(project: Project, repository: Repository) -> None:
    back_up(project, repository)
    assert repository.store.folder is not None
    shutil.rmtree(repository.store.folder / "packs")
    with pytest.raises((DamagedRepository, ModelyardError), match="missing"):
        restore(project, repository)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", "8m") as place:
        yield place


def test_a_read_only_project_says_why_not(
    project: Project, repository: Repository, disk: Path
) -> None:
    back_up(project, repository)
    there = Project(Path(shutil.copytree(project.root, disk / "project", symlinks=True)))
    (there.configs / "a.yaml").write_text("name: later\n")
    remount(disk, "ro")
    with pytest.raises(ModelyardError, match="Read-only") as caught:
        restore(there, repository)
    assert "mounted read-only" in (caught.value.hint or "")
    assert (there.configs / "a.yaml").read_text() == "name: later\n"


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_disk_without_room_leaves_the_project_as_it_was(
    project: Project,
    repository: Repository,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_checked: bool,
) -> None:
    large = {"models/embeddings/docs/docs@12345678.index": bytes(range(256)) * 20_000}
    back_up(project, repository, {**contents_of(project), **large})
    there = Project(Path(shutil.copytree(project.root, disk / "project", symlinks=True)))
    (there.configs / "a.yaml").write_text("name: later\n")
    (disk / "full").write_bytes(bytes(5 << 20))
    if not is_checked:  # as where others fill the disk meanwhile
        monkeypatch.setattr("modelyard.backup.in_place.require_room", lambda *given: None)
    before = files(there)
    with pytest.raises(NoSpace):
        restore(there, repository)
    assert files(there) == before
    assert not there.restoring.is_symlink()
    assert not list(there.restores.glob("*"))
