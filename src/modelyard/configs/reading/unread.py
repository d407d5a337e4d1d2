"""What lies in configs/, looks like a config, and is read by nobody: mostly a slip of the keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.document import SUFFIXES, is_config_name
from modelyard.core.errors import Diagnostic, did_you_mean
from modelyard.core.layout import Project

_FOLDERS = [kind for kind in KINDS if kind != "integration"]


def find_unread(project: Project) -> Iterator[Diagnostic]:
    """A problem of the code `not-read` for each YAML file that no kind's folder brings in."""
    for place, folders, names in os.walk(project.configs):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                why = _why_unread(path.relative_to(project.configs).parts)
                if why:
                    message, hint = why
                    yield Diagnostic(
                        message=f"is not read: {message}",
                        where=f"{project.show(path)}:1:1",
                        hint=hint,
                        code="not-read",
                    )


def _why_unread(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """Why nobody reads the file at this path below configs/, and what to do; None if it is read."""
    folder, name = parts[0], parts[-1]
    if len(parts) == 1:
        if Path(name).stem == "integration" and is_config_name(name):
            return None
        near = did_you_mean(name.lower(), ["integration.yaml"])
        message = f"beside the folders of the kinds lies integration.yaml only{near}"
        return message, "put it into configs/KIND/, or out of configs/"
    if folder not in _FOLDERS:
        near = did_you_mean(folder.lower(), _FOLDERS)
        return f"'{folder}' is no kind of config{near}", f"kinds are {', '.join(_FOLDERS)}"
    if len(parts) > 2:
        return f"it lies deeper than configs/{folder}/", f"put it into configs/{folder}/"
    if not is_config_name(name):
        right = Path(name).stem.lower() + Path(name).suffix.lower()
        return (
            f"configs end in .yaml or .yml, in small letters (did you mean '{right}'?)",
            "rename it",
        )
    return None
