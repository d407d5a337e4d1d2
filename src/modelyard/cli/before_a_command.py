"""Before a command: what must hold of the project that it works with.

A restore over the project that a killed process left half done is completed: no command works with
a project of which one half is of then and the other of now. And a command that changes something
ends here, before it leaves anything, where the project's file system lacks what it needs.
"""

from __future__ import annotations

import os

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project, find_project


def prepare_project(*, changes: bool) -> None:
    """Prepare the project, if there is one. changes: whether the command changes something.

    Raises ModelyardError when a restore cannot be completed, UnsuitableFileSystem.
    """
    try:
        project = find_project()
    except (ModelyardError, OSError):
        return  # the command says so, if it needs a project
    if os.path.lexists(project.restoring):
        _complete_restore(project)
    if changes:
        from modelyard.core.file_system import require_file_system

        require_file_system(project)


def _complete_restore(project: Project) -> None:
    from modelyard.backup.swap import complete_restore
    from modelyard.cli.render import print_warning

    if plan := complete_restore(project):
        print_warning(f"completed the restore of {plan.snapshot}, which was interrupted")
