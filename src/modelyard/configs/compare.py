"""What differs between two states of settings, key by key, in the units in which people write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

from modelyard.core.errors import KeyPath, dotted
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import choices_of, unwrap
from modelyard.settings.units import MONEY, Quantity

Difference = Literal["added", "changed", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting that differs."""

    key: str
    """Its dotted key, such as `retries.attempts`."""
    change: Difference
    """Whether it is new, other, or gone."""
    before: Any = None
    """What it was, as written; None where it was not there."""
    after: Any = None
    """What it is, as written; None where it is not there."""


def compare_settings(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[SettingChange, ...]:
    """Every setting that differs between two nested mappings, in the order of the keys.

    A list is one setting: what takes the place of what is for a reader to see.
    """
    return compare_flat(dict(_leaves(before, ())), dict(_leaves(after, ())))


def compare_flat(
    before: Mapping[KeyPath, Any], after: Mapping[KeyPath, Any]
) -> tuple[SettingChange, ...]:
    """Every setting that differs between two sets of key paths."""
    return tuple(_changes(before, after))


def _changes(
    before: Mapping[KeyPath, Any], after: Mapping[KeyPath, Any]
) -> Iterator[SettingChange]:
    for path in dict.fromkeys((*before, *after)):
        key = dotted(path)
        if path not in before:
            yield SettingChange(key=key, change="added", after=after[path])
        elif path not in after:
            yield SettingChange(key=key, change="removed", before=before[path])
        elif not _same(before[path], after[path]):
            yield SettingChange(key=key, change="changed", before=before[path], after=after[path])


def _same(one: Any, other: Any) -> bool:
    """Whether two values are written alike: 1, 1.0 and true are three things."""
    return repr(one) == repr(other)


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, value


def flat_settings(settings: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """The settings of a settings object by their key paths, quantities with their units."""
    for key, field in settings_fields(settings.__class__).items():
        yield from _flat(getattr(settings, field.name), field.hint, (*path, key))


def _flat(value: Any, hint: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if is_dataclass(value):
        yield from flat_settings(value, path)
        return
    marked = unwrap(hint)
    choices, _ = choices_of(marked.hint)
    quantity = marked.quantity or next((q for one in choices if (q := unwrap(one).quantity)), None)
    if quantity is not None and value is not None:
        value = quantity_text(quantity, value)
    yield path, list(value) if isinstance(value, tuple) else value


def quantity_text(quantity: Quantity, value: float) -> str:
    """A number in the one unit as a person would write it, and nothing of it lost."""
    shown = quantity.show(value)
    if quantity.parse(shown) == value and not (quantity.whole and "." in shown):
        return shown
    unit = next(unit for unit, factor in quantity.factors.items() if factor == 1 or unit == "%")
    if quantity is MONEY:
        return f"${value!r}"
    return f"{value!r} {unit}".rstrip()
