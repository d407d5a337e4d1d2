"""Values that stand for those that are missing, so that what is there can be checked all the same.

Nothing may follow from a stand-in, so there are several for each place: a finding counts when it is
made whichever of them stands there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, Literal, cast, get_args, get_origin

from modelyard.core.errors import KeyPath
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import choices_of, unwrap

_MOST_TRIED = 16
"""Ways in which the places of one mapping are filled."""
_HIGH = 10**9
"""Stands for a number without an upper bound."""


def fill_in(
    settings: type, values: Mapping[str, Any], paths: Sequence[KeyPath]
) -> Iterator[dict[str, Any]]:
    """Nested mappings like `values`, with stand-ins at `paths`; the first is the likeliest one.

    paths: required keys below `settings` that are missing, their groups before them.
    """
    choices = [_stand_ins(_hint_at(settings, path)) for path in paths]
    for chosen in islice(product(*choices), _MOST_TRIED):
        filled: Any = values
        for path, value in zip(paths, chosen, strict=True):
            filled = _with(filled, path, value)
        yield filled


def _hint_at(hint: Any, path: KeyPath) -> Any:
    """The type of what stands at a path below a type."""
    for step in path:
        inner = _plain(hint)
        if dataclasses.is_dataclass(inner):
            hint = settings_fields(cast(type, inner))[str(step)].hint
        else:
            hint = get_args(inner)[1 if get_origin(inner) is Mapping else 0]
    return hint


def _plain(hint: Any) -> Any:
    """A type without marks, and without the None that it may be."""
    return unwrap(choices_of(unwrap(hint).hint)[0][0]).hint


def _stand_ins(hint: Any) -> list[Any]:
    """Values of a type, as a file would have them, from one extreme to the other."""
    marked, inner = unwrap(hint), _plain(hint)
    origin = get_origin(inner)
    if origin is Literal:
        return list(get_args(inner))
    if inner in (int, float):
        low = marked.bounds.low or 0
        high = marked.bounds.high or max(_HIGH, 2 * low)
        ends = [inner(low), inner(high)]
        return ends if marked.quantity is None else [marked.quantity.show(end) for end in ends]
    if marked.pattern is not None and marked.pattern.examples:
        return [marked.pattern.examples[0]]
    if dataclasses.is_dataclass(inner) or origin is Mapping:
        return [{}]
    if origin is tuple:
        return [[]]
    return [True, False] if inner is bool else ["x"]


def _with(value: Any, path: KeyPath, stand_in: Any) -> Any:
    """Nested mappings and lists with another value at a path; what was there is not changed."""
    if not path:
        return stand_in
    first, *rest = path
    if isinstance(value, list):
        return [
            _with(item, tuple(rest), stand_in) if place == first else item
            for place, item in enumerate(value)
        ]
    below = value.get(first) if isinstance(value, Mapping) else None
    return {**(value or {}), first: _with(below, tuple(rest), stand_in)}
