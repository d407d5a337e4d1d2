"""Putting restored files in the place of others: killed at any instant, it is completed.

A restore over the project first stages everything in a folder of `.models/restores/`, with a plan
of its moves. Then the link `.models/restoring` is made to lead there, in one rename: before it
nothing has happened, and what was staged is removed; from then on the restore holds, and whoever
finds the link completes it. Each move can be made again, since what was moved is no longer where it
was; and state.db is changed in one transaction that also records the restore, so that it is changed
once. What is replaced is moved into the same folder, and stays there until it is discarded.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard.access.audit import audit_lock
from modelyard.adapters.versions import adapter_lock
from modelyard.core.clock import utc_now
from modelyard.core.database import transaction
from modelyard.core.errors import ModelyardError
from modelyard.core.files import (
    disk_errors,
    exclusive_lock,
    make_file,
    make_folder,
    replace_link,
    sync_path,
    write_json,
)
from modelyard.core.forgotten import load_forgotten
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.core.layout import Project, read_index_name
from modelyard.core.merging import COPY, Row, merge_copy
from modelyard.core.state import STATE_MERGES, open_state
from modelyard.records.backup_run import BackupRun, insert_backup_run, knows_snapshot
from modelyard.retrieval.indexes import index_lock

PLAN_FILE = "plan.json"
NEW, REPLACED = "new", "replaced"
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, and what belongs to it."""
_VERSION = 1
_WAIT_S = 60.0
"""How long a command waits for a restore that another process is completing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The moves of one restore over the project."""

    id: str
    """The name of its folder."""
    snapshot: str
    """The snapshot."""
    repository: str
    """The address of its repository."""
    made_by: str
    """The user of the machine."""
    replaced: tuple[str, ...]
    """The paths that get what was staged."""
    removed: tuple[str, ...]
    """The paths that only lose what is there."""
    merges_state: bool
    """Whether all of state.db is brought together with the copy in `source`."""
    adapters: tuple[str, ...]
    """The adapters whose history and pins become those that were staged."""
    moved: tuple[Sequence[str], ...] = ()
    """Pairs of a path and the one that what is there gets, before anything is put in its place."""
    undoes: str | None = None
    """The restore whose replaced files are put back; null: what was staged is put in place."""

    def source(self, project: Project) -> Path:
        """The folder with what is put in place, laid out as a project."""
        return (
            project.restores
            / (self.id if self.undoes is None else self.undoes)
            / (NEW if self.undoes is None else REPLACED)
        )


def restore_lock(project: Project, *, wait_s: float) -> Any:
    """The lock under which files are restored over the project."""
    lock = project.lock("restore", "project")
    return exclusive_lock(lock, what="restore of this project", wait_s=wait_s)


def commit(
    project: Project, plan: Plan, *, wait_s: float, require_same: Callable[[], None]
) -> None:
    """Put what was staged in its place. Call it under the restore lock.

    require_same: raises, when all locks are held, where the plan does not fit any more.
    Raises LockHeld when another process works with an adapter, environment or index for longer than
    `wait_s` seconds: then nothing has happened. After a later error the next command completes it.
    """
    home = project.restores / plan.id
    write_json(home / PLAN_FILE, {"version": _VERSION, **asdict(plan)})
    with holding_places(project, plan, wait_s=wait_s):
        require_same()
        replace_link(project.restoring, home)
        _put_in_place(project, plan)


def complete_restore(project: Project) -> Plan | None:
    """Complete a restore that a killed process left half done; returns its plan.

    Waits for a process that is at it. Raises LockHeld when that takes too long, and ModelyardError
    when it cannot be completed.
    """
    if not os.path.lexists(project.restoring):
        return None
    with restore_lock(project, wait_s=_WAIT_S):
        return complete_under_lock(project)


def complete_under_lock(project: Project) -> Plan | None:
    """As `complete_restore`, under the restore lock already."""
    link = project.restoring
    if not link.is_symlink():
        return None
    plan = load_plan(project.restores / PurePosixPath(link.readlink()).name)
    with holding_places(project, plan, wait_s=_WAIT_S):
        _put_in_place(project, plan)
    return plan


def load_plan(home: Path) -> Plan:
    """The plan in the folder of a restore. Raises ModelyardError when it cannot be read."""
    try:
        values = read_json_object(home / PLAN_FILE)
        if values.pop("version") != _VERSION:
            raise ModelyardError(
                "was begun by another version of modelyard",
                where=str(home / PLAN_FILE),
                hint="use that version to complete it",
            )
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Plan(**{**values, **lists})
    except (InvalidJson, KeyError, TypeError) as error:
        raise ModelyardError(
            f"cannot be read: {error}",
            where=str(home / PLAN_FILE),
            hint="what was replaced lies beside it: move it back by hand",
        ) from error


@contextmanager
def holding_places(project: Project, plan: Plan, *, wait_s: float) -> Iterator[None]:
    """Hold the locks of everything that the plan changes, so that no command is in the middle."""
    what = "versions and links of the project"
    locks: dict[str, Any] = {"0": exclusive_lock(project.versions_lock, what=what, wait_s=wait_s)}
    for path in (*plan.replaced, *plan.removed):
        parts = path.split("/")
        if parts[:2] in (["models", "versions"], ["models", "trained"]) and len(parts) > 2:
            locks[f"1 {parts[2]}"] = adapter_lock(project, parts[2], wait_s=wait_s)
        elif parts[:2] == [".models", "deployed"] and len(parts) == 3:
            lock = project.lock("environment", parts[2])
            what = f"environment {parts[2]}"
            locks[f"2 {parts[2]}"] = exclusive_lock(lock, what=what, wait_s=wait_s)
        elif project.root / path == project.audit_log:
            lock = audit_lock(project)
            locks["5"] = exclusive_lock(lock, what="audit log", wait_s=wait_s)
        elif index := read_index_name(project.root / path):
            lock, what = index_lock(project, index.group, index.name), f"search index {index.name}"
            locks[f"3 {lock.name}"] = exclusive_lock(lock, what=what, wait_s=wait_s)
        elif parts[0] in ("datasets", "experiments") and len(parts) > 1:
            kind = parts[0].removesuffix("s")
            lock, what = project.lock(kind, parts[1]), f"{kind} {parts[1]}"
            locks[f"4 {lock.name}"] = exclusive_lock(lock, what=what, wait_s=wait_s)
    with ExitStack() as stack:
        for name in sorted(locks):
            stack.enter_context(locks[name])
        yield


def _put_in_place(project: Project, plan: Plan) -> None:
    home, source = project.restores / plan.id, plan.source(project)
    kept = home / REPLACED
    with disk_errors(project.local_state):
        for path, name in plan.moved:
            place, other = project.root / path, project.root / name
            if os.path.lexists(place) and not os.path.lexists(other):
                _move(place, other, like=project.root)
        for path in plan.removed:
            place, old = project.root / path, kept / path
            if os.path.lexists(place) and not os.path.lexists(old):
                _move(place, old, like=project.root)
        for path in plan.replaced:
            place, new = project.root / path, source / path
            if not os.path.lexists(new):
                continue  # it was moved before
            if os.path.lexists(place):
                _move(place, _free(kept / path), like=project.root)
            _move(new, place, like=source)
        _merge_state(project, plan, source, kept)
        for folder in _folders_of_moves(project, plan, kept):
            sync_path(folder)
        project.restoring.unlink()
        sync_path(project.local_state)
        remove_tree(home / NEW)
        if not kept.exists():
            remove_tree(home)


def _folders_of_moves(project: Project, plan: Plan, kept: Path) -> list[Path]:
    """Every folder in which a name was made or removed, below the project and what is kept."""
    paths = [PurePosixPath(path) for path in (*plan.replaced, *plan.removed)]
    parents = {str(parent) for path in paths for parent in path.parents}
    places = [root / parent for root in (project.root, kept) for parent in sorted(parents)]
    return [place for place in places if place.is_dir()]


def _move(place: Path, to: Path, *, like: Path) -> None:
    """Move a file, link or folder; missing parents get the times of those below `like`."""
    missing = [parent for parent in to.parents if not parent.exists()]
    make_folder(to.parent)
    before = place.parent
    for parent in to.parents:
        if parent not in missing or before == like:
            break
        status = before.stat()
        os.utime(parent, ns=(status.st_atime_ns, status.st_mtime_ns))
        before = before.parent
    place.rename(to)


def _free(path: Path) -> Path:
    """`path`, or one beside it, where nothing is."""
    number = 1
    free = path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _merge_state(project: Project, plan: Plan, source: Path, kept: Path) -> None:
    """Bring the copy of state.db in, and record the restore, in one transaction; only once."""
    copy = Project(source).state_db
    brings_rows = (plan.merges_state or bool(plan.adapters)) and copy.exists()
    run = BackupRun(
        kind="restore",
        repository=plan.repository,
        snapshot=plan.snapshot,
        ok=True,
        made_by=plan.made_by,
        ended_at=utc_now(),
        id=plan.id,
    )
    with open_state(project) as state:
        if brings_rows:
            state.execute(f"ATTACH ? AS {COPY}", (str(copy),))
        with transaction(state):
            query = "SELECT 1 FROM backup_runs WHERE id = ?"
            if state.execute(query, (plan.id,)).fetchone():
                return
            if brings_rows:
                if project.show(project.state_db) not in plan.removed:
                    _keep_copy(project, kept)
                forgotten = load_forgotten(state)

                def is_gone(row: Row) -> bool:
                    return forgotten.covers("organisation", row["org"], row["recorded_at"])

                merge_copy(
                    state,
                    STATE_MERGES,
                    owners={"adapter": plan.adapters},
                    everything=plan.merges_state,
                    develops=plan.undoes is not None or knows_snapshot(state, plan.snapshot),
                    is_gone=is_gone,
                )
            insert_backup_run(state, run)


def _keep_copy(project: Project, kept: Path) -> None:
    """Keep state.db as it is, among what is replaced. Nobody can change it meanwhile."""
    old = Project(kept).state_db
    make_folder(old.parent)
    unfinished = old.with_name(f"{old.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    make_file(unfinished)
    address = f"{project.state_db.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True)) as there,
        closing(sqlite3.connect(unfinished)) as copy,
    ):
        there.backup(copy)
    unfinished.rename(old)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all it holds, also below folders that may not be written to."""
    if not folder.is_dir() or folder.is_symlink():
        return
    folder.chmod(stat.S_IRWXU)
    for parent, names, _ in os.walk(folder):
        for name in names:
            place = Path(parent, name)
            if not place.is_symlink():
                place.chmod(stat.S_IRWXU)
    shutil.rmtree(folder)
