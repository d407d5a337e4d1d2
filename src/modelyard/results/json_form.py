"""A frozen dataclass as JSON: its fields under their keys, in their order.

A field's key is its name unless the field says otherwise with `published`, so that the code may use
another word than the programs which read the output.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")

_MARK = "json"


@dataclass(frozen=True, slots=True)
class JsonMark:
    """How one field is printed."""

    key: str | None = None
    """Its key; None: the name of the field."""
    if_known: bool = False
    """Whether it is left out where it is None."""
    inline: bool = False
    """Whether the keys of its value stand in the place of the field; none where it is None."""
    without: tuple[str, ...] = ()
    """Keys of its value that are left out."""


_PLAIN = JsonMark()


def published(
    key: str | None = None,
    *,
    if_known: bool = False,
    inline: bool = False,
    without: tuple[str, ...] = (),
) -> Mapping[str, JsonMark]:
    """The metadata of a dataclass field whose JSON is not simply its name and value."""
    return MappingProxyType({_MARK: JsonMark(key, if_known, inline, without)})


def json_mark(field: dataclasses.Field[Any]) -> JsonMark:
    """How a field is printed."""
    mark: JsonMark = field.metadata.get(_MARK, _PLAIN)
    return mark


def to_json(value: Any) -> Any:
    """A result as JSON holds it: dictionaries, lists, text, numbers, true, false and null.

    A number that is not finite is null: JSON has none. Raises TypeError for a value that no result
    may hold.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    if dataclasses.is_dataclass(value):
        return dict(_items(value))
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a result holds a {type(value).__name__}")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        mark, held = json_mark(field), getattr(value, field.name)
        if held is None and (mark.if_known or mark.inline):
            continue
        shown = _without(to_json(held), mark.without)
        if mark.inline:
            yield from shown.items()
        else:
            yield mark.key or field.name, shown


def _without(shown: Any, keys: tuple[str, ...]) -> Any:
    """An object, or each object of a list, without some of its keys."""
    if isinstance(shown, dict) and keys:
        return {key: item for key, item in shown.items() if key not in keys}
    if isinstance(shown, list) and keys:
        return [_without(item, keys) for item in shown]
    return shown


def result_of(result: type[R], source: DataclassInstance, **others: Any) -> R:
    """A result with the values that it has in common with `source`, and others.

    Raises TypeError when a field of the result has no value.
    """
    names = {field.name for field in dataclasses.fields(source)}
    shared = {field.name for field in dataclasses.fields(result)} & names - others.keys()
    return result(**{name: getattr(source, name) for name in shared}, **others)
