"""A project that everybody on the machine may read."""

from __future__ import annotations

from modelyard.core.layout import Project
from modelyard.core.sharing import Sharing, project_file_text


def share_with_all(project: Project) -> None:
    """Make a new project that others may read."""
    for folder in (project.root, project.configs, project.models, project.local_state):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    project.project_file.write_text(project_file_text(Sharing.ALL))
    project.project_file.chmod(0o644)
