"""What a file system can, found out by doing it: a project needs each of `CAPABILITIES`.

Names of file systems do not say it: it depends on their version, their server and how they are
mounted. The probe takes one to two milliseconds, in a folder of its own that is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project

CHOOSE_ANOTHER = (
    "keep the project on ext4, xfs, btrfs or NFS, for example (docs/file-systems.md); "
    "a registry or backups may be here"
)
_MOUNTS = Path("/proc/self/mountinfo")
_LEFT_OVER_S = 3600.0
_UNKNOWN = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR)
"""What says nothing about the file system: nothing can be written there by this user or now."""


class UnsuitableFileSystem(ModelyardError):
    """A project would lie, or lies, on a file system that lacks something it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Something that a project needs of its file system."""

    name: str
    """What it is."""
    refusal: str | None
    """Why it does not work there; null where it works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """What the file system of a folder can."""

    folder: Path
    """A folder on it."""
    kind: str | None
    """Its kind as the kernel calls it, such as ext4 or fuseblk; null where that is not known."""
    capabilities: tuple[Capability, ...]
    """What a project needs, and whether it works; empty where nothing could be tried."""

    @property
    def lacking(self) -> tuple[Capability, ...]:
        """What does not work."""
        return tuple(found for found in self.capabilities if found.refusal is not None)


def probe_file_system(folder: Path) -> FileSystem:
    """Try everything that a project needs in `folder`, or in its nearest parent that exists.

    Leaves nothing there. Where nothing can be written, nothing is known.
    """
    existing = _nearest(folder)
    found = FileSystem(folder=existing, kind=_kind_of(existing), capabilities=())
    try:
        _remove_left_over(existing)
        probe = existing / f"{STAGING_PREFIX}{secrets.token_hex(4)}-probe"
        probe.mkdir()
    except OSError:
        return found
    capabilities = []
    try:
        for name, attempt in CAPABILITIES.items():
            place = probe / name.replace(" ", "-")
            place.mkdir()
            capabilities.append(Capability(name=name, refusal=_try(attempt, place)))
    except OSError:
        return found
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    return FileSystem(folder=existing, kind=found.kind, capabilities=tuple(capabilities))


def require_file_system(project: Project) -> None:
    """Raise UnsuitableFileSystem when what a project needs does not work where it lies.

    A project that is not there yet would be on the file system of its parent. Changes nothing.
    """
    for found in probe_project(project):
        require_capable(found, project.root)


def probe_project(project: Project) -> tuple[FileSystem, ...]:
    """The file systems of a project's local state and of its links to versions: one or two."""
    found: dict[int, FileSystem] = {}
    for named, place in (
        (project.root, project.versions_lock.parent),
        (project.models, project.trained),
    ):
        device = _nearest(place).stat().st_dev
        if device not in found:
            found[device] = replace(probe_file_system(place), folder=named)
    return tuple(found.values())


def require_capable(found: FileSystem, where: Path) -> None:
    """Raise UnsuitableFileSystem, about a project at `where`, unless everything works."""
    if not found.lacking:
        return
    lacks = ", ".join(f"{each.name} ({each.refusal})" for each in found.lacking)
    kind = f" ({found.kind})" if found.kind else ""
    raise UnsuitableFileSystem(
        f"a project cannot be on this file system{kind}: it lacks {lacks}",
        where=str(where),
        hint=CHOOSE_ANOTHER,
    )


def _nearest(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def _try(attempt: Callable[[Path], str | None], place: Path) -> str | None:
    """Why something does not work; None where it does. Raises OSError where that is not known."""
    try:
        return attempt(place)
    except OSError as error:
        if error.errno in _UNKNOWN:
            raise
        return error.strerror or type(error).__name__
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        return str(error)


def _link(place: Path) -> str | None:
    link = place / "link"
    link.symlink_to("target")
    return None if link.is_symlink() and str(link.readlink()) == "target" else "it is no link"


def _replace(place: Path) -> str | None:
    """A file over a file, as every `write_atomic`; a folder to a new name, as every version."""
    (place / "old").write_text("old")
    (place / "new").touch()  # without data, which ext4 would sync at the rename
    (place / "new").replace(place / "old")
    (place / "folder").mkdir()
    (place / "folder").rename(place / "version")
    return None if (place / "old").read_text() == "" else "the old content stayed"


def _create_once(place: Path) -> str | None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(place / "file", flags, 0o600))
    with suppress(FileExistsError):
        os.close(os.open(place / "file", flags, 0o600))
        return "a second one succeeded"
    return None


def _lock(place: Path) -> str | None:
    path = place / "lock"
    path.touch()
    with path.open("r+b") as first, path.open("r+b") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "a second one was given"
    return None


def _write_ahead(place: Path) -> str | None:
    """What two connections of SQLite do in WAL mode; nothing of it is synced."""
    path = place / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as first:
        first.execute("PRAGMA synchronous=OFF")
        (mode,) = first.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            return f"its journal is {mode}"
        first.execute("CREATE TABLE tried (value)")
        with closing(sqlite3.connect(path, isolation_level=None)) as second:
            second.execute("SELECT * FROM tried").fetchall()
    return None


CAPABILITIES: dict[str, Callable[[Path], str | None]] = {
    "symbolic links": _link,
    "renames over an existing name": _replace,
    "exclusive creation": _create_once,
    "locks": _lock,
    "SQLite's WAL": _write_ahead,
}
"""What a project needs: its name, and how it is tried in an empty folder."""


def _kind_of(folder: Path) -> str | None:
    """The kind of the file system that is mounted there; None where the kernel does not say."""
    with suppress(OSError):
        device = folder.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in _MOUNTS.read_text().splitlines():
            mount, _, source = line.partition(" - ")
            if mount.split()[2] == wanted:
                return source.split()[0]
    return None


def _remove_left_over(folder: Path) -> None:
    """Remove the probes of processes that were killed, by the clock of the file system."""
    for left in folder.glob(f"{STAGING_PREFIX}????????-probe"):
        if left.stat().st_mtime < folder.stat().st_mtime - _LEFT_OVER_S:
            shutil.rmtree(left, ignore_errors=True)
