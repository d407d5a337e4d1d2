"""Settings from nested mappings, with every problem found on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar, cast

from modelyard.core.errors import Diagnostic, KeyPath
from modelyard.settings.converters import Diagnostics, Where, class_converter, field_converters
from modelyard.settings.stand_ins import fill_in

T = TypeVar("T")

_MOST_PASSES = 8
"""A mapping is checked again once the wrong values in it are left out, up to this many times."""
_LEFT_OUT = object()


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


def rebuild_settings(
    settings: type[T],
    built: T | None,
    values: Mapping[str, Any],
    keys: Collection[str],
    where: Where,
    written: Where | None = None,
) -> tuple[T | None, list[Diagnostic]]:
    """Settings like `built`, with the values of some outermost keys taken from `values`.

    The same as building all of `values`, provided the other keys have not changed. When `built` is
    None since they were not valid, only the problems of these keys are found.
    """
    converters = field_converters(cast(Any, settings))
    if not all(key in values for key in keys):  # null in an overlay took one away
        return build_settings(settings, values, where, written=written)
    found = Diagnostics(where, written, settings=settings)
    changed = {}
    for key in keys:
        if key in converters:
            name, convert = converters[key]
            changed[name] = convert(values[key], (key,), found)
        else:
            found.unknown_key((key,), converters)
    if found.problems or built is None:
        return None, found.problems
    kept = {name: getattr(built, name) for name, _ in converters.values()}
    return settings(**(kept | changed)), []


def build_valid_part(
    settings: type[T], values: Mapping[str, Any], doubtful: Iterable[KeyPath] = ()
) -> tuple[list[T], frozenset[KeyPath]]:
    """Build `settings` of the values that are valid; also returns the paths that are in doubt.

    What is not valid is left out, as `doubtful` is. Where something required is missing then, there
    are several settings, with other values in its place: what follows from it differs among them.
    There are none where even so nothing can be built.
    """
    doubts = set(doubtful)
    kept = _without(values, doubts)
    missing: list[KeyPath] = []
    for _ in range(_MOST_PASSES):
        found = Diagnostics(lambda _: None, settings=settings)
        built = class_converter(cast(Any, settings))(
            next(fill_in(settings, kept, missing)), (), found
        )
        if not found.problems:
            if not missing:
                return [cast(T, built)], frozenset(doubts)
            filled = (
                build_settings(settings, values, lambda _: None)[0]
                for values in fill_in(settings, kept, missing)
            )
            return [each for each in filled if each is not None], frozenset(doubts)
        lacking = [problem.path for problem in found.problems if problem.code == "missing"]
        wrong = {problem.path for problem in found.problems if problem.code != "missing"}
        missing += lacking
        doubts |= wrong.union(found.meant, lacking)
        kept = _without(kept, wrong)
    return [], frozenset(doubts)


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
