"""Paths that a person gave for writing: looked at first, and never written over what is no file.

A rename replaces whatever stands at a path, a device or a pipe too, so what may be replaced is
decided here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.core.errors import InvalidInput
from modelyard.core.os_errors import explain_os_error


def require_file_place(path: Path) -> Path:
    """The file to write for `path`, with links followed: a regular file, or nothing yet.

    Raises InvalidInput for a folder, a device, a pipe, a link to nothing, and a path on which no
    file can be. Writes nothing.
    """
    with given_path_errors(path):
        mode = _mode(path)
        if mode is None and os.path.lexists(path):
            raise InvalidInput("is a link to nothing", where=str(path), hint="name the file itself")
        if mode is not None and stat.S_ISDIR(mode):
            raise InvalidInput("is a folder", where=str(path), hint="name a file in it")
        if mode is not None and not stat.S_ISREG(mode):
            raise InvalidInput(
                "is no regular file, and nothing else is replaced",
                where=str(path),
                hint="name a file, or a place where one can be made",
            )
        return Path(os.path.realpath(path))


def require_folder_place(path: Path) -> Path:
    """The folder to write into, with links followed: a folder, or nothing yet.

    Raises InvalidInput for anything else, and for a path on which no folder can be. Writes nothing.
    """
    with given_path_errors(path):
        mode = _mode(path)
        if (mode is None and os.path.lexists(path)) or (mode and not stat.S_ISDIR(mode)):
            raise InvalidInput(
                "is not a folder", where=str(path), hint="name a folder, or a new one"
            )
        return Path(os.path.realpath(path))


def write_given_file(path: Path, content: str | bytes) -> None:
    """Replace the file that a person named by `content`, in one rename.

    Raises InvalidInput as `require_file_place` does, and where the system refuses the path.
    """
    # Imported here: `models --help` loads every command, and writes nothing.
    from modelyard.core.files import write_atomic

    target = require_file_place(path)
    with given_path_errors(path):
        write_atomic(target, content)


@contextmanager
def given_path_errors(path: Path) -> Iterator[None]:
    """Turn every refusal of the system into an error about the path that was given.

    But for FileExistsError: whether that is an error is for the caller to say.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise explain_os_error(error, path) or InvalidInput(
            f"nothing can be written there: {error.strerror or error}",
            where=str(path),
            hint="name another place",
        ) from error


def _mode(path: Path) -> int | None:
    """What stands at the path, links followed; None for nothing and a link to nothing."""
    with suppress(FileNotFoundError):
        return path.stat().st_mode
    return None
