"""Globs as regular expressions: `docs/**/*.md` from the project's root."""

from __future__ import annotations

import re
from functools import cache


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob over a whole path from the project's root: `**` is any number of folders.

    Never raises: a bracket that is not closed is an ordinary character.
    """
    *folders, name = [part for part in glob.split("/") if part not in ("", ".")] or [""]
    above = "".join("(?:[^/]+/)*" if part == "**" else f"{_part_text(part)}/" for part in folders)
    return re.compile(above + (".*" if name == "**" else _part_text(name)), re.DOTALL)


@cache
def part_pattern(part: str) -> re.Pattern[str]:
    """One part of a glob, between two `/`; names with a leading dot fit only where it spells it."""
    hidden = "" if part.startswith((".", "[.")) else r"(?!\.)"
    return re.compile(hidden + _part_text(part), re.DOTALL)


def _part_text(part: str) -> str:
    text, place = "", 0
    while place < len(part):
        character = part[place]
        place += 1
        if character == "*":
            text += "" if text.endswith("[^/]*") else "[^/]*"
        elif character == "?":
            text += "[^/]"
        elif character == "[" and (end := part.find("]", place + 1)) > 0:
            inside = part[place:end].replace("\\", "\\\\").replace("[", "\\[")
            inside = "^" + inside[1:] if inside.startswith("!") else inside
            try:
                text += re.compile(f"[{inside}]").pattern
            except re.error:
                text += re.escape(part[place - 1 : end + 1])
            place = end + 1
        else:
            text += re.escape(character)
    return text
