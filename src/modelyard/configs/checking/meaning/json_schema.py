"""Whether a mapping is a JSON Schema that an answer could be held to.

The mistakes people make are found here without a validator, which takes long to load; with
`strict`, configs/checking.py asks one as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.core.errors import KeyPath, did_you_mean, dotted

# Keywords of draft-07 (https://json-schema.org/draft-07) and the two later names of `definitions`.
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_ONE = ("additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_SOME = ("allOf", "anyOf", "oneOf")
_NAMED = ("properties", "patternProperties", "definitions", "$defs")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_UNCHECKED = (
    *("title", "description", "default", "examples", "const", "format", "uniqueItems", "readOnly"),
    *("$ref", "$id", "$schema", "$comment", "additionalItems", "dependencies"),
)
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def check_json_schema(schema: Mapping[str, Any], path: KeyPath) -> Iterator[Mistake]:
    """Everything that keeps `schema`, at `path`, from being a JSON Schema."""
    yield from _check(schema, path)


def _check(schema: Any, path: KeyPath) -> Iterator[Mistake]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield _wrong(path, "must be a mapping, or true or false")
        return
    for key, value in schema.items():
        check = _KEYWORDS.get(key)
        if check is not None:
            yield from check(value, (*path, key))
        elif near := did_you_mean(key, list(_KEYWORDS)):
            yield _wrong((*path, key), f"is no keyword of JSON Schema{near}")
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, Mapping) and isinstance(required, list):
        closed = schema.get("additionalProperties") is False
        for place, name in enumerate(required):
            if closed and isinstance(name, str) and name not in properties:
                near = did_you_mean(name, list(properties))
                message = f"requires '{name}', which is no property{near}"
                yield _wrong((*path, "required", place), message)


def _wrong(path: KeyPath, message: str) -> Mistake:
    return Mistake(path, "not-json-schema", f"'{dotted(path)}' {message}")


def _check_type(value: Any, path: KeyPath) -> Iterator[Mistake]:
    for one in value if isinstance(value, list) else [value]:
        if one not in _TYPES:
            near = did_you_mean(str(one), _TYPES)
            yield _wrong(path, f"must be one of {', '.join(_TYPES)}, not {one!r}{near}")


def _check_items(value: Any, path: KeyPath) -> Iterator[Mistake]:
    yield from _check_some(value, path) if isinstance(value, list) else _check(value, path)


def _check_some(value: Any, path: KeyPath) -> Iterator[Mistake]:
    if not isinstance(value, list) or not value:
        yield _wrong(path, "must be a list of schemas")
        return
    for place, one in enumerate(value):
        yield from _check(one, (*path, place))


def _check_named(value: Any, path: KeyPath) -> Iterator[Mistake]:
    if not isinstance(value, Mapping):
        yield _wrong(path, "must be a mapping of names to schemas")
        return
    for name, one in value.items():
        yield from _check(one, (*path, name))


def _check_required(value: Any, path: KeyPath) -> Iterator[Mistake]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        yield _wrong(path, "must be a list of names")


def _check_enum(value: Any, path: KeyPath) -> Iterator[Mistake]:
    if not isinstance(value, list) or not value:
        yield _wrong(path, "must be a list of values")


def _check_count(value: Any, path: KeyPath) -> Iterator[Mistake]:
    if type(value) is not int or value < 0:
        yield _wrong(path, f"must be a whole number from 0, not {value!r}")


def _check_number(value: Any, path: KeyPath) -> Iterator[Mistake]:
    if type(value) not in (int, float) or (path[-1] == "multipleOf" and value <= 0):
        yield _wrong(path, f"must be a number, not {value!r}")


def _check_pattern(value: Any, path: KeyPath) -> Iterator[Mistake]:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        yield _wrong(path, "must be a regular expression")


_KEYWORDS: Mapping[str, Callable[[Any, KeyPath], Iterator[Mistake]]] = {
    "type": _check_type,
    "items": _check_items,
    "required": _check_required,
    "enum": _check_enum,
    "pattern": _check_pattern,
    **dict.fromkeys(_ONE, _check),
    **dict.fromkeys(_SOME, _check_some),
    **dict.fromkeys(_NAMED, _check_named),
    **dict.fromkeys(_COUNTS, _check_count),
    **dict.fromkeys(_NUMBERS, _check_number),
    **dict.fromkeys(
        _UNCHECKED,
        lambda value, path: iter(()),
    ),
}
