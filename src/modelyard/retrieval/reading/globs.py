"""Path patterns: the globs of an index, and the rules of .gitignore files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from modelyard.core.globs import glob_pattern

_GROUP_NAME = re.compile(r"\(\?P<\w+>")
"""Several patterns joined into one may not use the same name."""


def matches_any(path: str, globs: Sequence[str]) -> bool:
    """Whether a shown path fits one of the globs."""
    return any(glob_pattern(glob).fullmatch(path) for glob in globs)


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line of a .gitignore."""

    pattern: re.Pattern[str]
    """The paths that it names themselves, not those in a folder that it names; all from the folder
    of its .gitignore."""
    ignores: bool
    """False for a line that begins with `!`."""


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The rules of one .gitignore, in its order."""

    folder: str
    """Where it lies, from the project's root with `/` at the end; empty for the root."""
    rules: tuple[IgnoreRule, ...]
    """Its lines."""
    any_rule: re.Pattern[str]
    """What at least one line matches: most paths need only this check."""


def read_rules(folder: str, text: str) -> IgnoreFile:
    """The rules in the text of a .gitignore; a line that is no pattern is skipped."""
    from pathspec import GitIgnoreSpec  # takes 20 ms that only a walk needs

    rules = []
    for line in text.splitlines():
        with suppress(ValueError, re.error):  # pathspec's own error is a ValueError
            rules += [
                IgnoreRule(_naming(pattern.regex.pattern), pattern.include)
                for pattern in GitIgnoreSpec.from_lines([line]).patterns
                if pattern.regex is not None and pattern.include is not None
            ]
    return IgnoreFile(folder, tuple(rules), _joined(rules))


def _naming(form: str) -> re.Pattern[str]:
    """pathspec's form of a rule, for the paths that the rule names and for none below them.

    A folder that is ignored is never entered, so what lies in it needs no rule: and a rule that
    takes a folder back takes nothing in it back that another rule names.
    """
    whole = f"(?s:.*){form}" if not form.startswith("^") else form
    return re.compile(whole + (r"." if form.endswith("/") else r"\Z"))


def _joined(rules: Sequence[IgnoreRule]) -> re.Pattern[str]:
    """A pattern for what any of the rules matches; without rules it matches nothing."""
    unnamed = (_GROUP_NAME.sub("(?:", rule.pattern.pattern) for rule in rules)
    return re.compile("|".join(f"(?:{pattern})" for pattern in unnamed) or r"(?!)")


def is_ignored(path: str, files: Sequence[IgnoreFile]) -> bool:
    """Whether a path (a folder ends in `/`) is ignored; the nearest file's last rule decides."""
    for file in reversed(files):
        below = path[len(file.folder) :]
        if not file.any_rule.match(below):
            continue
        for rule in reversed(file.rules):
            if rule.pattern.match(below):
                return rule.ignores
    return False
