"""The JSON Schema of each kind, draft-07, made from its settings class for editors and other tools.

Where the settings class accepts a config, so does its schema. The schema accepts more where JSON
Schema has no words for what is wrong: a quantity in text that is out of its bounds or comes to part
of a token, a group that neither the base nor the overlay fills completely, `16.0` for `16`, and the
numbers that JSON cannot hold (`.inf`, `.nan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from importlib.resources import files
from inspect import cleandoc
from typing import Any, cast, get_args, get_origin

from modelyard.configs.fields import default_of, say_type, written_form
from modelyard.configs.kinds import STANDARD_ENVIRONMENTS, Kind
from modelyard.configs.kinds.environments import ENVIRONMENT_PATTERN
from modelyard.configs.kinds.parts import NAME_PATTERN
from modelyard.configs.reading.recognition import HOLDER
from modelyard.configs.reading.spellings import SPELLINGS, class_at
from modelyard.core.json_reading import parse_json
from modelyard.settings.fields import SettingsField, field_docs, settings_fields
from modelyard.settings.json_schema import DRAFT, Schema, annotated, value_schema, whole
from modelyard.settings.marks import choices_of, unread_mark, unwrap

_OVERLAY = "Overlay"
_ENVIRONMENTS = (
    "The settings that differ in an environment; configs/environments.yaml declares which there "
    "are. Mappings are merged key by key; a list or a single value replaces the one below it, and "
    "null resets a key or a group to its default."
)
_HOLDERS = "Anchors for the rest of the file, as in compose files; it is no setting."


def load_schema(kind: str) -> Schema:
    """The published schema of a kind, as it lies in the package."""
    packaged = files("modelyard.configs") / "schemas" / f"{kind}.json"
    return cast(Schema, parse_json(packaged.read_bytes()))


def build_schema(kind: Kind) -> Schema:
    """The schema of a kind, from its settings class.

    Settings classes within it stand under `definitions`. An overlay is the same without `required`,
    but inside lists, which replace what is below them and so must be complete.
    """
    settings = kind.settings_class
    definitions: dict[str, Schema] = {}
    own = _class_schema(settings, definitions, overlay=False)
    if kind.deployable:
        definitions[_OVERLAY] = _class_schema(settings, definitions, overlay=True)
    _add_spellings(kind, definitions)
    if kind.deployable:
        own["properties"] = {"name": _NAME_SCHEMA, **own["properties"], "environments": _overlays()}
    own["patternProperties"] = {f"^{HOLDER}": {"description": _HOLDERS}}
    return {
        "$schema": DRAFT,
        "$id": f"urn:modelyard:configs:{kind.name}",
        "$comment": "Made by `models config schema --all --to DIR` from the settings classes.",
        "title": kind.title,
        **own,
        "definitions": dict(sorted(definitions.items())),
    }


def _add_spellings(kind: Kind, definitions: dict[str, Schema]) -> None:
    """Allow the other spellings of keys; a misspelt key is then for the settings class to find."""
    for path, spellings in SPELLINGS.get(kind.name, {}).items():
        group = class_at(kind.settings_class, path).__name__
        for schema in (definitions.get(group), definitions.get(group + _OVERLAY)):
            if schema is None:
                continue
            properties = schema["properties"]
            for other, key in spellings.renamed.items():
                properties[other] = {**properties[key], "description": f"Another name of `{key}`."}
            if spellings.spread:
                named = properties[spellings.spread]
                schema |= {key: named[key] for key in ("propertyNames", "additionalProperties")}


def _overlays() -> Schema:
    """The schema of `environments`: any name may be declared; editors offer the standard ones."""
    overlay = {"anyOf": [{"$ref": f"#/definitions/{_OVERLAY}"}, {"type": "null"}]}
    return {
        "description": _ENVIRONMENTS,
        "type": ["object", "null"],
        "propertyNames": {"type": "string", "pattern": whole(ENVIRONMENT_PATTERN)},
        "properties": {
            name: {"description": f"The settings that differ in {name}.", **overlay}
            for name in STANDARD_ENVIRONMENTS
        },
        "additionalProperties": overlay,
    }


def _class_schema(settings: type, definitions: dict[str, Schema], *, overlay: bool) -> Schema:
    fields = settings_fields(settings)
    schema: Schema = {
        "description": cleandoc(settings.__doc__ or ""),
        "type": "object",
        "properties": {
            key: _property(settings, field, definitions, overlay=overlay)
            for key, field in fields.items()
        },
        "additionalProperties": False,
    }
    required = [key for key, field in fields.items() if field.required]
    return schema | ({"required": required} if required and not overlay else {})


def _property(
    settings: type, field: SettingsField, definitions: dict[str, Schema], *, overlay: bool
) -> Schema:
    schema: Schema = {"description": _describe(field_docs(settings)[field.name], field.hint)}
    hint = field.hint
    if overlay and unwrap(hint).hint is not Any:
        hint = hint | None  # null resets it
    schema |= annotated(
        value_schema(
            hint,
            partial(_reference, definitions=definitions, overlay=overlay),
            partial(_reference, definitions=definitions, overlay=False),
        )
    )
    default = default_of(settings, field)
    if default is not None and not is_dataclass(default) and default != {}:
        schema["default"] = written_form(field.hint, default)
    return schema


def _describe(meaning: str, hint: Any) -> str:
    """What a key is for, and what the schema's own keywords do not say of its value."""
    mark, marked = unread_mark(hint), unwrap(_innermost(hint))
    notes = [str(mark)] if mark else []
    if marked.quantity is not None or marked.reference is not None:
        notes.insert(0, say_type(hint))
    return "\n\n".join([meaning, *(f"{words[0].upper()}{words[1:]}." for words in notes)])


def _innermost(hint: Any) -> Any:
    """The type of the values that a hint comes to: of a list's items, of a mapping's values."""
    marked = unwrap(hint)
    choices, _ = choices_of(marked.hint)
    if choices[0] is not marked.hint:
        return _innermost(choices[0])
    if get_origin(marked.hint) in (tuple, Mapping):
        return _innermost(get_args(marked.hint)[-1 if get_origin(marked.hint) is Mapping else 0])
    return hint


def _reference(settings: type, *, definitions: dict[str, Schema], overlay: bool) -> Schema:
    name = settings.__name__ + (_OVERLAY if overlay else "")
    if name not in definitions:
        definitions[name] = {}  # its place, also for a class that would hold itself
        definitions[name] = _class_schema(settings, definitions, overlay=overlay)
    return {"$ref": f"#/definitions/{name}"}


_NAME_SCHEMA: Schema = {
    "type": ["string", "null"],
    "pattern": whole(NAME_PATTERN),
    "description": "What other configs call it; default: the file's name without `_config`.",
}
