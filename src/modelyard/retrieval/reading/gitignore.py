"""What .gitignore files name, asked of one entry after another by a walk from the top down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line of a .gitignore."""

    pattern: re.Pattern[str]
    """What it matches, on paths from the folder of its file."""
    ignores: bool
    """False for a line that begins with `!`."""

    def names(self, path: str) -> bool:
        """Whether this path itself is meant, and not only a folder above it."""
        match = self.pattern.match(path)
        if match is None:
            return False
        if "ps_d" not in self.pattern.groupindex:
            return match.end() < len(path)  # `docs/**`: what lies in docs, and not docs
        return match["ps_d"] is None or match.end("ps_d") == len(path)


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The rules of one .gitignore, in its order."""

    folder: str
    """Where it lies, from the project's root with `/` at the end; empty for the root."""
    rules: tuple[IgnoreRule, ...]
    """Its lines."""
    any_rule: re.Pattern[str]
    """What some line matches: most paths are answered by one look."""


def read_rules(folder: str, text: str) -> IgnoreFile:
    """The rules in the text of a .gitignore; a line that is no pattern is passed over."""
    # 20 ms that only a walk pays for.
    from pathspec.patterns.gitignore.base import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    rules = []
    for line in text.splitlines():
        try:
            pattern, ignores = GitIgnoreSpecPattern.pattern_to_regex(line)
            if pattern is not None and ignores is not None:
                rules.append(IgnoreRule(re.compile(str(pattern)), ignores))
        except (GitIgnorePatternError, ValueError, re.error):
            continue
    return IgnoreFile(folder, tuple(rules), _joined(rules))


def _joined(rules: Sequence[IgnoreRule]) -> re.Pattern[str]:
    """What any of the rules matches, and nothing where there is none."""
    unnamed = (rule.pattern.pattern.replace("(?P<ps_d>", "(?:") for rule in rules)
    return re.compile("|".join(f"(?:{one})" for one in unnamed) or r"(?!)")


def is_ignored(path: str, files: Sequence[IgnoreFile]) -> bool:
    """Whether a path (a folder ends in `/`) is ignored; the nearest file's last rule decides."""
    for file in reversed(files):
        below = path[len(file.folder) :]
        if not file.any_rule.match(below):
            continue
        for rule in reversed(file.rules):
            if rule.names(below):
                return rule.ignores
    return False
