"""The problems of one set of values, worded alike and with their places."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modelyard.core.errors import Diagnostic, nearest
from modelyard.settings.keypath import KeyPath, Where, dotted

_LONGEST_SHOWN = 60


class Report:
    """Where problems go."""

    __slots__ = ("paths", "problems", "where", "written", "wrong_paths")

    def __init__(
        self, where: Where, problems: list[Diagnostic], written: Where | None = None
    ) -> None:
        self.where = where
        self.problems = problems
        self.written = written
        self.wrong_paths: list[KeyPath] = []
        """Where the problems are."""
        self.paths: list[KeyPath] = []
        """Where they are, and the keys that were probably meant by unknown ones."""

    def add(
        self,
        path: KeyPath,
        message: str,
        code: str,
        place: KeyPath | None = None,
        hint: str | None = None,
    ) -> None:
        where = self.where(path if place is None else place)
        self.problems.append(Diagnostic(message=message, where=where, hint=hint, code=code))
        self.wrong_paths.append(path)
        self.paths.append(path)

    def wrong(
        self,
        path: KeyPath,
        wanted: str,
        value: Any,
        code: str,
        near: str = "",
        hint: str | None = None,
    ) -> None:
        shown = self._as_written(path, value) or _shown(value)
        message = f"'{dotted(path)}' must be {wanted}, not {shown}{near}"
        self.add(path, message, code, hint=hint)

    def not_text(self, path: KeyPath, wanted: str, value: Any) -> None:
        """Where text is wanted, a number with an exponent was probably meant as text."""
        written = self._as_written(path, value)
        hint = f'write "{written}"' if written else None
        self.wrong(path, wanted, value, "wrong-type", hint=hint)

    def unknown_key(self, path: KeyPath, known: Collection[str]) -> None:
        """Where a key is not one of those known; what was probably meant is in doubt as well."""
        near = nearest(str(path[-1]), sorted(known))
        hint = f" (did you mean '{dotted((*path[:-1], near))}'?)" if near else ""
        self.add(path, f"unknown key '{dotted(path)}'{hint}", "unknown-key")
        if near:
            self.paths.append((*path[:-1], near))

    def _as_written(self, path: KeyPath, value: Any) -> str | None:
        return self.written(path) if self.written and type(value) is float else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
