"""Other ways to write a setting, brought into the one form that all other code reads.

A config may say `fallback_order` for `order`, name a domain beside `primary_models.language`
instead of below `tasks`, and call a language model by one of its aliases. Everything after the
reading of a file sees the settings' own keys and the models' own names; what is deployed has those.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import lru_cache
from typing import Any, cast, get_args, get_origin

from modelyard.configs.kinds import Kind
from modelyard.core.errors import Diagnostic, KeyPath, dotted, nearest
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import choices_of, unwrap
from modelyard.settings.yaml_files import YamlSource

Naming = Callable[[str], str]
"""Gives the name of the language model that a word means, or the word where it means none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpellings:
    """Other ways to write the keys of one group."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """Other names of its keys."""
    spread: str | None = None
    """Its mapping of names whose items may stand in the group itself."""


SPELLINGS: Mapping[str, Mapping[KeyPath, GroupSpellings]] = {
    "integration": {
        ("model_integration", "primary_models"): GroupSpellings(spread="tasks"),
        ("model_integration", "fallback_strategy"): GroupSpellings(
            renamed={"fallback_order": "order"}
        ),
    }
}
"""By kind, and by the path of the group."""


def respell(source: YamlSource, kind: Kind, naming: Naming) -> YamlSource:
    """The source with the settings' own keys, and with language models called by their names.

    A setting that is written in two ways is a problem of the source.
    """
    value, written_at = source.value, dict(source.written_at)
    problems = []
    namer = _namer(cast(Hashable, kind.settings_class))
    for top in _tops(value, kind):
        settings = _at(value, top)
        for old, new in list(_moves(settings, kind)):
            if _at(settings, new) is None:
                settings = _with(settings, new, _at(settings, old))
                written_at[*top, *new] = (*top, *old)
                if (*top, *new[:-1]) not in source.positions:
                    written_at[*top, *new[:-1]] = (*top, *old[:-1])
            else:
                problems.append(_written_twice(source, (*top, *old), (*top, *new)))
            settings = _without(settings, old)
        value = _with(value, top, namer(settings, naming) if namer else settings)
    if value == source.value:
        return source
    return replace(
        source,
        value=value,
        written_at=written_at,
        problems=(*source.problems, *problems),
        doubtful=source.doubtful.union(problem.path for problem in problems),
    )


def _tops(value: Mapping[str, Any], kind: Kind) -> list[KeyPath]:
    """The paths of the mappings that hold settings: the base, and each overlay."""
    overlays = value.get("environments") if kind.deployable else None
    if not isinstance(overlays, dict):
        return [()]
    return [(), *(("environments", name) for name in overlays if isinstance(overlays[name], dict))]


def _moves(settings: Mapping[str, Any], kind: Kind) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Each path that is another spelling, and the path of the setting that it spells."""
    for path, spellings in SPELLINGS.get(kind.name, {}).items():
        group = _at(settings, path)
        if not isinstance(group, dict):
            continue
        known = list(settings_fields(class_at(kind.settings_class, path)))
        for key, value in group.items():
            if key in spellings.renamed:
                yield (*path, key), (*path, spellings.renamed[key])
            elif (
                spellings.spread
                and isinstance(value, str)
                and key not in known
                and nearest(key, known) is None  # else it is a misspelt key
            ):
                yield (*path, key), (*path, spellings.spread, key)


def _written_twice(source: YamlSource, old: KeyPath, new: KeyPath) -> Diagnostic:
    return Diagnostic(
        message=f"'{dotted(old)}' is another spelling of '{dotted(new)}', and both are written",
        where=source.where(old),
        hint="leave one of them out",
        code="written-twice",
        path=new,
    )


Namer = Callable[[Any, Naming], Any]
"""Gives a raw value in which each language model is called by its name."""


@lru_cache
def _namer(hint: Any) -> Namer | None:
    """How models are named in values of a type; None where its values name none."""
    marked = unwrap(hint)
    if marked.reference is not None:
        return _name if marked.reference.to == "language_models" else None
    choices, _ = choices_of(marked.hint)
    if len(choices) == 1 and choices[0] is not marked.hint:
        return _namer(choices[0])
    if is_dataclass(marked.hint):
        fields = settings_fields(cast(type, marked.hint))
        namers = {key: _namer(field.hint) for key, field in fields.items()}
        return _each_key({key: namer for key, namer in namers.items() if namer})
    if get_origin(marked.hint) is Mapping:
        inner = _namer(get_args(marked.hint)[1])
        return inner and _each_value(inner)
    if get_origin(marked.hint) is tuple:
        inner = _namer(get_args(marked.hint)[0])
        return inner and _each_item(inner)
    return None


def _name(value: Any, naming: Naming) -> Any:
    return naming(value) if isinstance(value, str) else value


def _each_key(namers: Mapping[str, Namer]) -> Namer | None:
    if not namers:
        return None

    def name(value: Any, naming: Naming) -> Any:
        if not isinstance(value, dict) or not any(key in value for key in namers):
            return value
        named = {key: namer(value[key], naming) for key, namer in namers.items() if key in value}
        return {**value, **named}

    return name


def _each_value(namer: Namer) -> Namer:
    def name(value: Any, naming: Naming) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: namer(item, naming) for key, item in value.items()}

    return name


def _each_item(namer: Namer) -> Namer:
    def name(value: Any, naming: Naming) -> Any:
        return [namer(item, naming) for item in value] if isinstance(value, list) else value

    return name


def class_at(settings: type, path: KeyPath) -> type:
    """The settings class of the group at a path of keys."""
    for step in path:
        settings = unwrap(settings_fields(settings)[str(step)].hint).hint
    return settings


def _at(value: Any, path: KeyPath) -> Any:
    """What stands at a path of keys; None where nothing does."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _with(value: Any, path: Sequence[Any], item: Any) -> Any:
    """A copy of nested mappings with another item at a path."""
    if not path:
        return item
    inside = value if isinstance(value, dict) else {}
    return {**inside, path[0]: _with(inside.get(path[0]), path[1:], item)}


def _without(value: dict[str, Any], path: Sequence[Any]) -> dict[str, Any]:
    """A copy of nested mappings without the key at a path."""
    key, *below = path
    if below:
        return {**value, key: _without(value[key], below)}
    return {name: item for name, item in value.items() if name != key}
