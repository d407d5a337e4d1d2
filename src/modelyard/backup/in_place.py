"""Restoring over the project: staged, checked, then put in place; what it replaced is kept.

Only what differs is staged and moved (differences.py says what that is), and the rows of state.db
are brought together with those that are there: what was spent stays spent, and what was revoked or
forgotten stays so (core/merging.py).
"""

from __future__ import annotations

import os
import posixpath
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelyard.access.audit_reading import read_head
from modelyard.access.audited_prompts import forget_audited_prompts, organisations_with_prompts
from modelyard.backup.chosen_items import Chosen, choose_items, is_in
from modelyard.backup.differences import Differences, KeptPlace, compare
from modelyard.backup.manifest import Snapshot
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository
from modelyard.backup.restore import load_what_is_whole, require_room, stage_items
from modelyard.backup.swap import (
    BESIDE,
    NEW,
    REPLACED,
    Plan,
    commit,
    complete_under_lock,
    load_plan,
    remove_tree,
    restore_lock,
)
from modelyard.core.clock import utc_now
from modelyard.core.database import DatabaseDamaged
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.files import disk_errors, follow_sharing, make_folder, sweep_staging
from modelyard.core.forgotten import Forgotten, load_forgotten
from modelyard.core.layout import Project
from modelyard.core.os_errors import CANNOT_WRITE
from modelyard.core.progress import Progress
from modelyard.core.state import open_state, open_unwritable_state
from modelyard.monitoring.forgetting import forget_samples, organisations_with_samples
from modelyard.records.backup_run import user_name


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredInPlace:
    """A snapshot that was restored over the project, or would be."""

    snapshot: str
    """The name of the snapshot; of the one before an undone restore."""
    repository: str
    """The address of the repository."""
    dry_run: bool
    """Whether nothing was changed."""
    put_back: tuple[str, ...]
    """The files, links and versions that were put back, from the project's root."""
    moved_away: tuple[str, ...]
    """What is there no longer, since the snapshot does not have it."""
    set_aside: tuple[str, ...]
    """The files that an audit log of another chain is in now, which was there before."""
    kept: tuple[KeptPlace, ...]
    """What was not put back, and why."""
    state: bool
    """Whether the rows of state.db were brought back."""
    replaced_in: str | None
    """The folder with what was replaced; null: nothing was."""


def restore_in_place(
    project: Project,
    repository: Repository,
    name: str,
    progress: Progress,
    *,
    models: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> RestoredInPlace:
    """Restore a snapshot over the project, or of it what these adapters and paths name.

    Killed before the first move it has changed nothing; after that, the next command completes it.
    Raises InvalidInput for a name or path that the snapshot lacks, LockHeld while another process
    works with what would be replaced, NoSpace, and what reading a damaged repository raises.
    """
    snapshot = repository.load_snapshot(name)
    reader = BlobReader(repository, load_what_is_whole(repository, snapshot, progress))
    chosen = choose_items(snapshot, reader.read, models=models, only=only, without=without)
    brings_state = _brings_state(project, chosen)
    with _alone(project, dry_run=dry_run, wait_s=wait_s):
        forgotten, is_damaged = _read_state(project, is_replaced=brings_state)
        found = compare(project, chosen, reader, forgotten)
        if is_damaged:
            paths = _state_paths(project)
            found.removed.extend(path for path in paths if os.path.lexists(project.root / path))
        plan = Plan(
            id=_new_id(),
            snapshot=snapshot.id,
            repository=repository.store.url,
            made_by=user_name(),
            replaced=tuple(found.replaced),
            removed=tuple(found.removed),
            moved=tuple(found.moved),
            merges_state=brings_state,
            adapters=_adapters(chosen, with_link=not brings_state),
        )
        if not dry_run:
            staged = _staged_items(project, chosen, plan)
            with _staging(project, plan, staged) as home:
                stage_items(home / NEW, staged, reader, progress, snapshot)
                _prepare_databases(home, snapshot, forgotten)
                follow_sharing(home / NEW, project.root)
                head = found.audit_head

                def require_same() -> None:
                    if head is not None and read_head(project) != head:
                        raise ModelyardError(
                            "the audit log got rows while it was to be replaced",
                            where=project.show(project.audit_log),
                            hint="run the same command again: it keeps them",
                        )

                commit(project, plan, wait_s=wait_s, require_same=require_same)
    return _result(project, plan, found, dry_run=dry_run)


@contextmanager
def _alone(project: Project, *, dry_run: bool, wait_s: float) -> Iterator[None]:
    """Hold the lock of restores, with all that was interrupted completed or removed.

    A dry run goes without where nothing can be written: then no restore can be under way either.
    """
    with ExitStack() as held:
        try:
            held.enter_context(restore_lock(project, wait_s=wait_s))
            complete_under_lock(project)
            _sweep(project)
        except CANNOT_WRITE:
            if not dry_run:
                raise
        yield


def _result(project: Project, plan: Plan, found: Differences, *, dry_run: bool) -> RestoredInPlace:
    kept = project.restores / plan.id / REPLACED
    return RestoredInPlace(
        snapshot=plan.snapshot,
        repository=plan.repository,
        dry_run=dry_run,
        put_back=plan.replaced,
        moved_away=plan.removed,
        set_aside=tuple(name for _, name in plan.moved),
        kept=tuple(found.kept),
        state=plan.merges_state,
        replaced_in=project.show(kept) if kept.exists() else None,
    )


def undo_restore(
    project: Project, *, dry_run: bool = False, wait_s: float = 0.0
) -> RestoredInPlace:
    """Put back what the newest restore over the project replaced, and keep what it put in place.

    What was spent, revoked or forgotten since stays so. Raises NoData when nothing is kept.
    """
    with _alone(project, dry_run=dry_run, wait_s=wait_s):
        homes = kept_restores(project)
        if not homes:
            raise NoData("no restore over this project keeps what it replaced")
        before = load_plan(homes[-1])
        kept = homes[-1] / REPLACED
        # A state.db that was moved away whole was damaged, and is left where it is.
        damaged = {path for path in before.removed if path in _state_paths(project)}
        # What was put there has all rows of the audit log from before, or that one was set aside;
        # and it got others since.
        stays = {f"{project.show(project.audit_log)}{suffix}" for suffix in ("", *BESIDE)}
        replaced = [path for path in before.replaced if path not in stays]
        moved = [path for path in (*replaced, *before.removed) if path not in damaged | stays]
        plan = Plan(
            id=_new_id(),
            snapshot=before.snapshot,
            repository=before.repository,
            made_by=user_name(),
            undoes=before.id,
            replaced=tuple(path for path in moved if os.path.lexists(kept / path)),
            removed=tuple(path for path in replaced if not os.path.lexists(kept / path)),
            merges_state=before.merges_state and not damaged,
            adapters=before.adapters,
        )
        if not dry_run:
            with _staging(project, plan, Chosen(items=())):
                commit(project, plan, wait_s=wait_s, require_same=lambda: None)
            remove_tree(homes[-1])
    return _result(project, plan, Differences(), dry_run=dry_run)


def discard_replaced(project: Project, *, dry_run: bool = False, wait_s: float = 0.0) -> list[str]:
    """Remove what restores over the project replaced; returns the folders that held it."""
    with _alone(project, dry_run=dry_run, wait_s=wait_s):
        homes = kept_restores(project)
        for home in homes if not dry_run else ():
            with disk_errors(home):
                remove_tree(home)
    return [project.show(home) for home in homes]


def kept_restores(project: Project) -> list[Path]:
    """The folders of restores that keep what they replaced, the oldest first."""
    return sorted(home.parent for home in project.restores.glob(f"*/{REPLACED}"))


def _new_id() -> str:
    return f"{utc_now().replace(':', '').replace('-', '')}-{secrets.token_hex(4)}"


def _brings_state(project: Project, chosen: Chosen) -> bool:
    """Whether state.db is restored. Raises InvalidInput where what is restored needs it."""
    if any(project.root / item.path == project.state_db for item in chosen.items):
        return True
    deployed = project.show(project.deployed("x").parent)
    if any(is_in(item.path, deployed) and item.kind != "folder" for item in chosen.items):
        raise InvalidInput(
            f"{deployed} and the history of what was deployed belong together",
            hint=f"add `--only {project.show(project.state_db)}`, or restore with --to",
        )
    return False


def _adapters(chosen: Chosen, *, with_link: bool) -> tuple[str, ...]:
    """The adapters whose history and pins are those of the snapshot, also where it has none.

    with_link: only those whose link is restored, since a link and its history belong together.
    """
    home = "models/trained" if with_link else "models/versions"
    kind = "link" if with_link else "folder"
    return tuple(
        posixpath.basename(item.path)
        for item in chosen.items
        if item.kind == kind and posixpath.dirname(item.path) == home
    )


def _read_state(project: Project, *, is_replaced: bool) -> tuple[Forgotten, bool]:
    """What was forgotten, and whether state.db is damaged; it may only be where it is replaced."""
    try:
        with _state_to_read(project) as state:
            damage = state.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise sqlite3.DatabaseError(damage)
            return load_forgotten(state), False
    except (DatabaseDamaged, sqlite3.DatabaseError):
        if not is_replaced:
            raise
        return Forgotten({}), True


@contextmanager
def _state_to_read(project: Project) -> Iterator[sqlite3.Connection]:
    """A connection to state.db, also on a disk on which nothing can be written."""
    with ExitStack() as opened:
        try:
            state = opened.enter_context(open_state(project))
        except CANNOT_WRITE:
            unwritable = opened.enter_context(open_unwritable_state(project))
            if unwritable is None:
                raise
            state = unwritable
        yield state


def _state_paths(project: Project) -> list[str]:
    """The paths of state.db and of what SQLite keeps beside it."""
    return [f"{project.show(project.state_db)}{suffix}" for suffix in ("", *BESIDE)]


def _staged_items(project: Project, chosen: Chosen, plan: Plan) -> Chosen:
    """The items that are staged: what is put in place, and state.db where rows of it are."""
    wanted = set(plan.replaced)
    if plan.merges_state or plan.adapters:
        wanted.add(project.show(project.state_db))
    paths = set()
    everything = (*chosen.items, *chosen.rest)
    for item in everything:
        parents = [item.path, *map(str, PurePosixPath(item.path).parents)]
        if wanted.intersection(parents):
            paths.update(parents)
    return Chosen(items=tuple(item for item in everything if item.path in paths))


@contextmanager
def _staging(project: Project, plan: Plan, staged: Chosen) -> Iterator[Path]:
    """The folder of a restore; removed when it fails before anything was put in place."""
    home = project.restores / plan.id
    require_room(staged, project.restores)
    with disk_errors(project.restores):
        make_folder(home / NEW)
        _require_one_disk(project, plan)
        try:
            yield home
        except BaseException:
            if not os.path.lexists(project.restoring):
                remove_tree(home)
            raise


def _require_one_disk(project: Project, plan: Plan) -> None:
    """Raise InvalidInput where a rename cannot reach, since a folder is on another disk."""
    device = project.restores.stat().st_dev
    for path in (*plan.replaced, *plan.removed):
        place = (project.root / path).parent
        place = next(each for each in (place, *place.parents) if each.exists())
        if place.stat().st_dev != device:
            raise InvalidInput(
                f"is on another disk than {project.show(project.local_state)}, and what is "
                "restored in place is moved there in one rename",
                where=project.show(place),
                hint="restore into a new folder with --to, and copy what you need",
            )


def _prepare_databases(home: Path, snapshot: Snapshot, forgotten: Forgotten) -> None:
    """Bring staged databases to this version, and take out of them what was forgotten since."""
    staged = Project(home / NEW)
    if staged.state_db.exists():
        with open_state(staged):  # migrates it; refuses one of a newer modelyard
            pass
    if staged.traffic_db.exists():
        for name in organisations_with_samples(staged):
            if forgotten.covers("organisation", name, snapshot.created_at):
                forget_samples(staged, name)
    for name in organisations_with_prompts(staged):
        if forgotten.covers("organisation", name, snapshot.created_at):
            forget_audited_prompts(staged, name)


def _sweep(project: Project) -> None:
    """Remove what killed restores left that never came to put anything in place."""
    if project.local_state.is_dir():
        sweep_staging(project.local_state, project.restoring.name)
    for home in project.restores.iterdir() if project.restores.is_dir() else ():
        with disk_errors(home):
            remove_tree(home / NEW)
            if not (home / REPLACED).exists():
                remove_tree(home)
