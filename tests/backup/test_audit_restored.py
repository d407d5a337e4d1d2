"""The audit log and API keys in backups: no restore takes a row back, or lets a key work again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from audit_samples import append, tamper
from backup_projects import back_up, repository_at
from modelyard.access.audit import AuditLog
from modelyard.access.audit_key import key_path
from modelyard.access.audit_reading import export_audit, read_head, verify_audit
from modelyard.access.audited_prompts import organisations_with_prompts
from modelyard.access.keys import check_key, create_key, find_caller, revoke_key, rotate_key
from modelyard.answering.forget_organisation import forget_organisation
from modelyard.backup import swap
from modelyard.backup.drill import run_drill
from modelyard.backup.in_place import (
    RestoredInPlace,
    restore_in_place,
    undo_restore,
)
from modelyard.backup.repository import Repository
from modelyard.backup.restore import restore_to
from modelyard.backup.swap import complete_restore
from modelyard.core.files import LockHeld
from modelyard.core.layout import Project
from modelyard.core.progress import Silent

AUDIT = ".models/audit.db"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    for place in (project.configs, project.models):
        place.mkdir(parents=True)
    append(project, range(5))
    return project


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return repository_at(tmp_path / "repository")


def restore(project: Project, repository: Repository) -> RestoredInPlace:
    return restore_in_place(project, repository, "latest", Silent())


def reason(restored: RestoredInPlace) -> str:
    [kept] = [each for each in restored.kept if each.path == AUDIT]
    assert AUDIT not in restored.put_back
    return kept.reason


def test_the_log_that_goes_on_from_the_copy_stays_and_is_continued(
    project: Project, repository: Repository
) -> None:
    back_up(project, repository)
    with closing(AuditLog(project)):  # a service that runs is not waited for
        head = append(project, [5])
        assert "all its rows" in reason(restore(project, repository))
    assert read_head(project) == head
    assert append(project, [6]).count == 7
    assert verify_audit(project, expected=head).count == 7


def test_a_log_that_was_lost_or_cut_comes_back(project: Project, repository: Repository) -> None:
    head = append(project, [5])
    back_up(project, repository)
    tamper(project, "DELETE FROM entries WHERE number > 2")
    with closing(AuditLog(project)), pytest.raises(LockHeld, match="audit log"):
        restore(project, repository)
    assert AUDIT in restore(project, repository).put_back
    assert verify_audit(project, expected=head) == head
    further = append(project, [6])
    undo_restore(project)
    assert read_head(project) == further  # nothing is taken back
    project.audit_log.unlink()
    restore(project, repository)
    assert read_head(project) == head


@pytest.mark.parametrize("how", ["another", "diverged"])
def test_a_log_of_another_chain_is_set_aside_by_the_name_of_its_last_row(
    project: Project, repository: Repository, how: str
) -> None:
    head = read_head(project)
    back_up(project, repository)
    if how == "another":
        project.audit_log.unlink()
    else:
        tamper(project, "DELETE FROM entries WHERE number = 5")
    other = append(project, [9], prompt="Who leads sales?")
    would = restore_in_place(project, repository, "latest", Silent(), dry_run=True)
    assert read_head(project) == other
    restored = restore(project, repository)
    assert would.set_aside == restored.set_aside
    aside = f".models/audit-{other.count}-{other.seal[:12]}.db"
    assert [each for each in restored.set_aside if each.endswith(".db")] == [aside]
    assert AUDIT in restored.put_back
    assert verify_audit(project) == head
    assert restored.replaced_in is None  # so that nothing undoes or discards it
    append(project, [6])
    # It is in later snapshots, and what is forgotten goes from it too.
    back_up(project, repository)
    [organisation] = organisations_with_prompts(project)
    assert forget_organisation(project, organisation).audited_prompts == 1
    assert organisations_with_prompts(project) == ()
    (project.root / aside).rename(project.audit_log)
    assert verify_audit(project) == other
    restore(project, repository)
    assert organisations_with_prompts(project) == ()


@pytest.mark.parametrize("moves", [0, 1])
def test_a_restore_that_ends_before_or_between_its_moves_is_completed(
    project: Project, repository: Repository, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = read_head(project)
    back_up(project, repository)
    project.audit_log.unlink()
    other = append(project, [9])
    left = [swap._move] * moves

    def move(*given: object, **options: object) -> None:
        left.pop()(*given, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(IndexError):
        patch.setattr(swap, "_move", move)
        restore(project, repository)
    assert complete_restore(project) is not None
    assert verify_audit(project) == head
    [aside] = project.audit_logs_aside
    aside.rename(project.audit_log)
    assert verify_audit(project) == other


def test_a_log_that_was_set_aside_is_verified_too(
    project: Project,
    repository: Repository,
    models_here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    back_up(project, repository)
    project.audit_log.unlink()
    append(project, [9])
    [name] = [each for each in restore(project, repository).set_aside if each.endswith(".db")]
    monkeypatch.chdir(project.root)
    assert models_here("audit", "verify", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["count"], said["set_aside"]) == (5, [{"file": name, "count": 1}])
    with closing(sqlite3.connect(project.root / name)) as aside, aside:
        [key] = aside.execute("SELECT id FROM log").fetchone()
        aside.execute("UPDATE entries SET status = 500")
    assert models_here("audit", "verify") == 1
    assert name in capsys.readouterr().err
    key_path(key).unlink()
    assert models_here("audit", "verify") == 0
    assert f"{name} is not verified" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["no key", "damaged"])
def test_a_log_that_the_copy_cannot_follow_stays(
    project: Project, repository: Repository, how: str, tmp_path: Path
) -> None:
    back_up(project, repository)
    if how == "no key":
        shutil.move(key_path("x").parent, tmp_path / "keys")
        project.audit_log.unlink()
        append(project, [9])
    else:
        project.audit_log.write_bytes(b"no database")
    before = project.audit_log.read_bytes()
    assert "--to restores" in reason(restore(project, repository))
    assert project.audit_log.read_bytes() == before
    if how == "no key":
        shutil.copytree(tmp_path / "keys", key_path("x").parent, dirs_exist_ok=True)
    restore_to(repository, "latest", tmp_path / "aside", Silent())
    assert verify_audit(Project(tmp_path / "aside")).count == 5


def test_a_revoked_key_stays_revoked(project: Project, repository: Repository) -> None:
    revoked, rotated, kept = (create_key(project, check_key("acme")) for _ in range(3))
    rotate_key(project, rotated.key.id, overlap_s=3600)
    back_up(project, repository)
    for made in (revoked, rotated):
        assert find_caller(project, made.token)
        revoke_key(project, made.key.id)
    later = create_key(project, check_key("acme"))
    restore(project, repository)
    assert [
        find_caller(project, made.token) is not None for made in (revoked, rotated, kept, later)
    ] == [False, False, True, True]


def test_a_prompt_that_was_forgotten_does_not_come_back(
    project: Project, repository: Repository
) -> None:
    append(project, [1, 2], prompt="Who leads sales?")
    back_up(project, repository)
    assert forget_organisation(project, "marigold").audited_prompts == 1
    project.audit_log.unlink()
    restore(project, repository)
    assert verify_audit(project).count == 7
    rows = [row for row in export_audit(project) if row.get("prompt")]
    assert [row["organisation"] for row in rows] == ["edelweiss"]


def test_a_drill_verifies_the_chain_where_the_key_is(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    def verdict() -> tuple[str, str]:
        back_up(project, repository)
        result = run_drill(repository, "latest", Silent(), scratch=tmp_path)
        [step] = [step for step in result.steps if step.step == "audit"]
        return step.verdict, " ".join((step.detail, *step.problems))

    assert verdict() == ("passed", f"5 rows verified, up to {read_head(project)}")
    tamper(project, "UPDATE entries SET status = 500 WHERE number = 3")
    assert verdict()[0] == "failed"
    assert "row 3" in verdict()[1]
    shutil.rmtree(key_path("x").parent)
    assert verdict()[0] == "not_tried"


def test_sockets_are_in_no_snapshot(project: Project, repository: Repository) -> None:
    place = project.service_socket("development")
    place.parent.mkdir()
    place.touch()  # a real one's path would be too long here
    back_up(project, repository)
    restore_to(repository, "latest", project.root.parent / "aside", Silent())
    assert Project(project.root.parent / "aside").audit_log.exists()
    assert not Project(project.root.parent / "aside").service_socket("x").parent.exists()
