"""Reading a file that may have become something else: a pipe would keep the reader waiting."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def require_regular(path: Path) -> None:
    """Raise OSError where something other than a regular file is, or nothing; links are followed.

    A folder is IsADirectoryError, as for whoever reads it.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file. Raises OSError as `require_regular` does, and when reading."""
    require_regular(path)
    return path.read_bytes()
