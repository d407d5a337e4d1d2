"""Before a command: a restore over the project that a killed process left half done is completed.

No command works with a project of which one half is of then and the other of now.
"""

from __future__ import annotations

import os

from modelyard.core.errors import ModelyardError
from modelyard.core.layout import find_project


def complete_interrupted_restore() -> None:
    """Complete it, if there is one. Raises ModelyardError when it cannot be completed."""
    try:
        project = find_project()
    except (ModelyardError, OSError):
        return  # the command says so, if it needs a project
    if not os.path.lexists(project.restoring):
        return
    from modelyard.backup.swap import complete_restore
    from modelyard.cli.render import print_warning

    if plan := complete_restore(project):
        print_warning(f"completed the restore of {plan.snapshot}, which was interrupted")
