"""What a config names: other configs, base models, adapters, datasets, indexes, secrets.

Fields say so with `Reference(...)`; nothing here knows the kinds themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any, cast, get_args, get_origin

from modelyard.core.errors import KeyPath
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import choices_of, unwrap

OUTSIDE = ("secrets", "endpoints")
"""What references lead out of the configs to: the environment, and files of secrets."""

Finder = Callable[[Any, KeyPath, list["ConfigReference"]], None]
"""Adds the references in a value, which is not None, at a key path."""


@dataclass(frozen=True, slots=True)
class ConfigReference:
    """One place of a config that names something."""

    path: KeyPath
    """Where it stands."""
    to: str
    """What it names: a kind of config, `base_models`, `adapters`, `datasets`, `secrets`, ..."""
    target: str
    """The name."""


def references(settings: Any) -> list[ConfigReference]:
    """Every reference of a settings object that stays within, in the order of its fields."""
    return [reference for reference in _all_references(settings) if reference.to not in OUTSIDE]


def secret_references(settings: Any) -> list[ConfigReference]:
    """Every `env:NAME` and `file:PATH` of a settings object, in the order of its fields."""
    return [reference for reference in _all_references(settings) if reference.to in OUTSIDE]


def _all_references(settings: Any) -> list[ConfigReference]:
    found: list[ConfigReference] = []
    find = _class_finder(cast(Any, type(settings)))
    if find is not None:
        find(settings, (), found)
    return found


@lru_cache
def _class_finder(settings: type) -> Finder | None:
    finders = [
        (field.name, key, finder)
        for key, field in settings_fields(settings).items()
        if (finder := _finder(field.hint)) is not None
    ]
    if not finders:
        return None

    def find(value: Any, path: KeyPath, found: list[ConfigReference]) -> None:
        for name, key, finder in finders:
            below = getattr(value, name)
            if below is not None:
                finder(below, (*path, key), found)

    return find


def _finder(hint: Any) -> Finder | None:
    """How references are found in a value of this type; None where there cannot be any."""
    marked = unwrap(hint)
    if marked.reference is not None or (marked.pattern and marked.pattern.hidden):
        to = marked.reference.to if marked.reference else "secrets"
        return lambda value, path, found: found.append(ConfigReference(path, to, value))
    if marked.pattern and marked.pattern.from_environment:
        return _find_endpoint
    hint = marked.hint
    if is_dataclass(hint):
        return _class_finder(cast(type, hint))
    choices, _ = choices_of(hint)
    if len(choices) == 1 and choices[0] is not hint:
        return _finder(choices[0])
    if get_origin(hint) is tuple:
        item = _finder(get_args(hint)[0])
        return item and _each(item, lambda value: enumerate(value))
    if get_origin(hint) is Mapping:
        item = _finder(get_args(hint)[1])
        return item and _each(item, lambda value: value.items())
    return None


def _find_endpoint(value: Any, path: KeyPath, found: list[ConfigReference]) -> None:
    if value.startswith("env:"):
        found.append(ConfigReference(path, "endpoints", value))


def _each(finder: Finder, items: Callable[[Any], Any]) -> Finder:
    def find(value: Any, path: KeyPath, found: list[ConfigReference]) -> None:
        for key, item in items(value):
            if item is not None:
                finder(item, (*path, key), found)

    return find
