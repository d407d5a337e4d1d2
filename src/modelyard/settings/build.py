"""Settings from nested mappings, with every problem found on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import Any, TypeVar, cast

from modelyard.core.errors import Diagnostic, KeyPath
from modelyard.settings.converters import (
    Converter,
    Diagnostics,
    Where,
    class_converter,
    field_converters,
)
from modelyard.settings.fields import settings_fields
from modelyard.settings.stand_ins import fill_in

T = TypeVar("T")

_MOST_PASSES = 8
"""A mapping is checked again once the wrong values in it are left out, up to this many times."""
_MOST_VARIANTS = 32
"""Settings with other values in the place of what is missing."""
_LEFT_OUT = object()
_NOTHING = frozenset[KeyPath]()


def build_settings(
    settings: type[T],
    values: Mapping[str, Any],
    where: Where,
    *,
    path: KeyPath = (),
    written: Where | None = None,
    ignore_unknown: bool = False,
) -> tuple[T | None, list[Diagnostic]]:
    """Build `settings` from nested mappings; returns it, or None with every problem found.

    `written` says how a number with an exponent, such as `1e3`, stands in the file. With
    `ignore_unknown`, unknown keys are left out instead of reported.
    """
    whole = None if path else cast(type, settings)
    found = Diagnostics(where, written, settings=whole, ignore_unknown=ignore_unknown)
    built = class_converter(cast(Any, settings))(values, path, found)
    return (None, found.problems) if found.problems else (cast(T, built), [])


@dataclass(frozen=True, slots=True)
class ValidPart:
    """What is valid of the value of one key of the outermost mapping."""

    value: Any
    """The whole value, which is kept so that no other gets its identity."""
    built: tuple[Any, ...]
    """What it is built into; several, where it lacks something required, and none where nothing is
    left of it."""
    doubts: frozenset[KeyPath]
    """The paths in it that are in doubt."""


Parts = dict[tuple[str, int, frozenset[KeyPath]], ValidPart]
"""The valid parts of values by their key, their identity and what was in doubt in them before."""


def build_whole(
    settings: type[T], values: Mapping[str, Any], where: Where, written: Where | None, parts: Parts
) -> tuple[T | None, list[Diagnostic]]:
    """The same as `build_settings`; where there is a problem, `parts` gets what is valid."""
    found = Diagnostics(where, written, settings=settings)
    converted = _convert_keys(settings, values, values, found)
    for key, field in settings_fields(cast(Any, settings)).items():
        if field.required and key not in values:
            found.add((key,), f"'{key}' is required", "missing", ())
    if not found.problems:
        return settings(**converted), []
    _keep_valid(settings, values, converted, found, parts)
    return None, found.problems


def rebuild_settings(
    settings: type[T],
    built: T | None,
    values: Mapping[str, Any],
    keys: Collection[str],
    where: Where,
    written: Where | None,
    parts: Parts,
) -> tuple[T | None, list[Diagnostic]]:
    """Settings like `built`, with the values of some outermost keys taken from `values`.

    The same as building all of `values`, provided the other keys have not changed. When `built` is
    None since they were not valid, only the problems of these keys are found. Where there is a
    problem, `parts` gets what is valid.
    """
    if not all(key in values for key in keys):  # null in an overlay took one away
        return build_whole(settings, values, where, written, parts)
    found = Diagnostics(where, written, settings=settings)
    changed = _convert_keys(settings, values, keys, found)
    if found.problems or built is None:
        _keep_valid(settings, values, changed, found, parts)
        return None, found.problems
    names = (field.name for field in settings_fields(cast(Any, settings)).values())
    return settings(**({name: getattr(built, name) for name in names} | changed)), []


def _convert_keys(
    settings: type[Any], values: Mapping[str, Any], keys: Iterable[str], found: Diagnostics
) -> dict[str, Any]:
    """The values of some outermost keys, by attribute; what is wrong with them is in `found`."""
    converters = field_converters(cast(Any, settings))
    converted = {}
    for key in keys:
        if key in converters:
            name, convert = converters[key]
            converted[name] = convert(values[key], (key,), found)
        else:
            found.unknown_key((key,), converters)
    return converted


def _keep_valid(
    settings: type[Any],
    values: Mapping[str, Any],
    converted: Mapping[str, Any],
    found: Diagnostics,
    parts: Parts,
) -> None:
    wrong = {problem.path[0] for problem in found.problems}
    for key, field in settings_fields(cast(Any, settings)).items():
        if field.name in converted and key not in wrong:
            valid = ValidPart(values[key], (converted[field.name],), _NOTHING)
            parts[key, id(values[key]), _NOTHING] = valid


def build_valid_part(
    settings: type[T],
    values: Mapping[str, Any],
    doubtful: Iterable[KeyPath] = (),
    parts: Parts | None = None,
) -> tuple[list[T], frozenset[KeyPath]]:
    """Build `settings` of the values that are valid; also returns the paths that are in doubt.

    What is not valid is left out, as `doubtful` is. Where something required is missing then, there
    are several settings, with other values in its place: what follows from it differs among them.
    There are none where even so nothing can be built. `parts` keeps what was found, for values of
    which most are the same objects.
    """
    parts = {} if parts is None else parts
    fields = settings_fields(cast(Any, settings))
    doubts = set(doubtful)
    choices: dict[str, tuple[Any, ...]] = {}
    for key, value in values.items():
        if (key,) not in doubts:
            below = frozenset(path for path in doubts if path[:1] == (key,)) if doubts else _NOTHING
            place = (key, id(value), below)
            if place not in parts:
                parts[place] = _valid_part(settings, key, value, below)
            doubts |= parts[place].doubts
            if parts[place].built:
                choices[fields[key].name] = parts[place].built
    for key, field in fields.items():
        if field.required and field.name not in choices:
            doubts.add((key,))
            choices[field.name] = _instead_of_missing(cast(Any, settings), key)
    combined = islice(product(*choices.values()), _MOST_VARIANTS)
    built = [settings(**dict(zip(choices, chosen, strict=True))) for chosen in combined]
    return built, frozenset(doubts)


@lru_cache
def _instead_of_missing(settings: type[Any], key: str) -> tuple[Any, ...]:
    """Values for a required key of the outermost mapping that is not there."""
    filled = (
        _valid_part(settings, key, each[key], _NOTHING) for each in fill_in(settings, {}, [(key,)])
    )
    return tuple(built for part in filled for built in part.built)


def _valid_part(
    settings: type[Any], key: str, value: Any, doubtful: frozenset[KeyPath]
) -> ValidPart:
    """What is valid of the value of one key."""
    doubts, missing = set(doubtful), list[KeyPath]()
    found = Diagnostics(lambda _: None, settings=settings)
    converters = field_converters(cast(Any, settings))
    if key not in converters:
        found.unknown_key((key,), converters)
        return ValidPart(value, (), frozenset({*doubts, (key,), *found.meant}))
    _, convert = converters[key]
    if not doubtful:
        whole = convert(value, (key,), found)
        if not found.problems:
            return ValidPart(value, (whole,), _NOTHING)
    kept = _without({key: value}, doubts)
    for _ in range(_MOST_PASSES):
        if key not in kept:
            break
        found = Diagnostics(lambda _: None, settings=settings)
        built = convert(next(fill_in(settings, kept, missing))[key], (key,), found)
        if not found.problems and not missing:
            return ValidPart(value, (built,), frozenset(doubts))
        if not found.problems:
            filled = (each[key] for each in fill_in(settings, kept, missing))
            return ValidPart(value, tuple(_convert_all(convert, key, filled)), frozenset(doubts))
        lacking = [problem.path for problem in found.problems if problem.code == "missing"]
        wrong = {problem.path for problem in found.problems if problem.code != "missing"}
        missing += lacking
        doubts.update(wrong, found.meant, lacking)
        kept = _without(kept, wrong)
    return ValidPart(value, (), frozenset(doubts))


def _convert_all(convert: Converter, key: str, values: Iterable[Any]) -> Iterator[Any]:
    """Those of some values that can be converted."""
    for value in values:
        found = Diagnostics(lambda _: None)
        built = convert(value, (key,), found)
        if not found.problems:
            yield built


def _without(value: Any, paths: Collection[KeyPath], path: KeyPath = ()) -> Any:
    """Nested mappings and lists without what stands at some paths.

    A list with such an item is left out whole: the items behind it would no longer stand at the
    places that they have in the file.
    """
    if path and path in paths:
        return _LEFT_OUT
    if isinstance(value, Mapping):
        items = {key: _without(item, paths, (*path, key)) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _LEFT_OUT}
    if isinstance(value, list):
        kept = [_without(item, paths, (*path, place)) for place, item in enumerate(value)]
        return _LEFT_OUT if any(item is _LEFT_OUT for item in kept) else kept
    return value
