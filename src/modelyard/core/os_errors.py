"""Refusals of the operating system, as errors that say where and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.sharing import access_hint

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ACCESS = (errno.EACCES, errno.EPERM)
_CHOOSE = "choose a file system with links and locks, such as ext4: docs/file-systems.md"
_PATHS = {
    errno.ENAMETOOLONG: ("is too long for a path", "a name in it may have up to 255 bytes"),
    errno.ENOTDIR: ("leads through something that is not a folder", "name a folder"),
    errno.ELOOP: ("is a link that leads back to itself", "name what it should lead to"),
    errno.EISDIR: ("is a folder", "name a file"),
}
"""Refusals that are due to the path alone: it is wrong, on every disk and for every user."""
_MACHINE = {
    errno.EIO: ("cannot be read or written", "check the disk"),
    errno.ESTALE: ("cannot be read or written", "check the network disk"),
    errno.ENOSYS: ("cannot be written", _CHOOSE),
    errno.EOPNOTSUPP: ("cannot be written", _CHOOSE),
    errno.ENOLCK: ("cannot be locked", _CHOOSE),
    errno.EMFILE: ("cannot be opened", "raise the limit of open files: `ulimit -n`"),
    errno.ENFILE: ("cannot be opened", "close other programs"),
}


class NoSpace(ModelyardError):
    """The disk is full, or would be."""


class NoAccess(ModelyardError):
    """What is there belongs to somebody else, or its disk is mounted read-only."""


CANNOT_WRITE = (NoAccess, NoSpace)
"""Why nothing can be written, where what is there may still be read."""
READ_ONLY_HINT = "its disk is mounted read-only: what is there can be read, and not changed"


def no_space(path: Path) -> NoSpace:
    """The error of a full disk that `path` should be written to."""
    return NoSpace(
        f"no space left on the disk of {path.parent}",
        hint="free some space and run the same command again; nothing half written is kept",
    )


def explain_os_error(error: OSError, path: Path | None) -> ModelyardError | None:
    """The error for people; None where it is not known to be due to the input or the machine.

    path: the place to name, where the error itself names none or should not be shown.
    """
    where = str(path) if path is not None else _file_of(error)
    if where is None:
        return None
    if error.errno in _FULL:
        return no_space(Path(where))
    if error.errno == errno.EROFS:
        return NoAccess(f"no access: {error.strerror}", where=where, hint=READ_ONLY_HINT)
    if error.errno in _NO_ACCESS:
        hint = access_hint(Path(where))
        return NoAccess(f"no access: {error.strerror}", where=where, hint=hint)
    if error.errno in _PATHS:
        message, hint = _PATHS[error.errno]
        return InvalidInput(message, where=where, hint=hint)
    if error.errno in _MACHINE:
        message, hint = _MACHINE[error.errno]
        return ModelyardError(f"{message}: {error.strerror}", where=where, hint=hint)
    return None


def explain_refused_access(error: BaseException) -> NoAccess | None:
    """The error for people where a refusal of access, on whatever way, is what caused `error`.

    Libraries in other languages raise classes of their own, whose text alone says it.
    """
    cause: BaseException | None = error
    while cause is not None:
        is_refusal = isinstance(cause, PermissionError)
        if is_refusal or os.strerror(errno.EACCES) in str(cause):
            where = _file_of(cause) if isinstance(cause, OSError) else None
            what = os.strerror(errno.EACCES) if where else str(cause)
            hint = access_hint(Path(where)) if where else "check who owns it"
            return NoAccess(f"no access: {what}", where=where, hint=hint)
        cause = cause.__cause__
    return None


def _file_of(error: OSError) -> str | None:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None
