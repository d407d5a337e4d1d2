"""A folder as an object store, on every file system that can rename.

obstore creates an object once by a hard link, which exFAT, vfat and some network mounts have not.
Here the data is written to a file in a folder of its own, `.creating-<random>`, and from there it
becomes the object in the first way that the file system knows:

- a hard link, or a rename that replaces nothing (`renameat2`): both are exclusive on the server of
  a network mount too;
- else a *claim*. The folder is renamed to `.creating-<hash of the key>`, which is refused while
  that holds something; then the file is renamed out of it to its place. Anybody may do the second
  step, and whoever comes next does it before a claim of their own, so nobody waits for a process
  that was killed. A key is claimed until its object is there, and whoever claims it later finds it.

Locks and clocks play no part. What a killed process leaves beside a claim is removed a day later.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from modelyard.core.files import sync_path
from modelyard.stores.store import CREATING_PREFIX

_HIDDEN = "#1"
"""Ends the names of files that obstore does not list."""
_ABANDONED_S = 86_400.0
_MOST_CLAIMS_TRIED = 100
_IN_USE = (errno.EEXIST, errno.ENOTEMPTY)
_NOT_KNOWN = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems say of hard links, and of renames with a flag, that they do not know."""
_AT_CURRENT_FOLDER = -100
_NO_REPLACE = 1


class FolderStore(LocalStore):
    """obstore's store in a folder, whose creations need no hard link."""

    def put(self, path: str, file: Any, **options: Any) -> Any:
        """Write an object; with `mode="create"`, one that does not exist yet.

        Raises AlreadyExistsError then when there is one, and OSError.
        """
        if options.get("mode") != "create":
            return super().put(path, file, **options)
        assert self.prefix is not None
        if not create_once(Path(self.prefix), path, file):
            raise AlreadyExistsError(f"{path} exists already")
        return None


def create_once(folder: Path, key: str, data: bytes) -> bool:
    """Create the file `key` in `folder`; of several processes at once only one succeeds.

    Returns False when there is one, which stays as it is. Killed at any time, there is no such file
    or a whole one. `sync_path` of the file's folder makes it survive a power cut as well.
    Raises OSError where the file system refuses, also one that renames no folders.
    """
    final = folder / key
    if os.path.lexists(final):
        return False
    final.parent.mkdir(parents=True, exist_ok=True)
    staged = folder / f"{CREATING_PREFIX}{secrets.token_hex(8)}"
    staged.mkdir()
    try:
        file = staged / f"{staged.name.removeprefix(CREATING_PREFIX)}{_HIDDEN}"
        file.write_bytes(data)
        sync_path(file)
        _remove_abandoned(folder, file.stat().st_mtime)
        for way in (os.link, _rename_to_new):
            try:
                way(file, final)
                return True
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NOT_KNOWN:
                    raise
        return _create_by_claim(file, final, folder / f"{CREATING_PREFIX}{_hash(key)}")
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename a file in a way that never replaces one.

    Raises FileExistsError, and OSError with one of `_NOT_KNOWN` where this way is not known.
    Source: https://man7.org/linux/man-pages/man2/rename.2.html
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(source))
    names = os.fsencode(source), os.fsencode(target)
    if library.renameat2(_AT_CURRENT_FOLDER, names[0], _AT_CURRENT_FOLDER, names[1], _NO_REPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source), None, str(target))


def _create_by_claim(file: Path, final: Path, claim: Path) -> bool:
    """Make a file, alone in its folder, `final` by a claim; False when there is one."""
    for _ in range(_MOST_CLAIMS_TRIED):
        _complete(claim, final)
        if os.path.lexists(final):
            return False
        try:
            file.parent.rename(claim)
        except OSError as error:
            if error.errno in _NOT_KNOWN:
                lacks = "this file system has no hard links, and renames no folders"
                raise OSError(error.errno, lacks, str(final)) from error
            if error.errno not in _IN_USE:
                raise
        else:
            _complete(claim, final)
            with suppress(FileNotFoundError):
                _lost(claim, file.name).unlink()
                return False
            return True
    raise OSError(errno.EBUSY, "is claimed by others again and again", str(claim))


def _complete(claim: Path, final: Path) -> None:
    """Put what is claimed in place, or aside where an object is; then the claim is free."""
    with suppress(FileNotFoundError):
        for name in os.listdir(claim):  # noqa: PTH208 (one file, named by its process)
            with suppress(FileNotFoundError):  # somebody else did it meanwhile
                is_there = os.path.lexists(final)
                (claim / name).rename(_lost(claim, name) if is_there else final)
        try:
            claim.rmdir()
        except OSError as error:
            if error.errno not in (*_IN_USE, errno.ENOENT):
                raise


def _lost(claim: Path, name: str) -> Path:
    """Where a file is put that was claimed too late; its process looks there."""
    return claim.with_name(f"{CREATING_PREFIX}{name}")


def _remove_abandoned(folder: Path, now_s: float) -> None:
    """Remove what killed processes left a day ago, by the clock of the file system."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(CREATING_PREFIX):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime > now_s - _ABANDONED_S:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()
