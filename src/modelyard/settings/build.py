"""Settings from nested mappings, with every problem found on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar, cast

from modelyard.core.errors import Diagnostic
from modelyard.settings.converters import class_converter, field_converters
from modelyard.settings.keypath import KeyPath, Where
from modelyard.settings.report import Report

T = TypeVar("T")

_MOST_PASSES = 5
"""A value can only be judged once what stands in it is left out; more layers are not worth it."""
_LEFT_OUT = object()


def build_settings(
    settings: type[T],
    values: Mapping[str, Any],
    where: Where,
    *,
    path: KeyPath = (),
    written: Where | None = None,
) -> tuple[T | None, list[Diagnostic]]:
    """Build `settings` from nested mappings; returns it, or None with every problem found.

    `written` says how a number with an exponent, such as `1e3`, stands in the file.
    """
    problems: list[Diagnostic] = []
    built = class_converter(cast(Any, settings))(values, path, Report(where, problems, written))
    return (None, problems) if problems else (cast(T, built), [])


def rebuild_settings(
    settings: type[T],
    built: T | None,
    values: Mapping[str, Any],
    keys: Iterable[str],
    where: Where,
    written: Where | None = None,
) -> tuple[T | None, list[Diagnostic]]:
    """Settings like `built`, but with what `values` say for some of the outermost keys.

    The same as building all of `values` anew where the other keys say what they said before. When
    those were not valid (`built` is None), only the problems of these keys are found.
    """
    problems: list[Diagnostic] = []
    report = Report(where, problems, written)
    converters = field_converters(cast(Any, settings))
    changed = {}
    for key in keys:
        if key in converters:
            name, convert = converters[key]
            changed[name] = convert(values[key], (key,), report)
        else:
            report.unknown_key((key,), converters)
    if problems or built is None:
        return None, problems
    kept = {name: getattr(built, name) for name, _ in converters.values()}
    return settings(**(kept | changed)), []


def build_valid_part(
    settings: type[T], values: Mapping[str, Any], doubtful: Iterable[KeyPath] = ()
) -> tuple[T | None, frozenset[KeyPath]]:
    """Build `settings` of what is valid, and say what is in doubt since it had to be left out.

    `doubtful` is left out as well. The settings are None when something required is not valid.
    """
    doubts = set(doubtful)
    kept = _without(values, doubts)
    for _ in range(_MOST_PASSES):
        report = Report(lambda _: None, [])
        built = class_converter(cast(Any, settings))(kept, (), report)
        if not report.problems:
            return cast(T, built), frozenset(doubts)
        if any(problem.code == "missing" for problem in report.problems):
            break
        doubts |= set(report.paths)
        kept = _without(kept, set(report.wrong_paths))
    return None, frozenset(doubts)


def _without(values: Any, paths: Collection[KeyPath]) -> Any:
    """Nested mappings and lists without what stands at some paths."""
    if not paths:
        return values

    def copy(value: Any, path: KeyPath) -> Any:
        if isinstance(value, Mapping):
            return {
                key: copy(one, (*path, key))
                for key, one in value.items()
                if (*path, key) not in paths
            }
        if isinstance(value, list):
            spots = [(*path, place) for place in range(len(value))]
            if any(spot in paths for spot in spots):
                return _LEFT_OUT  # the places behind it would no longer be those of the file
            return [copy(one, spot) for one, spot in zip(value, spots, strict=True)]
        return value

    return _swept(copy(values, ()))


def _swept(value: Any) -> Any:
    """Nested mappings and lists without those lists of which something had to be left out."""
    if isinstance(value, dict):
        return {key: _swept(one) for key, one in value.items() if one is not _LEFT_OUT}
    if isinstance(value, list):
        return [_swept(one) for one in value if one is not _LEFT_OUT]
    return value
