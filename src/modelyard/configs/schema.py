"""The JSON Schema of each kind, draft-07, made from its settings class for editors and other tools.

Where the settings class accepts a config, so does its schema. The schema accepts more where JSON
Schema has no words for what is wrong: a quantity in text that is out of its bounds or comes to part
of a token, a group that neither the base nor the overlay fills completely, `16.0` for `16`, and the
numbers that JSON cannot hold (`.inf`, `.nan`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib.resources import files
from inspect import cleandoc
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from modelyard.configs.fields import ANY_ITEM, class_below, default_of, say_type, written_form
from modelyard.configs.kinds import STANDARD_ENVIRONMENTS, Kind
from modelyard.configs.kinds.environments import ENVIRONMENT_PATTERN
from modelyard.configs.kinds.parts import NAME_PATTERN
from modelyard.settings.fields import SettingsField, field_docs, settings_fields
from modelyard.settings.marks import (
    Range,
    Unwrapped,
    choices_of,
    describe,
    members_of,
    unread_mark,
    unwrap,
)
from modelyard.settings.units import Quantity

Schema = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_OVERLAY = "Overlay"
_ENVIRONMENTS = (
    "The settings that differ in an environment; configs/environments.yaml declares which there "
    "are. Mappings are merged key by key; a list or a single value replaces the one below it."
)
_TYPES: Mapping[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string"}


def load_schema(kind: str) -> Schema:
    """The published schema of a kind, as it lies in the package."""
    packaged = files("modelyard.configs") / "schemas" / f"{kind}.json"
    return cast(Schema, json.loads(packaged.read_text(encoding="utf-8")))


def render_schema(schema: Schema) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


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
        own["properties"] = {"name": _NAME_SCHEMA, **own["properties"], "environments": _overlays()}
    return {
        "$schema": _DRAFT,
        "$id": f"urn:modelyard:configs:{kind.name}",
        "$comment": "Made by `models config schema --all --to DIR` from the settings classes.",
        "title": kind.title,
        **own,
        "definitions": dict(sorted(definitions.items())),
    }


def _overlays() -> Schema:
    """The schema of `environments`: any name may be declared; editors offer the standard ones."""
    overlay = {"anyOf": [{"$ref": f"#/definitions/{_OVERLAY}"}, {"type": "null"}]}
    return {
        "description": _ENVIRONMENTS,
        "type": ["object", "null"],
        "propertyNames": {"type": "string", "pattern": _whole(ENVIRONMENT_PATTERN)},
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
    schema |= _annotated(_value_schema(field.hint, definitions, overlay=overlay))
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


def _annotated(schema: Schema) -> Schema:
    """A schema that may have a description beside it: draft-07 ignores what stands beside $ref."""
    return {"allOf": [schema]} if "$ref" in schema else schema


def _value_schema(hint: Any, definitions: dict[str, Schema], *, overlay: bool) -> Schema:
    marked = unwrap(hint)
    members, optional = members_of(hint)
    if optional or len(members) > 1:
        schemas = [_value_schema(member, definitions, overlay=overlay) for member in members]
        return _any_of(schemas, optional=optional)
    if is_dataclass(marked.hint):
        return _reference(cast(type, marked.hint), definitions, overlay=overlay)
    if marked.quantity is not None:
        return _quantity_schema(marked.quantity, marked.bounds)
    if get_origin(marked.hint) is Literal:
        return {"enum": list(get_args(marked.hint))}
    if get_origin(marked.hint) is tuple:
        item = get_args(marked.hint)[0]
        return {"type": "array", "items": _value_schema(item, definitions, overlay=False)}
    if get_origin(marked.hint) is Mapping:
        key, item = get_args(marked.hint)
        values = _value_schema(item, definitions, overlay=overlay)
        names = {"propertyNames": _plain_schema(unwrap(key))} if unwrap(key).pattern else {}
        return {"type": "object", **names, **({"additionalProperties": values} if values else {})}
    return {} if marked.hint is Any else _plain_schema(marked)


def _any_of(schemas: list[Schema], *, optional: bool) -> Schema:
    """One of several schemas, or null where that is allowed."""
    if len(schemas) > 1:
        return {"anyOf": [*schemas, *([{"type": "null"}] if optional else [])]}
    (only,) = schemas
    if "enum" in only:
        return {**only, "enum": [*only["enum"], None]}
    if "type" in only:
        types = only["type"] if isinstance(only["type"], list) else [only["type"]]
        return {**only, "type": [*types, "null"]}
    return {"anyOf": [only, {"type": "null"}]}


def _reference(settings: type, definitions: dict[str, Schema], *, overlay: bool) -> Schema:
    differs = overlay and _requires_something(settings)
    name = settings.__name__ + (_OVERLAY if differs else "")
    if name not in definitions:
        definitions[name] = {}  # its place, also for a class that would hold itself
        definitions[name] = _class_schema(settings, definitions, overlay=differs)
    return {"$ref": f"#/definitions/{name}"}


def _requires_something(settings: type) -> bool:
    """Whether a key is required in a class, or below it where mappings are merged."""
    for field in settings_fields(settings).values():
        below, step = class_below(field.hint)
        if field.required or (below and step != ANY_ITEM and _requires_something(below)):
            return True
    return False


def _quantity_schema(quantity: Quantity, bounds: Range) -> Schema:
    """A number with a unit in the text; bounds can be given for a bare number only."""
    number = "integer" if quantity.whole else "number"
    schema: Schema = {
        "type": ["string", number] if quantity.bare else "string",
        "pattern": f"{quantity.schema_pattern}(?!\\n)",
        "patternErrorMessage": f"must be {quantity.name} such as '{quantity.examples[0]}'",
    }
    if quantity.bare:
        schema |= _bounds_schema(bounds, whole=quantity.whole)
    parsed = {text: quantity.parse(text) for text in quantity.examples}
    examples = [text for text, value in parsed.items() if value is not None and bounds.holds(value)]
    return schema | ({"examples": examples} if examples else {})


def _plain_schema(marked: Unwrapped) -> Schema:
    schema: Schema = {"type": _TYPES[marked.hint]}
    if marked.pattern is not None:
        schema["pattern"] = _whole(marked.pattern.regex)
        schema["patternErrorMessage"] = f"must be {describe(Annotated[str, marked.pattern])}"
        if marked.pattern.examples:
            schema["examples"] = list(marked.pattern.examples)
    return schema | _bounds_schema(marked.bounds, whole=marked.hint is int)


def _bounds_schema(bounds: Range, *, whole: bool) -> Schema:
    sides = {"minimum": bounds.low, "maximum": bounds.high}
    return {
        side: int(bound) if whole else bound for side, bound in sides.items() if bound is not None
    }


def _whole(pattern: str) -> str:
    """A pattern of the whole text: Python's `$` also stands before a line's end at the end."""
    return f"^(?:{pattern})$(?!\\n)"


_NAME_SCHEMA: Schema = {
    "type": ["string", "null"],
    "pattern": _whole(NAME_PATTERN),
    "description": "What other configs call it; default: the file's name without `_config`.",
}
