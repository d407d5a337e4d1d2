"""A new project: its folders and one example of each file, copied from `starter/`.

Never overwrites: a file that exists stays as it is. Does not know what the files mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import write_atomic
from modelyard.core.layout import Project

# Under its real name it would act on this repository.
_RENAMED = {"gitignore": ".gitignore"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """What `init_project` did, or would do."""

    project: Project
    """The project."""
    written: tuple[str, ...]
    """The files written, relative to the project's root."""
    kept: tuple[str, ...]
    """The files that were there before and stay as they were."""


def load_starter() -> dict[str, bytes]:
    """Every file of a new project: its path relative to the root, and its content."""
    found = dict(_walk(files("modelyard.setup") / "starter", ""))
    # A wheel has them once: its builder follows no second link to a folder.
    found |= _walk(files("modelyard.configs") / "schemas", "configs/schemas/")
    return dict(sorted((_RENAMED.get(path, path), content) for path, content in found.items()))


def init_project(root: Path, *, dry_run: bool = False) -> NewProject:
    """Make `root` a project, writing what is missing, each file in one rename.

    Raises InvalidInput, before anything is written, when a folder's place is taken by a file or by
    a link that leaves the project; ModelyardError when a folder cannot be made there.
    """
    project = Project(_resolve(root))
    starter = load_starter()
    for folder in (*reversed(project.root.parents), *_folders(project, starter)):
        _check_folder(folder)
    kept = tuple(path for path in starter if os.path.lexists(project.root / path))
    written = tuple(path for path in starter if path not in kept)
    if not dry_run:
        _write(project, {path: starter[path] for path in written})
    return NewProject(project=project, written=written, kept=kept)


def _resolve(root: Path) -> Path:
    try:
        return root.resolve()
    except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 raise the latter
        raise InvalidInput(
            "is a link that leads nowhere", where=str(root), hint="name a folder, or a new one"
        ) from error


def _write(project: Project, content: Mapping[str, bytes]) -> None:
    try:
        for path, data in content.items():
            write_atomic(project.root / path, data)
    except OSError as error:
        raise ModelyardError(
            f"no project can be made here: {error.strerror}",
            where=str(project.root),
            hint="choose another folder: `models init DIR`",
        ) from error


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for place in folder.iterdir():
        if place.is_dir():
            yield from _walk(place, f"{prefix}{place.name}/")
        else:
            yield f"{prefix}{place.name}", place.read_bytes()


def _folders(project: Project, starter: Iterable[str]) -> list[Path]:
    folders = sorted({parent for path in starter for parent in Path(path).parents})
    return [project.contain(project.root / folder, "folder") for folder in folders]


def _check_folder(folder: Path) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise InvalidInput(
            "is not a folder",
            where=str(folder),
            hint="name a folder, new or existing: `models init DIR`",
        )
