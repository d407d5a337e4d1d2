"""What a config names: other configs, base models, adapters, datasets, search domains.

Fields say so with `Refers(...)`; nothing here knows the kinds themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from typing import Any, cast, get_args, get_origin

from modelyard.core.settings import KeyPath, Unwrapped, choices_of, settings_fields, unwrap

Finder = Callable[[Any, KeyPath], Iterator["Reference"]]
Wanted = Callable[[Unwrapped], str | None]
"""What a value of a type names, if it is one that is looked for."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One place of a config that names something."""

    path: KeyPath
    """Where it stands."""
    to: str
    """What it names: a kind of config, or `base_models`, `adapters`, `datasets`, ..."""
    target: str
    """The name."""


def references(settings: Any) -> Iterator[Reference]:
    """Every reference of a settings object, in the order of its fields."""
    return _class_finder(cast(Any, type(settings)), _named_thing)(settings, ())


def secret_references(settings: Any) -> Iterator[Reference]:
    """Every `env:NAME` and `file:PATH` of a settings object, in the order of its fields."""
    return _class_finder(cast(Any, type(settings)), _secret)(settings, ())


def _named_thing(marked: Unwrapped) -> str | None:
    return marked.refers.to if marked.refers else None


def _secret(marked: Unwrapped) -> str | None:
    return "secrets" if marked.form and marked.form.hidden else None


@lru_cache
def _class_finder(settings: type, wanted: Wanted) -> Finder:
    finders = [
        (field.name, key, finder)
        for key, field in settings_fields(settings).items()
        if (finder := _finder(field.hint, wanted)) is not None
    ]

    def find(value: Any, path: KeyPath) -> Iterator[Reference]:
        for name, key, finder in finders:
            yield from finder(getattr(value, name), (*path, key))

    return find


def _finder(hint: Any, wanted: Wanted) -> Finder | None:
    """How references are found in a value of this type; None where there cannot be any."""
    marked = unwrap(hint)
    to = wanted(marked)
    if to is not None:

        def named(value: Any, path: KeyPath) -> Iterator[Reference]:
            if value is not None:
                yield Reference(path, to, value)

        return named
    hint = marked.hint
    if is_dataclass(hint):
        return _class_finder(cast(type, hint), wanted)
    choices, _ = choices_of(hint)
    if len(choices) == 1 and choices[0] is not hint:
        below = _finder(choices[0], wanted)
        return below and _skip_none(below)
    if get_origin(hint) is tuple:
        item = _finder(get_args(hint)[0], wanted)
        return item and _each(item, lambda value: enumerate(value))
    if get_origin(hint) is Mapping:
        item = _finder(get_args(hint)[1], wanted)
        return item and _each(item, lambda value: value.items())
    return None


def _skip_none(finder: Finder) -> Finder:
    def find(value: Any, path: KeyPath) -> Iterator[Reference]:
        if value is not None:
            yield from finder(value, path)

    return find


def _each(finder: Finder, items: Callable[[Any], Any]) -> Finder:
    def find(value: Any, path: KeyPath) -> Iterator[Reference]:
        for key, one in items(value):
            yield from finder(one, (*path, key))

    return find
