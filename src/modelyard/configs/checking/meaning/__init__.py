"""What a config means among the others: each kind has a module that finds contradictions in it.

A check gets the settings of one environment and the view around them, and yields diagnostics made
by `problem` and `warning`, with key paths instead of lines. It reads files only through the view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, cast

from modelyard.configs.checking.view import EnvironmentView
from modelyard.core.errors import Diagnostic, KeyPath, dotted

Check = Callable[[Any, str, EnvironmentView], Iterator[Diagnostic]]
"""From settings, their config's name and the view, to what is wrong with them."""


@cache
def load_check(kind: str) -> Check:
    """The check of a kind, imported when it is asked for."""
    return cast(Check, import_module(f"{__name__}.{kind}").check)


def problem(path: KeyPath, code: str, message: str, hint: str | None = None) -> Diagnostic:
    """What makes a config invalid, at the value to blame."""
    return Diagnostic(path=path, code=code, message=message, hint=hint)


def warning(path: KeyPath, code: str, message: str, hint: str | None = None) -> Diagnostic:
    """What works and is probably not meant so."""
    return Diagnostic(path=path, code=code, message=message, hint=hint, level="warning")


def check_repeated(items: Sequence[str], path: KeyPath) -> Iterator[Diagnostic]:
    """Items of the list at `path` that are in it before."""
    for place, item in enumerate(items):
        if item in items[:place]:
            message = f"'{item}' is already in '{dotted(path)}'"
            yield problem((*path, place), "repeated", message, hint="leave one out")
