"""Path patterns: the globs of an index, and the rules of .gitignore files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.core.globs import glob_pattern


def matches_any(path: str, globs: Sequence[str]) -> bool:
    """Whether a shown path fits one of the globs."""
    return any(glob_pattern(glob).fullmatch(path) for glob in globs)


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line of a .gitignore."""

    pattern: re.Pattern[str]
    """What it matches, in paths from the folder of its .gitignore."""
    ignores: bool
    """False for a line that begins with `!`."""

    def names(self, path: str) -> bool:
        """Whether the rule matches this path itself, and not only a folder above it."""
        match = self.pattern.match(path)
        if match is None:
            return False
        if "ps_d" not in self.pattern.groupindex:
            return match.end() < len(path)  # `docs/**` matches what lies in docs, but not docs
        return match["ps_d"] is None or match.end("ps_d") == len(path)


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
    # Imported here, as it takes 20 ms that only a walk needs.
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
    """A pattern for what any of the rules matches; without rules it matches nothing."""
    unnamed = (rule.pattern.pattern.replace("(?P<ps_d>", "(?:") for rule in rules)
    return re.compile("|".join(f"(?:{pattern})" for pattern in unnamed) or r"(?!)")


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
