"""A new project: its folders and one example of each file, copied from `starter/`.

Never overwrites: a file that exists stays as it is. Does not know what the files mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from modelyard.core.errors import InvalidInput
from modelyard.core.file_system import require_file_system
from modelyard.core.files import make_folder, write_atomic
from modelyard.core.given_paths import given_path_errors, require_folder_place
from modelyard.core.layout import Project, find_project
from modelyard.core.sharing import Shared, Sharing, load_sharing, project_file_text
from modelyard.setup.share import SharingChange, require_may_share, share_project

# Under its real name git would apply it to this repository.
_PROJECT_FOLDERS = ("configs", "datasets", "experiments", "models", ".models")
_RENAMED = {"gitignore": ".gitignore"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """The result of `init_project`, or of its dry run."""

    project: Project
    """The project."""
    written: tuple[str, ...]
    """The files written, relative to the project's root."""
    kept: tuple[str, ...]
    """The files that existed before and stay unchanged."""
    sharing: str
    """With whom it is shared: `private`, `group` or `all`."""
    shared: SharingChange | None
    """What the sharing that was asked for changed of files that existed before."""


def load_starter() -> dict[str, bytes]:
    """Every file of a new project: its path relative to the root, and its content."""
    found = dict(_walk(files("modelyard.setup") / "starter", ""))
    # A wheel holds them once, because its builder does not follow a second link to a folder.
    found |= _walk(files("modelyard.configs") / "schemas", "configs/schemas/")
    return dict(sorted((_RENAMED.get(path, path), content) for path, content in found.items()))


def init_project(
    root: Path, *, sharing: Sharing | None = None, dry_run: bool = False
) -> NewProject:
    """Make `root` a project, writing what is missing, each file in one rename.

    sharing: with whom it is shared; None leaves what is said there, which is private at first.
    Raises InvalidInput, before anything is written, when a file is where a folder must be, when a
    link leaves the project, or when `root` lies in another project's folders; and when no folder
    can be made there. Raises UnsuitableFileSystem where a project cannot be, NoAccess where only
    the project's owner may say with whom it is shared.
    """
    project = Project(require_folder_place(root))
    _refuse_inside(project.root)
    starter = load_starter()
    inside = sorted({parent for path in starter for parent in Path(path).parents})
    folders = [project.contain(project.root / folder, "folder") for folder in inside]
    for folder in (*reversed(project.root.parents), *folders):
        if os.path.lexists(folder) and not folder.is_dir():
            raise InvalidInput(
                "is not a folder",
                where=str(folder),
                hint="name a folder, new or existing: `models init DIR`",
            )
    require_file_system(project)
    chosen = sharing or load_sharing(project)
    if project.root.is_dir():
        require_may_share(project, chosen)
    project_file = project.show(project.project_file)
    starter = {project_file: project_file_text(chosen).encode(), **starter}
    kept = tuple(path for path in starter if os.path.lexists(project.root / path))
    written = tuple(path for path in starter if path not in kept)
    shared = None
    if not dry_run:
        with given_path_errors(project.root):
            if project_file in written:  # first: what is written after it follows it
                _write_project_file(project, chosen)
            for path in written:
                if path != project_file:
                    write_atomic(project.root / path, starter[path])
    if sharing is not None and project.root.is_dir():
        shared = share_project(project, sharing, dry_run=dry_run)
    return NewProject(project=project, written=written, kept=kept, sharing=chosen, shared=shared)


def _write_project_file(project: Project, sharing: Sharing) -> None:
    missing = [each for each in (project.root, project.local_state) if not each.exists()]
    make_folder(project.root)
    write_atomic(project.project_file, project_file_text(sharing))
    shared = Shared.of(project, sharing)
    for made in (*missing, project.project_file):
        shared.follow(made)


def _refuse_inside(root: Path) -> None:
    """Keep a project out of the folders of another, such as its `datasets/`."""
    try:
        outer = find_project(root.parent)
    except InvalidInput:
        return
    first = root.relative_to(outer.root.resolve()).parts[0]
    if first in _PROJECT_FOLDERS:
        raise InvalidInput(
            f"lies in {first}/ of the project {outer.root}",
            where=str(root),
            hint="choose a folder outside it",
        )


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_bytes()
