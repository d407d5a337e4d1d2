"""Paths as their reader can use them: from the folder where somebody stands, or of a repository.

The library names a file of a project by its path in the project. That is what is stored, and what
`--json` prints. A person in another folder wants a path that a terminal opens, and a code host one
from the root of its repository.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.layout import find_project

STDIN = "<stdin>"
"""How messages call what came on stdin."""


def seen_from(folder: Path, root: Path, shown: str) -> str:
    """A path, relative to `root` or absolute, as somebody in `folder` writes it.

    Relative where it lies below `folder`, or both are in `root`: then `..` may stand at its
    beginning, and nowhere else. Absolute otherwise.
    """
    if shown == STDIN:
        return shown
    path, here, there = Path(shown), Path(folder).resolve(), Path(root).resolve()
    if not path.is_absolute():
        if here == there:
            return shown
        if here.is_relative_to(there) or there.is_relative_to(here):
            return os.path.relpath(there / path, here)
        return os.path.normpath(root / path)
    below = next((start for start in (folder, here) if path.is_relative_to(start)), None)
    return os.path.relpath(path, below) if below else shown


def place_seen_from(folder: Path, root: Path, where: str) -> str:
    """The same for `file:line:col`."""
    file, line, column = Diagnostic(message="", where=where).place
    shown = seen_from(folder, root, file)
    return f"{shown}:{line}:{column}" if where != file else shown


def for_reader(where: str) -> str:
    """A place of an error as somebody in the current folder writes it.

    `where` is a path in the project, with or without line and column; other words stay, and so
    does a path that leads somewhere from here.
    """
    try:
        here, root = Path.cwd(), find_project().root
    except (OSError, InvalidInput):
        return where
    file, _, _ = Diagnostic(message="", where=where).place
    if not file or os.path.lexists(here / file) or not os.path.lexists(root / file):
        return where
    return place_seen_from(here, root, where)


def error_for_reader(error: ModelyardError) -> ModelyardError:
    """The error with its places as somebody in the current folder writes them."""
    files = {problem.place[0] for problem in error.problems}
    begun = next((file for file in files if file and error.message.startswith(f"{file} ")), "")
    return ModelyardError(
        for_reader(begun) + error.message.removeprefix(begun),
        where=error.where and for_reader(error.where),
        hint=error.hint,
        problems=[
            replace(problem, where=problem.where and for_reader(problem.where))
            for problem in error.problems
        ],
    )


def repository_around(folder: Path) -> Path:
    """The folder from which a code host counts paths: $GITHUB_WORKSPACE, else the root of the git
    repository around `folder`; without either the folder itself."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace and folder.resolve().is_relative_to(Path(workspace).resolve()):
        return Path(workspace).absolute()
    above = (folder.absolute(), *folder.absolute().parents)
    return next((each for each in above if (each / ".git").exists()), folder.absolute())


def without_dots(path: Path) -> Path:
    """The path, absolute and without `..`; with them where links make them mean something else."""
    if ".." not in path.parts:
        return path.absolute()
    plain = Path(os.path.normpath(path.absolute()))
    try:
        return plain if plain.parent.samefile(path.parent) else path.absolute()
    except OSError:
        return path.absolute()
