"""Functions that turn a raw value into what a type asks for, or add a diagnostic.

Each settings class is compiled into them once: a check of a thousand files spends its time here.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Literal, Union, cast, get_args, get_origin

from modelyard.core.errors import Diagnostic, KeyPath, did_you_mean, dotted, nearest
from modelyard.settings.fields import settings_fields
from modelyard.settings.known_keys import meant_key, meant_path
from modelyard.settings.marks import (
    PLAIN_NAMES,
    UNBOUNDED,
    Advice,
    Pattern,
    Range,
    describe,
    describe_quantity,
    members_of,
    unwrap,
)
from modelyard.settings.units import Quantity
from modelyard.settings.yaml_scalars import find_unseen

_LARGEST_FLOAT = sys.float_info.max
_MOST_COUNTED = 1e15

_LONGEST_SHOWN = 60
_IN_YAML = {"None": "null", "True": "true", "False": "false"}
"""How YAML writes what Python calls otherwise."""

Where = Callable[[KeyPath], str | None]
"""Says where the value at a key path was written, such as `file:line:col` or `--set lora.rank=0`.
"""


class Diagnostics:
    """Collects what is wrong with one set of values."""

    __slots__ = ("ignore_unknown", "meant", "problems", "settings", "where", "written")

    def __init__(
        self,
        where: Where,
        written: Where | None = None,
        *,
        settings: type | None = None,
        ignore_unknown: bool = False,
    ) -> None:
        self.where = where
        self.settings = settings
        """The class of all the values; None where they are a part of something else."""
        self.written = written
        self.ignore_unknown = ignore_unknown
        self.problems: list[Diagnostic] = []
        self.meant: list[KeyPath] = []
        """The keys that were probably meant by unknown ones."""

    def add(
        self,
        path: KeyPath,
        message: str,
        code: str,
        place: KeyPath | None = None,
        hint: str | None = None,
    ) -> None:
        where = self.where(path if place is None else place)
        self.problems.append(
            Diagnostic(message=message, where=where, hint=hint, code=code, path=path)
        )

    def wrong(
        self,
        path: KeyPath,
        wanted: str,
        value: Any,
        code: str,
        near: str = "",
        hint: str | None = None,
    ) -> None:
        from modelyard.secrets.values import masked_repr  # only where something is wrong

        key = str(path[-1]) if path else ""
        shown = self._as_written(path, value) or masked_repr(key, value, _LONGEST_SHOWN)
        shown = _IN_YAML.get(shown, shown)
        self.add(path, f"'{dotted(path)}' must be {wanted}, not {shown}{near}", code, hint=hint)

    def placeholder(self, path: KeyPath, placeholder: str, pattern: Pattern) -> None:
        """A text with something in it that nothing fills in."""
        from modelyard.secrets.values import shorten_masked

        shown = shorten_masked(placeholder, _LONGEST_SHOWN)
        hint = "write the value itself, and what differs in an environment below `environments:`"
        if pattern.from_environment:
            hint = "write the whole URL, or `env:NAME` for one that the environment names"
        message = f"'{dotted(path)}' is a placeholder, {shown}, and nothing would fill it in"
        self.add(path, message, "placeholder", hint=hint)

    def not_text(self, path: KeyPath, wanted: str, value: Any) -> None:
        """Where text is wanted, a number with an exponent was probably meant as text."""
        written = self._as_written(path, value)
        hint = f'write "{written}"' if written else None
        self.wrong(path, wanted, value, "wrong-type", hint=hint)

    def unknown_key(self, path: KeyPath, known: Collection[str]) -> None:
        """A key that is not one of those known."""
        if self.ignore_unknown:
            return
        if self.settings is not None:
            near = meant_key(self.settings, path)
            meant = meant_path(self.settings, path)
        else:
            beside = nearest(str(path[-1]), sorted(known))
            meant = (*path[:-1], beside) if beside else None
            near = dotted(meant) if meant else None
        if meant:
            self.meant.append(meant)
        message = f"unknown key '{dotted(path)}'"
        if near == dotted(path):  # `generation.temperature: 0.2`, on one line
            lines = "`, and indented below it `".join(f"{key}:" for key in near.split("."))
            hint = f"write `{lines}`"
            self.add(path, f"{message}: a dot leads into no group", "unknown-key", hint=hint)
        else:
            message += f" (did you mean '{near}'?)" if near else ""
            self.add(path, message, "unknown-key")

    def _as_written(self, path: KeyPath, value: Any) -> str | None:
        return self.written(path) if self.written and type(value) is float else None


Converter = Callable[[Any, KeyPath, Diagnostics], Any]
"""Turns a raw value into what the field holds, or adds to the diagnostics why it cannot."""


@lru_cache
def class_converter(settings: type) -> Converter:
    """The function that turns a mapping into one of these settings."""
    converters = field_converters(settings)
    required = [key for key, field in settings_fields(settings).items() if field.required]

    def convert(values: Any, path: KeyPath, found: Diagnostics) -> Any:
        if type(values) is not dict and not isinstance(values, Mapping):
            return found.wrong(path, "a mapping", values, "wrong-type")
        built = {}
        before = len(found.problems)
        for key, value in values.items():
            known = converters.get(key)
            if known is None:
                found.unknown_key((*path, key), converters)
            else:
                built[known[0]] = known[1](value, (*path, key), found)
        for key in required:
            if key not in values:
                found.add((*path, key), f"'{dotted((*path, key))}' is required", "missing", path)
        return settings(**built) if len(found.problems) == before else None

    return convert


@lru_cache
def field_converters(settings: type) -> Mapping[str, tuple[str, Converter]]:
    """The attribute of each key, and the function that converts its value."""
    fields = settings_fields(settings)
    return {key: (field.name, _converter(field.hint)) for key, field in fields.items()}


def _converter(hint: Any) -> Converter:
    """The function that turns a raw value into what this type asks for."""
    marked = unwrap(hint)
    origin = get_origin(marked.hint)
    if origin in (Union, types.UnionType):
        return _union_converter(hint)
    hint, bounds = marked.hint, marked.bounds
    if dataclasses.is_dataclass(hint):
        return class_converter(cast(type, hint))
    if marked.quantity is not None:
        return _quantity_converter(marked.quantity, bounds)
    if origin is Literal:
        return _literal_converter(hint, marked.advice)
    if origin is tuple:
        return _list_converter(*get_args(hint))
    if origin is Mapping:
        return _mapping_converter(*get_args(hint))
    if hint is Any:
        return lambda value, path, found: value
    if marked.pattern is not None:
        return _pattern_converter(marked.pattern)
    return _plain_converter(hint, bounds)


def _union_converter(hint: Any) -> Converter:
    members, optional = members_of(hint)
    converters = [_converter(member) for member in members]
    wanted = " or ".join(describe(member) for member in members)

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        if value is None and optional:
            return None
        if len(converters) == 1:
            return converters[0](value, path, found)
        for converter in converters:
            attempt = Diagnostics(found.where, found.written, ignore_unknown=found.ignore_unknown)
            converted = converter(value, path, attempt)
            if not attempt.problems:
                return converted
        return found.wrong(path, wanted, value, "wrong-type")

    return convert


def _literal_converter(hint: Any, advice: Advice | None) -> Converter:
    options = {(type(option), option) for option in get_args(hint)}
    words = [str(option) for option in get_args(hint)]
    wanted = describe(hint)

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        if isinstance(value, (str, int, float)) and (type(value), value) in options:
            return value
        instead = advice.find(value) if advice and isinstance(value, str) else None
        near = "" if instead else did_you_mean(str(value), words)
        return found.wrong(path, wanted, value, "not-a-choice", near, instead)

    return convert


def _list_converter(item: Any, *others: Any) -> Converter:
    """For `tuple[T, ...]`, or for a tuple of a fixed length whose items are of one type."""
    converter = _converter(item)
    length = None if others == (...,) else 1 + len(others)
    wanted = "a list" if length is None else f"a list of {length} items"

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        if not isinstance(value, (list, tuple)) or length not in (None, len(value)):
            return found.wrong(path, wanted, value, "wrong-type")
        return tuple(converter(item, (*path, place), found) for place, item in enumerate(value))

    return convert


def _mapping_converter(key_hint: Any, item: Any) -> Converter:
    check_key, converter = _converter(key_hint), _converter(item)

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        if not isinstance(value, Mapping):
            return found.wrong(path, "a mapping", value, "wrong-type")
        for key in value:
            check_key(key, (*path, key), found)
        return {key: converter(item, (*path, key), found) for key, item in value.items()}

    return convert


def _quantity_converter(quantity: Quantity, bounds: Range) -> Converter:
    wanted = describe_quantity(quantity)
    within = "" if bounds == UNBOUNDED else bounds.words(quantity.show)

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        parsed: float | None = None
        if isinstance(value, str):
            parsed = quantity.parse(value)
        elif quantity.bare and type(value) in (int, float) and abs(value) < _LARGEST_FLOAT:
            parsed = value if not quantity.whole or type(value) is int else None
        if parsed is None or not math.isfinite(parsed):
            hint = _whole_hint(value, quantity) if quantity.whole else None
            meant = quantity.meant(value) if isinstance(value, str) else None
            near = f" (did you mean '{meant}'?)" if meant else ""
            return found.wrong(path, wanted, value, "wrong-unit", near, hint)
        if not bounds.holds(parsed):
            return found.wrong(path, within, value, "out-of-range")
        return parsed if quantity.whole else float(parsed)

    return convert


def _pattern_converter(pattern: Pattern) -> Converter:
    matches = re.compile(pattern.regex).fullmatch
    wanted = str(pattern)

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        if isinstance(value, str) and matches(value):
            return value
        code = "wrong-form" if isinstance(value, str) else "wrong-type"
        if isinstance(value, str) and pattern.written_out:
            from modelyard.settings.placeholders import find_placeholder

            if placeholder := find_placeholder(value):
                return found.placeholder(path, placeholder, pattern)
        if pattern.hidden:
            from modelyard.settings.placeholders import wanted_secret_of

            instead = wanted_secret_of(value)
            hint = f"write {instead}" if instead else None
            return found.add(path, f"'{dotted(path)}' must be {wanted}", code, hint=hint)
        if not isinstance(value, str):
            return found.not_text(path, wanted, value)
        unseen = find_unseen(value)
        hint = f"it has {unseen}" if unseen else None
        if pattern.from_environment and matches(f"https://{value}"):
            hint = f"write http://{value}, or https://{value}"
        return found.wrong(path, wanted, value, code, hint=hint)

    return convert


def _plain_converter(hint: type, bounds: Range) -> Converter:
    wanted = PLAIN_NAMES[hint]
    bounded = bounds != UNBOUNDED

    def convert(value: Any, path: KeyPath, found: Diagnostics) -> Any:
        if type(value) is not hint:
            if hint is str:
                return found.not_text(path, wanted, value)
            if hint is int:
                return found.wrong(path, wanted, value, "wrong-type", hint=_whole_hint(value))
            if hint is not float or type(value) is not int or abs(value) >= _LARGEST_FLOAT:
                return found.wrong(path, wanted, value, "wrong-type")
            value = float(value)
        if hint is float and not math.isfinite(value):
            return found.wrong(path, wanted, value, "wrong-type")
        if bounded and not bounds.holds(value):
            return found.wrong(path, str(bounds), value, "out-of-range")
        return value

    return convert


def _whole_hint(value: Any, quantity: Quantity | None = None) -> str | None:
    """How a number that counts things is written, when it is whole."""
    if type(value) is not float or not value.is_integer() or abs(value) > _MOST_COUNTED:
        return None
    short = quantity.show(value) if quantity else ""
    return f"write {value:.0f}" + (f" (or {short})" if short and short != f"{value:.0f}" else "")
