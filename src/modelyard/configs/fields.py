"""Every key of a kind of config, described by its settings class.

The published schema, docs/configs.md and `models config explain` use these words, so they agree.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from modelyard.configs.kinds import KINDS
from modelyard.core.errors import KeyPath, dotted
from modelyard.settings.fields import SettingsField, field_docs, settings_fields
from modelyard.settings.known_keys import class_below
from modelyard.settings.marks import (
    Range,
    Unread,
    choices_of,
    describe,
    members_of,
    quantity_of,
    unread_mark,
    unwrap,
)
from modelyard.settings.yaml_scalars import is_plain_text

_REFERENCES = {
    "base_models": "a base model, as in `models base list`",
    "adapters": "an adapter, NAME or NAME@VERSION",
    "datasets": "a dataset under datasets/",
    "search_domains": "a search domain, DOMAIN or GROUP/DOMAIN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of a kind."""

    key: str
    """The dotted key, such as `generation.top_p`, `checks[].rows` or `domains.NAME.sources`."""
    attribute: str
    """What the program calls it, with its unit: `timeout_s`."""
    hint: Any
    """Its type, marks and all."""
    may_be: str
    """What it may be, in words."""
    required: bool
    """Whether it must be given where its group is."""
    default: str | None
    """The default as one would write it; None without one."""
    meaning: str
    """What it is for."""
    is_group: bool
    """Whether it is a group of further keys."""
    unread: Unread | None
    """Its mark, or that of a group above it, when nothing reads it any more."""


def settings_of(
    settings: type, prefix: str = "", *, unread: Unread | None = None
) -> Iterator[Setting]:
    """Every key below a settings class, in the order of its fields.

    `prefix` begins each key; `unread` is the mark of the group.
    """
    docs = field_docs(settings)
    for field in settings_fields(settings).values():
        key = f"{prefix}{field.key}"
        below, step = class_below(field.hint)
        mark = unread_mark(field.hint) or unread
        yield Setting(
            key=key,
            attribute=field.name,
            hint=field.hint,
            may_be=say_type(field.hint),
            required=field.required,
            default=_shown_default(settings, field),
            meaning=docs[field.name],
            is_group=below is not None,
            unread=mark,
        )
        if below is not None:
            yield from settings_of(below, f"{key}{step}.", unread=mark)


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting of a settings object."""

    path: KeyPath
    """Its key path."""
    owner: type
    """The settings class that has it."""
    field: SettingsField
    """Its field there."""
    parsed: Any
    """Its value."""
    unread: Unread | None
    """Its mark, or that of a group above it, when nothing reads it any more."""

    @property
    def written(self) -> Any:
        """Its value in the form of YAML."""
        return written_form(self.field.hint, self.parsed)


def walk_settings(
    owner: type,
    settings: Any,
    *,
    path: KeyPath = (),
    key: str = "",
    unread: Unread | None = None,
) -> Iterator[SettingValue]:
    """Every setting of a settings object of the class `owner`, defaults included.

    `path` is that of the object, `unread` the mark of its group. Settings below a group that is
    left out are included only where the dotted `key` asks for them.
    """
    for field in settings_fields(owner).values():
        value = getattr(settings, field.name, None)
        spot = (*path, field.key)
        mark = unread_mark(field.hint) or unread
        below, _ = class_below(field.hint)
        if below is None or value in (None, (), {}):
            yield SettingValue(spot, owner, field, value, mark)
        if below is None:
            continue
        if value is None and key.startswith(f"{dotted(spot)}."):
            yield from walk_settings(below, None, path=spot, key=key, unread=mark)
        for step, item in _objects_in(value):
            yield from walk_settings(below, item, path=(*spot, *step), key=key, unread=mark)


def _objects_in(value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """The settings objects that a field holds, and the steps from it to each."""
    if isinstance(value, Mapping):
        yield from (((name,), item) for name, item in value.items())
    elif isinstance(value, tuple):
        yield from (((number,), item) for number, item in enumerate(value))
    elif dataclasses.is_dataclass(value):
        yield (), value


def default_of(settings: type, field: SettingsField) -> Any:
    """The default value of a field; None for a required one."""
    found = next(own for own in dataclasses.fields(settings) if own.name == field.name)
    if found.default_factory is not dataclasses.MISSING:
        return found.default_factory()
    return None if found.default is dataclasses.MISSING else found.default


def _shown_default(settings: type, field: SettingsField) -> str | None:
    value = default_of(settings, field)
    if value is None or dataclasses.is_dataclass(value):
        return None
    return show_written(written_form(field.hint, value))


def written_form(hint: Any, value: Any) -> Any:
    """A parsed value as YAML would hold it: quantities with their units."""
    quantity = quantity_of(hint)
    if quantity is not None and isinstance(value, (int, float)):
        shown = quantity.show(value)
        return int(shown) if quantity.bare and shown.isdigit() else shown
    if isinstance(value, tuple):
        choices, _ = choices_of(unwrap(hint).hint)
        of = next((get_args(choice)[0] for choice in choices if get_origin(choice) is tuple), Any)
        return [written_form(of, item) for item in value]
    return value


def show_written(value: Any) -> str:
    """A value in the flow style of YAML, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show_written, value))}]"
    if isinstance(value, Mapping):
        inside = (f"{show_written(key)}: {show_written(item)}" for key, item in value.items())
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and not (value.isprintable() and is_plain_text(value)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def say_type(hint: Any) -> str:
    """What a value of this type may be, in words."""
    marked = unwrap(hint)
    choices, optional = members_of(hint)
    if optional or len(choices) > 1:
        return " or ".join(map(say_type, choices))
    if marked.quantity is not None:
        bounds = marked.bounds
        within = "" if bounds == Range() else f", {bounds.words(marked.quantity.show)}"
        return f"{describe(hint)}{within}"
    if marked.reference is not None:
        kind = KINDS.get(marked.reference.to)
        return f"a name in configs/{kind.name}/" if kind else _REFERENCES[marked.reference.to]
    if get_origin(marked.hint) is tuple:
        below, _ = class_below(marked.hint)
        return "a list" if below else f"a list, each {say_type(get_args(marked.hint)[0])}"
    if get_origin(marked.hint) is Mapping:
        item = get_args(marked.hint)[1]
        below, _ = class_below(item)
        named = below or item is Any
        return "a mapping" if named else f"a mapping of names, each to {say_type(item)}"
    return "anything" if marked.hint is Any else describe(hint)
