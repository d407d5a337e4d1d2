"""What a config names: other configs, base models, adapters, datasets, search domains.

Fields say so with `Reference(...)`; nothing here knows the kinds themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any, cast, get_args, get_origin

from modelyard.core.errors import KeyPath
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import Unwrapped, choices_of, unwrap

Finder = Callable[[Any, KeyPath, list["ConfigReference"]], None]
"""Adds what is found in a value, which is not None, at a key path."""
Wanted = Callable[[Unwrapped], str | None]
"""What a value of a type names, if it is one that is looked for."""


@dataclass(frozen=True, slots=True)
class ConfigReference:
    """One place of a config that names something."""

    path: KeyPath
    """Where it stands."""
    to: str
    """What it names: a kind of config, or `base_models`, `adapters`, `datasets`, ..."""
    target: str
    """The name."""


def references(settings: Any) -> list[ConfigReference]:
    """Every reference of a settings object, in the order of its fields."""
    return _found(settings, _named_thing)


def secret_references(settings: Any) -> list[ConfigReference]:
    """Every `env:NAME` and `file:PATH` of a settings object, in the order of its fields."""
    return _found(settings, _secret)


def _found(settings: Any, wanted: Wanted) -> list[ConfigReference]:
    found: list[ConfigReference] = []
    find = _class_finder(cast(Any, type(settings)), wanted)
    if find is not None:
        find(settings, (), found)
    return found


def _named_thing(marked: Unwrapped) -> str | None:
    return marked.reference.to if marked.reference else None


def _secret(marked: Unwrapped) -> str | None:
    return "secrets" if marked.pattern and marked.pattern.hidden else None


@lru_cache
def _class_finder(settings: type, wanted: Wanted) -> Finder | None:
    finders = [
        (field.name, key, finder)
        for key, field in settings_fields(settings).items()
        if (finder := _finder(field.hint, wanted)) is not None
    ]
    if not finders:
        return None

    def find(value: Any, path: KeyPath, found: list[ConfigReference]) -> None:
        for name, key, finder in finders:
            below = getattr(value, name)
            if below is not None:
                finder(below, (*path, key), found)

    return find


def _finder(hint: Any, wanted: Wanted) -> Finder | None:
    """How references are found in a value of this type; None where there cannot be any."""
    marked = unwrap(hint)
    to = wanted(marked)
    if to is not None:
        return lambda value, path, found: found.append(ConfigReference(path, to, value))
    hint = marked.hint
    if is_dataclass(hint):
        return _class_finder(cast(type, hint), wanted)
    choices, _ = choices_of(hint)
    if len(choices) == 1 and choices[0] is not hint:
        return _finder(choices[0], wanted)
    if get_origin(hint) is tuple:
        item = _finder(get_args(hint)[0], wanted)
        return item and _each(item, lambda value: enumerate(value))
    if get_origin(hint) is Mapping:
        item = _finder(get_args(hint)[1], wanted)
        return item and _each(item, lambda value: value.items())
    return None


def _each(finder: Finder, items: Callable[[Any], Any]) -> Finder:
    def find(value: Any, path: KeyPath, found: list[ConfigReference]) -> None:
        for key, one in items(value):
            if one is not None:
                finder(one, (*path, key), found)

    return find
