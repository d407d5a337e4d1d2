"""Restoring a snapshot into a new folder, which appears in one rename once it is complete."""

from __future__ import annotations

import fcntl
import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.backup.blob_index import BlobIndex
from modelyard.backup.chosen_items import Chosen, choose_items, require_distinct
from modelyard.backup.manifest import Snapshot
from modelyard.backup.read_blobs import BlobReader
from modelyard.backup.repository import Repository
from modelyard.backup.swap import remove_tree
from modelyard.backup.write_items import write_items
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.file_system import probe_file_system, require_capable
from modelyard.core.files import (
    STAGING_PREFIX,
    disk_errors,
    make_folder,
    require_free_space,
    sync_path,
    sync_tree,
)
from modelyard.core.progress import Progress

_MOST_SYNCED_ALONE = 100
"""With more items all disks of the machine are waited for, which is faster than one by one."""
_FREE_BYTES = 16 << 20
"""What is left free, for folders and the file system's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A snapshot that was restored into a new folder, or would be."""

    snapshot: str
    """The name of the snapshot."""
    created_at: str
    """When it was made, UTC."""
    repository: str
    """The address of the repository."""
    folder: str
    """The folder."""
    dry_run: bool
    """Whether nothing was written."""
    files: int
    """How many files."""
    bytes: int
    """Their size."""


def restore_to(
    repository: Repository,
    name: str,
    folder: Path,
    progress: Progress,
    *,
    models: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
    dry_run: bool = False,
) -> Restored:
    """Restore a snapshot (an id, its beginning, or `latest`) into a folder that does not exist yet.

    Every block is checked before it is written, and nothing appears at `folder` before everything
    is there. Raises InvalidInput when `folder` exists or the snapshot lacks what is named, NoSpace
    when it does not fit, UnsuitableFileSystem when it has links or databases that cannot be there,
    DamagedRepository and the like when the repository is damaged.
    """
    if os.path.lexists(folder):
        inside = f", such as {folder / 'restored'}" if folder.is_dir() else ""
        raise InvalidInput(
            "exists already",
            where=str(folder),
            hint=f"name a new folder{inside}: nothing is overwritten",
        )
    snapshot = repository.load_snapshot(name)
    reader = BlobReader(repository, load_what_is_whole(repository, snapshot, progress))
    chosen = choose_items(snapshot, reader.read, models=models, only=only, without=without)
    require_room(chosen, folder)
    if any(item.kind in ("link", "sqlite") for item in chosen.items):
        require_capable(probe_file_system(folder.parent), folder)
    if not dry_run:
        with disk_errors(folder), staged_beside(folder) as staged:
            stage_items(staged, chosen, reader, progress, snapshot)
            staged.chmod(snapshot.root.mode & 0o3777)
            staged.rename(folder)
            sync_path(folder.parent)
    return Restored(
        snapshot=snapshot.id,
        created_at=snapshot.created_at,
        repository=repository.store.url,
        folder=str(folder),
        dry_run=dry_run,
        files=chosen.files,
        bytes=chosen.bytes,
    )


def load_what_is_whole(repository: Repository, snapshot: Snapshot, progress: Progress) -> BlobIndex:
    """The indexes that can be read; the others are warned of, and so are later snapshots lost.

    A blob that only a damaged index knew is named when it is needed.
    """

    def warn(name: str, error: ModelyardError) -> None:
        progress.warn(f"index {name[:16]}: {error.message}; the others are used")

    index = repository.load_index(on_damage=warn)
    for lost in sorted(index.snapshots.difference(repository.snapshots())):
        if lost > snapshot.id:
            progress.warn(f"{lost}: a later snapshot was made, and is missing")
    return index


def require_room(chosen: Chosen, folder: Path) -> None:
    """Raise NoSpace unless the disk of `folder` has room for the items."""
    blocks = sum(-(-item.size // 4096) * 4096 + 4096 for item in chosen.items)
    require_free_space(
        folder,
        blocks + _FREE_BYTES,
        "restoring it",
        hint="free some space, restore to another disk with --to, or less with --only",
    )


def stage_items(
    staged: Path, chosen: Chosen, reader: BlobReader, progress: Progress, snapshot: Snapshot
) -> None:
    """Write the chosen items into an empty folder, checked and safe from a power cut."""
    require_distinct(chosen.items, staged)
    progress.stage(f"restore: snapshot {snapshot.id} of {snapshot.created_at}")
    progress.begin("restore", chosen.bytes, "bytes")
    done = 0

    def written(count: int) -> None:
        nonlocal done
        done += count
        progress.advance(done)

    try:
        write_items(staged, chosen.items, reader, written)
        if len(chosen.items) > _MOST_SYNCED_ALONE:
            os.sync()
        else:
            sync_tree(staged)
    finally:
        progress.end()


@contextmanager
def staged_beside(folder: Path) -> Iterator[Path]:
    """A locked new folder beside `folder`; removed with its content unless it was renamed.

    What a killed process left for the same folder is removed first.
    """
    make_folder(folder.parent)
    for left in folder.parent.glob(f"{STAGING_PREFIX}{'?' * 8}-{glob.escape(folder.name)}"):
        _remove_unless_held(left)
    staged = folder.with_name(f"{STAGING_PREFIX}{os.urandom(4).hex()}-{folder.name}")
    staged.mkdir(mode=0o700)
    handle = os.open(staged, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield staged
    finally:
        os.close(handle)
        remove_tree(staged)


def _remove_unless_held(folder: Path) -> None:
    """Remove a folder that no living process fills."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
        finally:
            os.close(handle)
