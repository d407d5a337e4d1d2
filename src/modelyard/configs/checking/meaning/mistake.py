"""One thing that a config cannot mean."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.configs.checking.finding import Level
from modelyard.core.errors import KeyPath


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that a config cannot mean, at the value to blame."""

    path: KeyPath
    """The value; where it is not written, what it would stand in."""
    rule: str
    """What kind of mistake it is, in kebab-case."""
    message: str
    """What is wrong, and why that matters."""
    hint: str | None = None
    """What to do about it."""
    level: Level = "error"
    """`warning` where the config works and is probably not meant so."""


def warning(path: KeyPath, rule: str, message: str, hint: str | None = None) -> Mistake:
    """A mistake that only warns."""
    return Mistake(path, rule, message, hint, "warning")
