from __future__ import annotations

from pathlib import Path

from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.records.backup_run import (
    BackupRun,
    knows_snapshot,
    last_good_run,
    record_backup_run,
)


def run(number: int, *, ok: bool = True, kind: str = "backup") -> BackupRun:
    assert kind in ("backup", "drill")
    return BackupRun(
        kind="backup" if kind == "backup" else "drill",
        repository="file:///backups",
        snapshot=f"snapshot-{number}",
        ok=ok,
        made_by="ops",
        ended_at=f"2026-11-0{number}T00:00:00Z",
    )


def test_the_last_good_run_of_a_kind_is_found(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert last_good_run(project, "backup") is None
    for each in (run(2), run(1), run(3, ok=False), run(4, kind="drill")):
        record_backup_run(project, each)
    found = last_good_run(project, "backup")
    assert found is not None
    assert (found.snapshot, found.ok) == ("snapshot-2", True)


def test_a_state_knows_the_snapshots_that_were_made_of_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    record_backup_run(project, run(1))
    with open_state(project) as state:
        assert knows_snapshot(state, "snapshot-1")
        assert not knows_snapshot(state, "snapshot-2")
