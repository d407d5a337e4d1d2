"""The JSON Schema (draft-07) of what a type says: its values, bounds, patterns and quantities.

Configs and results make their schemas of these parts. How a class becomes a schema is theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from modelyard.settings.marks import Range, Unwrapped, describe, members_of, unwrap
from modelyard.settings.units import Quantity

Schema = dict[str, Any]
Refer = Callable[[type], Schema]
"""Gives the schema of a class, usually a `$ref` to its definition."""

DRAFT = "http://json-schema.org/draft-07/schema#"

_TYPES: Mapping[Any, str] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
    Path: "string",
}


def render_schema(schema: Schema) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def annotated(schema: Schema) -> Schema:
    """A schema that may have a description beside it: draft-07 ignores what stands beside $ref."""
    return {"allOf": [schema]} if "$ref" in schema else schema


def whole(pattern: str) -> str:
    """A pattern of the whole text: Python's `$` also stands before a line's end at the end."""
    return f"^(?:{pattern})$(?!\\n)"


def value_schema(hint: Any, refer: Refer, refer_item: Refer | None = None) -> Schema:
    """The schema of a type. `refer_item`, if it is another, is for the classes within lists."""
    refer_item = refer_item or refer
    marked = unwrap(hint)
    members, optional = members_of(hint)
    if optional or len(members) > 1:
        schemas = [value_schema(member, refer, refer_item) for member in members]
        return _any_of(schemas, optional=optional)
    if is_dataclass(marked.hint):
        return refer(cast(type, marked.hint))
    if marked.quantity is not None:
        return _quantity_schema(marked.quantity, marked.bounds)
    origin, inner = get_origin(marked.hint), get_args(marked.hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (tuple, list, Sequence):
        count = {} if origin is not tuple or ... in inner else {"minItems": len(inner)}
        count |= {"maxItems": len(inner)} if count else {}
        return {"type": "array", "items": value_schema(inner[0], refer_item), **count}
    if origin in (dict, Mapping):
        key, item = inner
        values = value_schema(item, refer, refer_item)
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
        schema["pattern"] = whole(marked.pattern.regex)
        schema["patternErrorMessage"] = f"must be {describe(Annotated[str, marked.pattern])}"
        if marked.pattern.examples:
            schema["examples"] = list(marked.pattern.examples)
    return schema | _bounds_schema(marked.bounds, whole=marked.hint is int)


def _bounds_schema(bounds: Range, *, whole: bool) -> Schema:
    sides = {"minimum": bounds.low, "maximum": bounds.high}
    return {
        side: int(bound) if whole else bound for side, bound in sides.items() if bound is not None
    }
