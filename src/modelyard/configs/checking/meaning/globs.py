"""Globs from the project's root: whether they stay inside, and whether they find anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.core.errors import KeyPath, dotted

_MOST_LOOKED_AT = 20_000
"""Files that are looked at before a glob is taken to find something."""
_WILD = re.compile(r"[*?\[]")


def check_glob(glob: str, path: KeyPath) -> Iterator[Mistake]:
    """What keeps a glob from naming files of the project."""
    steps = glob.split("/")
    if not glob.strip():
        why = "is empty"
    elif glob.startswith(("/", "~")) or re.match(r"[A-Za-z]:", glob):
        why = f"is '{glob}', which does not start in the project"
    elif ".." in steps:
        why = f"is '{glob}', which leads out of the project"
    elif "\\" in glob:
        why = f"is '{glob}'; folders are parted by '/'"
    elif any("**" in step and step != "**" for step in steps):
        why = f"is '{glob}', where '**' is not a whole folder name, and so is no more than '*'"
    else:
        return
    yield Mistake(
        path,
        "wrong-glob",
        f"'{dotted(path)}' {why}",
        hint="write it from the project's root, such as 'docs/**/*.md'",
    )


@lru_cache(maxsize=4096)
def finds_a_file(root: Path, glob: str) -> bool:
    """Whether there is a file that a glob names; also true where there are too many to look at."""
    steps = glob.split("/")
    wild = next((place for place, step in enumerate(steps) if _WILD.search(step)), len(steps))
    start = root.joinpath(*steps[:wild])
    if wild == len(steps):
        return start.is_file()
    matches = re.compile(_glob_pattern(steps[wild:])).fullmatch
    looked_at = 0
    for folder, folders, names in os.walk(start):
        if "**" not in steps:
            below = len(Path(folder).relative_to(start).parts)
            if below >= len(steps) - wild - 1:
                folders.clear()
        shown = os.path.relpath(folder, start)
        for name in names:
            if matches(name if shown == "." else f"{shown}/{name}"):
                return True
        looked_at += len(names) + len(folders)
        if looked_at > _MOST_LOOKED_AT:
            return True
    return False


def _glob_pattern(steps: list[str]) -> str:
    """A glob's steps as a regular expression; `**` is any number of folders."""
    pattern = ""
    for place, step in enumerate(steps):
        if step == "**":
            pattern += ".*" if place == len(steps) - 1 else "(?:[^/]+/)*"
            continue
        parts = re.split(r"(\*|\?|\[[^\]]+\])", step)
        words = {"*": "[^/]*", "?": "[^/]"}
        pattern += "".join(_step_pattern(part, words) for part in parts)
        pattern += "/" if place < len(steps) - 1 else ""
    return pattern


def _step_pattern(part: str, words: dict[str, str]) -> str:
    if part in words:
        return words[part]
    if part.startswith("[") and part.endswith("]") and len(part) > 2:
        inner = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[^{inner[1:]}]" if inner[0] == "!" and len(inner) > 1 else f"[{inner}]"
    return re.escape(part)
