"""Opening the repository of backups that the options name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project, find_project

if TYPE_CHECKING:
    from modelyard.backup.repository import Repository


def project_or_here(*, needed: bool) -> Project:
    """The project; a stand-in for the current folder where there is none and none is needed.

    So the backups of a project that is gone can be used. Raises InvalidInput.
    """
    try:
        return find_project()
    except ModelyardError as error:
        if not needed:
            return Project(Path.cwd())
        error.hint = f"{error.hint}; where the project is gone, name the repository with --repo"
        raise


def opened_repository(repo: str | None, key: str | None) -> Repository:
    """The repository at `repo`, opened with the key at `key` or that of the environment.

    A project is needed where `repo` is not given. Raises NoRepository, InvalidInput and WrongKey as
    `open_repository` does.
    """
    from modelyard.backup.encryption import read_backup_key
    from modelyard.backup.repository import open_repository

    project = project_or_here(needed=repo is None)
    return open_repository(repo, project, key=read_backup_key(key, project))
