"""Atomic file operations: replacement, staged folders, links, locks, hashes.

Every write here leaves the old state or the new state, whenever the process dies. Temporary names
start with `.staging-`; one left behind by a killed process stays until the next holder of the
same lock calls `sweep_staging`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.json_reading import InvalidJson, read_json
from modelyard.core.os_errors import CANNOT_WRITE, NoAccess, NoSpace, explain_os_error, no_space
from modelyard.core.progress import Progress
from modelyard.core.sharing import Shared, Sharing, access_hint, shared_at
from modelyard.core.wording import megabytes

STAGING_PREFIX = ".staging-"


class LockHeld(ModelyardError):
    """Another process holds the lock and did not release it in time."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system refuses into errors that say where and what to do."""
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str) and STAGING_PREFIX not in error.filename
        if explained := explain_os_error(error, None if named else path):
            raise explained from error
        raise
    except ModelyardError:
        raise
    except Exception as error:
        # safetensors and torch raise classes of their own when the disk is full.
        if os.strerror(errno.ENOSPC) in str(error):
            raise no_space(path) from error
        raise


def require_free_space(
    folder: Path,
    needed_bytes: int,
    purpose: str,
    *,
    hint: str = "free some space, or keep experiments/ and models/ on another disk",
) -> None:
    """Raise NoSpace unless the disk of `folder` (or its nearest existing parent) has that space."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise NoSpace(
            f"{purpose} needs {megabytes(needed_bytes)} on the disk of {existing}, "
            f"and {megabytes(free)} are free",
            hint=hint,
        )


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, so that they survive a power cut.

    In a project each has its mode from the first instant on. Raises InvalidInput where none can be,
    such as below /proc or in place of a file.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        if missing and (shared := shared_at(folder)):
            for place in reversed(missing):
                _make_shared_folder(place, shared)
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise InvalidInput(
            "no folder can be made there", where=str(folder), hint="choose another place"
        ) from error
    except FileExistsError as error:
        raise InvalidInput(
            "is not a folder", where=str(folder), hint="move it away, or choose another place"
        ) from error
    for place in missing:
        sync_path(place.parent)


def _make_shared_folder(folder: Path, shared: Shared) -> None:
    staged = _staging_place(folder)
    staged.mkdir()
    try:
        shared.follow(staged, folder)
        staged.rename(folder)
    except OSError as error:
        staged.rmdir()
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise


def make_file(path: Path) -> None:
    """Make an empty file where there is none, with the mode that it has in its project at once.

    One of this user that an earlier version made so that others are locked out is mended.
    Raises OSError.
    """
    shared = shared_at(path)
    with suppress(FileNotFoundError):
        status = path.stat()
        if shared is not None:
            shared.mend(path, status)
        return
    if shared is None or shared.sharing is Sharing.PRIVATE:
        _create(path, 0o644 if shared is None else 0o600)
        return
    staged = _staging_place(path)
    _create(staged, 0o600)
    try:
        shared.follow(staged, path)
        try:
            os.link(staged, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a disk without hard links
            _create(path, 0o600)
            shared.follow(path)
    finally:
        staged.unlink()


def _create(path: Path, mode: int) -> None:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))


def sync_path(path: Path) -> None:
    """Make the content of a file, or renames inside a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and container file systems know no fsync of a folder.
        if error.errno != errno.EINVAL or path.is_file():
            raise
    finally:
        os.close(handle)


def _staging_place(final: Path) -> Path:
    """A free path beside `final` that no other thread, process or container on this disk uses."""
    return final.with_name(f"{STAGING_PREFIX}{secrets.token_hex(4)}-{final.name}")


@contextmanager
def _replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A free path beside `path`; what the block makes there takes its place in one rename."""
    staged = _staging_place(path)
    with disk_errors(path):
        make_folder(path.parent)
        try:
            yield staged
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        if durable:
            sync_path(path.parent)


def write_atomic(
    path: Path, content: str | bytes, *, mode: int = 0o644, durable: bool = True
) -> None:
    """Replace `path` by `content` in one rename; readers see the old file or the new one.

    mode: cut by the umask; in a project its bits of the owner alone count, see `core/sharing.py`.
    durable: whether it survives a power cut; without it the file may then be damaged.
    """
    data = content.encode() if isinstance(content, str) else content
    with _replacing(path, durable=durable) as staged:
        staged.touch(mode, exist_ok=False)
        staged.write_bytes(data)
        follow_sharing(staged, path)
        if durable:
            sync_path(staged)


def write_lines_atomic(path: Path, lines: Iterable[str], *, mode: int = 0o644) -> None:
    """As `write_atomic`, of lines as they come; none of them is kept in memory."""
    with _replacing(path) as staged:
        staged.touch(mode, exist_ok=False)
        with staged.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        follow_sharing(staged, path)
        sync_path(staged)


def follow_sharing(path: Path, place: Path) -> None:
    """Give what another library made at `path` the modes that it has at `place`, with all in it.

    Outside of projects it stays as it is.
    """
    if shared := shared_at(place):
        shared.follow_below(path, place)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in one rename."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as JSON for people: indented, in the order of its keys."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, so that a killed process leaves whole lines.

    One writer at a time. On a full disk the part that still fitted is taken back.
    """
    data = line.encode() + b"\n"
    with disk_errors(path):
        make_file(path)
    with disk_errors(path), path.open("ab", buffering=0) as stream:
        written = stream.write(data)
        if written != len(data):
            os.ftruncate(stream.fileno(), stream.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final` that is renamed to `final` when the block succeeds.

    `final` must not exist yet (versions never change). When the block raises, nothing is left.
    Raises FileExistsError when `final` exists, before the block or after it.
    """
    if os.path.lexists(final):
        raise FileExistsError(final)
    staged = _staging_place(final)
    with disk_errors(final):
        make_folder(final.parent)
        staged.mkdir()
        follow_sharing(staged, staged)
        try:
            yield staged
            follow_sharing(staged, final)
            sync_tree(staged)
            try:
                staged.rename(final)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise FileExistsError(final) from error
                raise
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        sync_path(final.parent)


def sync_tree(folder: Path) -> None:
    """Make a folder with all it holds survive a power cut."""
    for place in (*folder.rglob("*"), folder):
        if not place.is_symlink() and (place.is_dir() or place.is_file()):
            sync_path(place)


def sweep_staging(folder: Path, name: str | re.Pattern[str] = re.compile(".*")) -> None:
    """Remove the staging files of killed writers in `folder`: those for `name`, or all.

    Call it only while holding the lock under which those names are written.
    """
    pattern = re.escape(name) if isinstance(name, str) else name.pattern
    staging_name = re.compile(f"{re.escape(STAGING_PREFIX)}[0-9a-f]+-{pattern}")
    with disk_errors(folder):
        for left_over in folder.glob(f"{STAGING_PREFIX}*"):
            if not staging_name.fullmatch(left_over.name):
                continue
            if left_over.is_dir() and not left_over.is_symlink():
                shutil.rmtree(left_over, ignore_errors=True)
            else:
                left_over.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove `folder`: renamed to a staging name first, then deleted.

    What a process killed in between leaves has a staging name, and `sweep_staging` removes it.
    Raises ModelyardError for a link: what it leads to belongs to somebody else.
    """
    if folder.is_symlink():
        raise ModelyardError(
            "is a link, where a folder of its own belongs",
            where=str(folder),
            hint="remove the link by hand",
        )
    staged = _staging_place(folder)
    with disk_errors(folder):
        require_removable(folder)
        folder.rename(staged)
        sync_path(folder.parent)
        shutil.rmtree(staged)


def require_removable(folder: Path) -> None:
    """Raise NoAccess where something in it belongs to somebody who alone may remove it."""
    for parent, names, files in os.walk(folder):
        if (names or files) and not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
            raise NoAccess(
                "no access: it cannot be emptied", where=parent, hint=access_hint(Path(parent))
            )


def remove_place(place: Path) -> None:
    """Remove a file, a link (never what it leads to), or a folder as `remove_folder` does."""
    if place.is_dir() and not place.is_symlink():
        remove_folder(place)
    else:
        place.unlink()


def replace_link(link: Path, target: Path) -> None:
    """Point `link` at `target` (relative to the link's folder) in one rename.

    Raises ModelyardError when a real file or folder stands where the link should be.
    """
    with _replacing(link) as staged:
        if os.path.lexists(link) and not link.is_symlink():
            raise ModelyardError(
                "is a file or folder of its own, where a link to a version belongs",
                where=str(link),
                hint="move it away and run the same command again",
            )
        staged.symlink_to(os.path.relpath(target, link.parent))


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


_held_locks: set[int] = set()


def _release_locks_in_child() -> None:
    for handle in _held_locks:
        os.close(handle)
    _held_locks.clear()


# A forked worker, such as a data loader's, must not keep the locks of a killed parent.
os.register_at_fork(after_in_child=_release_locks_in_child)


def exclusive_lock(
    path: Path, *, what: str, wait_s: float = 0.0, progress: Progress | None = None
) -> AbstractContextManager[None]:
    """Hold the lock of one thing; the kernel releases it when the holder dies.

    `what` names the thing in the error ("experiment techcorp-demo"). Waits up to `wait_s` seconds,
    and reports the wait to `progress`. A second `with` on the same lock in one process waits too.
    Raises LockHeld, saying which process holds it since when.
    """
    return _lock(path, fcntl.LOCK_EX, what, wait_s, progress)


@contextmanager
def lock_where_possible(path: Path, *, what: str, wait_s: float = 0.0) -> Iterator[bool]:
    """`exclusive_lock` for work that writes outside of the project: whether it is held.

    It is not where this user cannot write to the project, or its disk is read-only or full. Then
    two of them can be at work at once, which must do no more harm than doing it twice.
    """
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(path, what=what, wait_s=wait_s))
            is_held = True
        except CANNOT_WRITE:
            is_held = False
        yield is_held


def shared_lock(path: Path, *, what: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Hold a lock together with all others that share it; whoever wants it alone waits.

    The rest is as for `exclusive_lock`; who shares it is not known.
    """
    return _lock(path, fcntl.LOCK_SH, what, wait_s, None)


@contextmanager
def _lock(
    path: Path, operation: int, what: str, wait_s: float, progress: Progress | None
) -> Iterator[None]:
    with disk_errors(path):
        make_folder(path.parent)
        make_file(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _held_locks.add(handle)
    try:
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                with disk_errors(path):
                    fcntl.flock(handle, operation | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                held = f"the {what} is in use by {_describe_holder(path)}"
                if time.monotonic() >= give_up_at:
                    raise LockHeld(
                        held, hint="wait for it (`--wait SECONDS`), or stop that process"
                    ) from error
                if progress is not None:
                    limit = "" if math.isinf(wait_s) else f", for {wait_s:,.0f} s at most"
                    progress.stage(f"wait{limit}: {held}")
                    progress = None
                time.sleep(min(0.05, max(0.0, give_up_at - time.monotonic())))
        with suppress(OSError):  # on a full disk the lock is held all the same
            os.ftruncate(handle, 0)
            if operation == fcntl.LOCK_EX:
                holder = {"pid": os.getpid(), "since": utc_now()}
                os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        if handle in _held_locks:  # a forked child has removed it
            _held_locks.remove(handle)
            with suppress(OSError):  # where there are no locks, there is none to release
                fcntl.flock(handle, fcntl.LOCK_UN)  # also when a child has not closed its copy yet
            os.close(handle)


def _describe_holder(path: Path) -> str:
    try:
        holder = read_json(path)
        return f"process {holder['pid']} since {holder['since']}"
    except (InvalidJson, KeyError, TypeError):
        return "another process"
