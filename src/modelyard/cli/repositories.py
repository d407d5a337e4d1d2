"""Opening the repository of backups that the options name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project, find_project

if TYPE_CHECKING:
    from modelyard.backup.repository import Repository


def project_or_here(repo: str | None) -> Project:
    """The project; the current folder where there is none and `repo` names the repository.

    So the backups of a project that is gone can be looked at. Raises InvalidInput.
    """
    try:
        return find_project()
    except ModelyardError as error:
        if repo is not None:
            return Project(Path.cwd())
        error.hint = f"{error.hint}; for a project that is gone, name its repository with --repo"
        raise


def opened_repository(repo: str | None, key: str | None) -> Repository:
    """The repository at `repo`, opened with the key at `key` or that of the environment.

    Raises NoRepository, InvalidInput and WrongKey as `open_repository` does.
    """
    from modelyard.backup.encryption import read_backup_key
    from modelyard.backup.repository import open_repository

    project = project_or_here(repo)
    return open_repository(repo, project, key=read_backup_key(key, project))
