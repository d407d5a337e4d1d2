"""What differs between two states of settings, key by key, and settings without their secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal

from modelyard.configs.fields import SettingValue
from modelyard.core.errors import Diagnostic, KeyPath, dotted
from modelyard.secrets.detection import mask_secrets
from modelyard.secrets.values import mask_value
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import quantity_of, unread_mark
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

    A list is one setting.
    """
    return compare_flat(dict(_leaves(before, ())), dict(_leaves(after, ())))


def compare_flat(
    before: Mapping[KeyPath, Any], after: Mapping[KeyPath, Any]
) -> tuple[SettingChange, ...]:
    """Every setting that differs between two sets of key paths."""
    changes = []
    for path in dict.fromkeys((*before, *after)):
        key = dotted(path)
        if path not in before:
            changes.append(SettingChange(key=key, change="added", after=after[path]))
        elif path not in after:
            changes.append(SettingChange(key=key, change="removed", before=before[path]))
        elif repr(before[path]) != repr(after[path]):  # 1, 1.0 and true are three things
            changes.append(
                SettingChange(key=key, change="changed", before=before[path], after=after[path])
            )
    return tuple(changes)


def without_empty(changes: Iterable[SettingChange]) -> tuple[SettingChange, ...]:
    """The changes without those from not set to not set.

    A group that is left out, such as `prices`, has no value of its own where the other side has it.
    """
    return tuple(change for change in changes if (change.before, change.after) != (None, None))


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, value


def shown_value(hint: Any, value: Any) -> Any:
    """A value of a field of this type as a person would write it."""
    quantity = quantity_of(hint)
    if quantity is not None and value is not None:
        return _quantity_text(quantity, value)
    if is_dataclass(value):
        fields = settings_fields(value.__class__)
        said = {key: getattr(value, field.name) for key, field in fields.items()}
        return {
            key: shown_value(fields[key].hint, inner)
            for key, inner in said.items()
            if inner is not None
        }
    if isinstance(value, tuple):
        return [shown_value(None, item) if is_dataclass(item) else item for item in value]
    return value


def flat_values(settings: Any, path: KeyPath = ()) -> Iterator[SettingValue]:
    """Each setting of a settings object; a list is one, whatever is in it."""
    owner = settings.__class__
    for key, field in settings_fields(owner).items():
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from flat_values(value, (*path, key))
        else:
            yield SettingValue((*path, key), owner, field, value, unread_mark(field.hint))


def _quantity_text(quantity: Quantity, value: float) -> str:
    """A quantity as a person would write it, without rounding."""
    shown = quantity.show(value)
    if quantity.parse(shown) == value and not (quantity.whole and "." in shown):
        return shown
    unit = next(unit for unit, factor in quantity.factors.items() if factor == 1 or unit == "%")
    if quantity is MONEY:
        return f"${value!r}"
    return f"{value!r} {unit}".rstrip()


def mask_changes(changes: Iterable[SettingChange]) -> tuple[SettingChange, ...]:
    """Changes of settings without secrets."""
    return tuple(
        replace(
            change,
            key=mask_secrets(change.key),
            before=mask_value(change.key, change.before),
            after=mask_value(change.key, change.after),
        )
        for change in changes
    )


def mask_problems(problems: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Problems that quote no secret."""
    return tuple(
        replace(
            problem,
            message=mask_secrets(problem.message),
            hint=problem.hint and mask_secrets(problem.hint),
        )
        for problem in problems
    )
