"""Why a setting is what it is: its layers (default, base, overlay), and where each was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelyard.configs.compare import mask_problems
from modelyard.configs.fields import (
    SettingValue,
    default_of,
    say_type,
    settings_of,
    walk_settings,
    written_form,
)
from modelyard.configs.reading.document import Document, resolve
from modelyard.configs.reading.shape import check_shape
from modelyard.core.errors import InvalidInput, KeyPath, ProblemsFound, dotted
from modelyard.secrets.values import mask_value
from modelyard.settings.build import build_settings
from modelyard.settings.fields import field_docs
from modelyard.settings.known_keys import ANY_ITEM, ANY_NAME, meant_key, split_key

DEFAULT, BASE = "default", "base"
"""The layers of every setting; those of the environments lie above them."""
DERIVED = "derived value"
"""The layer of a value of a domain that no single setting says, such as the whole fallback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One place that says what a setting is."""

    name: str
    """`default`, `base`, an environment, `profile NAME`, `language model NAME`,
    `integration config`, `profile switch`, `derived value` for what is worked out of the layers,
    or `deployed config` when the version that deployed it kept no lines."""
    value: Any
    """What it says, as written."""
    where: str | None
    """`file:line:col`; None for a default. The config alone where no line was kept."""
    revision: int | None = None
    """The revision with which it went live; None for a draft and a default."""
    key: str | None = None
    """The setting that says it, by its dotted key in its config; None when it is the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One setting, and why it is what it is."""

    path: KeyPath
    """Its key path."""
    key: str
    """The dotted key."""
    attribute: str
    """What the program calls it, with its unit: `timeout_s`."""
    value: Any
    """The effective value, as written; None when it is not set."""
    parsed: Any
    """The value that the program gets: seconds, shares from 0 to 1, dollars, bytes."""
    layer: str | None
    """The layer that it comes from; None when nothing sets it."""
    where: str | None
    """Where that is written."""
    layers: tuple[Layer, ...]
    """Every layer that says something, the lowest first; without an environment, of all of them.
    Of a derived value the settings that it is worked out of."""
    may_be: str
    """What it may be, in words."""
    meaning: str
    """What it is for."""
    unread: str | None
    """Why it has no effect; None for a setting that has."""
    revision: int | None = None
    """The revision with which the value went live; None for a draft and a default."""

    @property
    def derived_from(self) -> tuple[str, ...]:
        """The settings that a derived value is worked out of, by their places; a default by key."""
        if self.layer != DERIVED:
            return ()
        return tuple(layer.where or f"the default of {layer.key}" for layer in self.layers)


def explain(document: Document, key: str, environment: str | None) -> tuple[Explanation, ...]:
    """The setting at a dotted key, or every setting below it: of the config, for an empty key.

    Without an environment it is the value where no overlay sets another one.
    Raises ProblemsFound when the config is not valid, InvalidInput when there is no such key.
    """
    shaped = check_shape(document, (environment,) if environment else ())
    resolved = resolve(document, environment)
    own = document.kind.settings_class
    settings, _ = build_settings(own, resolved.values, resolved.where)
    if shaped.problems or settings is None:
        problems = mask_problems(shaped.problems)
        raise ProblemsFound(f"{document.source.name} is not valid", problems)
    walked = walk_settings(own, settings, key=key)
    places = [place for place in walked if is_below(dotted(place.path), key)]
    if not places:
        existing = [dotted(place.path) for place in walk_settings(own, settings)]
        raise _unknown(document, key, existing)
    return tuple(_explain(document, place, environment) for place in places)


def is_below(key: str, group: str) -> bool:
    """Whether a dotted key is this group or below it; every key is below the empty one."""
    return not group or f"{key}.".startswith((f"{group}.", f"{group}["))


def written_layers(document: Document, environment: str) -> dict[str, Layer]:
    """The layer that decides each setting which a config sets in an environment, by dotted key.

    Empty for a config that is not valid there.
    """
    resolved = resolve(document, environment)
    own = document.kind.settings_class
    settings, problems = build_settings(own, resolved.values, resolved.where)
    if problems:
        return {}
    layers = {
        dotted(place.path): list(_layers(document, place, environment))
        for place in walk_settings(own, settings)
    }
    return {key: found[-1] for key, found in layers.items() if found and found[-1].where}


def _explain(document: Document, place: SettingValue, environment: str | None) -> Explanation:
    key = dotted(place.path)
    layers = tuple(
        replace(layer, value=mask_value(key, layer.value))
        for layer in _layers(document, place, environment)
    )
    below = [layer for layer in layers if environment or layer.name in (DEFAULT, BASE)]
    effective = below[-1] if below else None
    return Explanation(
        path=place.path,
        key=key,
        attribute=place.field.name,
        value=effective.value if effective else None,
        parsed=mask_value(key, place.parsed),
        layer=effective.name if effective else None,
        where=effective.where if effective else None,
        layers=layers,
        may_be=say_type(place.field.hint),
        meaning=field_docs(place.owner)[place.field.name],
        unread=place.unread.why if place.unread else None,
    )


def _layers(document: Document, place: SettingValue, environment: str | None) -> Iterator[Layer]:
    hint, default = place.field.hint, None
    if not place.field.required:
        default = written_form(hint, default_of(place.owner, place.field))
        yield Layer(name=DEFAULT, value=default, where=None)
    source = document.source
    overlays = document.layers(environment) if environment else document.overlays
    list_path = _replaceable(place.path)
    replacing = [name for name in overlays if environment and _says(overlays[name], list_path)]
    if not replacing and _says(source.value, place.path):
        yield Layer(name=BASE, value=_at(source.value, place.path), where=source.where(place.path))
    above = list(overlays)[list(overlays).index(replacing[-1]) :] if replacing else overlays
    for name in above:
        overlay = overlays[name]
        if (reset := _reset_by(overlay, place.path)) and not place.field.required:
            yield Layer(name=name, value=default, where=document.where_in(name, reset))
        elif _says(overlay, place.path):
            where = document.where_in(name, place.path)
            yield Layer(name=name, value=_at(overlay, place.path), where=where)


def _replaceable(path: KeyPath) -> KeyPath:
    """The list that a path leads into, which an overlay replaces whole; empty without one."""
    first = next((at for at, step in enumerate(path) if isinstance(step, int)), None)
    return () if first is None else path[:first]


def _reset_by(overlay: Any, path: KeyPath) -> KeyPath:
    """The beginning of a path at which an overlay has null; empty where it has none."""
    beginnings = (path[:depth] for depth in range(1, len(path) + 1))
    return next((each for each in beginnings if _at(overlay, each, ...) is None), ())


def _says(values: Any, path: KeyPath) -> bool:
    """Whether nested values have something at a path; never at an empty one."""
    missing = object()
    return bool(path) and _at(values, path, missing) is not missing


def _at(values: Any, path: KeyPath, otherwise: Any = None) -> Any:
    for step in path:
        is_key = isinstance(values, Mapping) and step in values
        is_item = isinstance(values, list) and isinstance(step, int) and step < len(values)
        if not (is_key or is_item):
            return otherwise
        values = values[step]
    return values


def _unknown(document: Document, key: str, existing: Sequence[str]) -> InvalidInput:
    """Why there is no such key; `existing` are the dotted keys that the config has."""
    if key.partition(".")[0] in document.kind.header_keys:
        what = "what the config is called" if key == "name" else "what differs in an environment"
        return InvalidInput(
            f"'{key}' is no setting: it says {what}",
            where=document.source.where((key.partition(".")[0],)),
            hint="`models config explain KEY FILE --env NAME` shows a setting in an environment",
        )
    known = [setting.key for setting in settings_of(document.kind.settings_class)]
    for form in known:
        found = _fitting(form, key, existing)
        if found is not None:
            there = f"there are {', '.join(found)}" if found else "the config has none of them"
            return InvalidInput(
                f"there is no '{key}' in this config; {there}",
                where=document.source.name,
                hint="items are counted from 0, and NAME stands for a name",
            )
    near = meant_key(document.kind.settings_class, split_key(key)) if key else None
    hint = f" (did you mean '{near}'?)" if near else ""
    return InvalidInput(
        f"a config of {document.kind.name} has no key '{key}'{hint}",
        where=document.source.name,
        hint=f"`models config schema {document.kind.name}` lists them all",
    )


def _fitting(form: str, key: str, existing: Sequence[str]) -> list[str] | None:
    """The existing keys beside `key`, if it is of a form like `domains.NAME.sources`, or above it.

    None when it is of another form.
    """
    places = list(re.finditer(rf"{re.escape(ANY_ITEM)}|\b{ANY_NAME}\b|$", form))
    for place in places:
        above, below = form[: place.end()], form[place.end() :]
        if above != key and re.fullmatch(_pattern(above, name="[^.]+"), key) is None:
            continue
        if place.start() == place.end() and above == form and len(places) == 1:
            continue
        pattern = re.compile(f"({_pattern(above)}){_pattern(below)}")
        matches = map(pattern.fullmatch, existing)
        return list(dict.fromkeys(match[1] for match in matches if match))
    return None


def _pattern(form: str, *, name: str = ".+?") -> str:
    """The regular expression of the keys of a form."""
    items = re.escape(form).replace(re.escape(ANY_ITEM), r"\[\d*\]")
    return re.sub(rf"\b{ANY_NAME}\b", lambda _: name, items)
