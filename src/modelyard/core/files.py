"""Files that are never half written: atomic replacement, staged folders, links, locks, hashes.

Every write here leaves the old state or the new state, whenever the process dies. Temporary names
start with `.staging-`; one left behind by a killed process is swept by the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError

STAGING_PREFIX = ".staging-"


class NoSpace(ModelyardError):
    """The disk is full, or would be."""


class LockHeld(ModelyardError):
    """Another process holds the lock and did not let go within the time given."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" and "read-only" into errors that say where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"no space left on the disk of {path.parent}",
                hint="free some space and run the same command again; nothing half written is kept",
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ModelyardError(
                f"cannot write: {error.strerror}", where=str(path), hint="check who owns it"
            ) from error
        raise


def require_free_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise NoSpace unless the disk of `folder` (or its nearest existing parent) has room."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise NoSpace(
            f"{purpose} needs {needed_bytes / 1e6:,.0f} MB on the disk of {existing}, "
            f"and {free / 1e6:,.0f} MB are free",
            hint="free some space, or keep experiments/ and models/ on another disk",
        )


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content` in one rename; readers see the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    staged = path.with_name(f"{STAGING_PREFIX}{os.getpid()}-{path.name}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(staged, path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in one rename."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, so that a killed process leaves whole lines."""
    with disk_errors(path), path.open("ab", buffering=0) as stream:
        stream.write(line.encode() + b"\n")


@contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final` that becomes `final` by one rename when the block ends well.

    `final` must not exist yet (versions never change). When the block raises, nothing is left.
    Raises FileExistsError when `final` exists.
    """
    if final.exists():
        raise FileExistsError(final)
    staged = final.with_name(f"{STAGING_PREFIX}{os.getpid()}-{final.name}")
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            yield staged
            for place in sorted(staged.rglob("*")):
                if place.is_file() and not place.is_symlink():
                    with place.open("rb") as stream:
                        os.fsync(stream.fileno())
            sync_folder(staged)
            os.rename(staged, final)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        sync_folder(final.parent)


def sweep_staging(folder: Path) -> None:
    """Remove what killed writers left in `folder`. Call it only while holding the folder's lock."""
    for left_over in folder.glob(f"{STAGING_PREFIX}*"):
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(left_over, ignore_errors=True)
        else:
            left_over.unlink(missing_ok=True)


def replace_link(link: Path, target: Path) -> None:
    """Point `link` at `target` (relative to the link's folder) in one rename."""
    staged = link.with_name(f"{STAGING_PREFIX}{os.getpid()}-{link.name}")
    with disk_errors(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        staged.unlink(missing_ok=True)
        staged.symlink_to(os.path.relpath(target, link.parent))
        os.replace(staged, link)
        sync_folder(link.parent)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_size_bytes(folder: Path) -> int:
    """The bytes of all regular files below `folder` (0 when there is none)."""
    return sum(
        place.stat().st_size
        for place in folder.rglob("*")
        if place.is_file() and not place.is_symlink()
    )


@contextmanager
def exclusive_lock(path: Path, *, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of one thing; the kernel lets go of it when the holder dies.

    `what` names the thing in the error ("experiment techcorp-demo"). Waits up to `wait_s` seconds.
    Raises LockHeld, saying which process holds it since when.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up_at:
                    raise LockHeld(
                        f"the {what} is in use by {_describe_holder(path)}",
                        hint="wait for it (`--wait SECONDS`), or stop that process",
                    ) from error
                time.sleep(min(0.05, max(0.0, give_up_at - time.monotonic())))
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": utc_now()}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
