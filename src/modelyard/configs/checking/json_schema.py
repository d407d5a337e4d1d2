"""Checks of JSON Schemas: of the answers of a domain, and of configs against the published ones.

The mistakes of an answer's schema are found here without a validator: loading one takes longer than
checking a hundred files, and its messages name no nearest word. A test holds these checks against
jsonschema's; a strict check of configs, and so each deployment, asks jsonschema itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from modelyard.configs.checking.meaning import problem
from modelyard.configs.reading.document import Document, resolve
from modelyard.configs.reading.shape import Shaped
from modelyard.configs.schema import load_schema
from modelyard.core.errors import Diagnostic, KeyPath, did_you_mean, dotted

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

# Keywords of draft-07 (https://json-schema.org/draft-07) and the two later names of `definitions`.
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_ONE = (
    *("additionalProperties", "additionalItems", "contains", "propertyNames"),
    *("not", "if", "then", "else"),
)
_SOME = ("allOf", "anyOf", "oneOf")
_NAMED = ("properties", "patternProperties", "definitions", "$defs")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_TEXTS = ("title", "description", "format", "$ref", "$id", "$schema", "$comment")
_SWITCHES = ("uniqueItems", "readOnly")
_ANYTHING = ("default", "const")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def check_json_schema(schema: Any, path: KeyPath) -> Iterator[Diagnostic]:
    """Everything that keeps `schema`, at `path`, from being a JSON Schema."""
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


def _wrong(path: KeyPath, message: str) -> Diagnostic:
    return problem(path, "not-json-schema", f"'{dotted(path)}' {message}")


def _check_type(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name not in _TYPES:
            near = did_you_mean(str(name), _TYPES)
            yield _wrong(path, f"must be one of {', '.join(_TYPES)}, not {name!r}{near}")
    if not names or any(name in names[:place] for place, name in enumerate(names)):
        yield _wrong(path, "must be a type, or a list of different ones")


def _check_dependencies(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    if not isinstance(value, Mapping):
        yield _wrong(path, "must be a mapping of names to schemas or to lists of names")
        return
    for name, item in value.items():
        if isinstance(item, list):
            yield from _check_names(item, (*path, name))
        else:
            yield from check_json_schema(item, (*path, name))


def _check_items(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    yield from (
        _check_some(value, path) if isinstance(value, list) else check_json_schema(value, path)
    )


def _check_some(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    if not isinstance(value, list) or not value:
        yield _wrong(path, "must be a list of schemas")
        return
    for place, item in enumerate(value):
        yield from check_json_schema(item, (*path, place))


def _check_named(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    if not isinstance(value, Mapping):
        yield _wrong(path, "must be a mapping of names to schemas")
        return
    for name, item in value.items():
        yield from check_json_schema(item, (*path, name))


def _must_be(wanted: str, holds: Callable[[Any], bool]) -> Callable[..., Iterator[Diagnostic]]:
    def check(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
        if not holds(value):
            shown = "" if isinstance(value, list) else f", not {value!r}"
            yield _wrong(path, f"must be {wanted}{shown}")

    return check


def _check_names(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    yield from _must_be("a list of names", _is_list_of_names)(value, path)
    if _is_list_of_names(value) and len(set(value)) < len(value):
        yield _wrong(path, "names one of them twice")


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _check_pattern(value: Any, path: KeyPath) -> Iterator[Diagnostic]:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        yield _wrong(path, "must be a regular expression")


_KEYWORDS: Mapping[str, Callable[[Any, KeyPath], Iterator[Diagnostic]]] = {
    "type": _check_type,
    "items": _check_items,
    "required": _check_names,
    "enum": _must_be("a list of values", lambda value: isinstance(value, list) and bool(value)),
    "pattern": _check_pattern,
    **dict.fromkeys(_ONE, check_json_schema),
    **dict.fromkeys(_SOME, _check_some),
    **dict.fromkeys(_NAMED, _check_named),
    **dict.fromkeys(
        _COUNTS,
        _must_be("a whole number from 0", lambda value: type(value) is int and value >= 0),
    ),
    **dict.fromkeys(_NUMBERS, _must_be("a number", lambda value: type(value) in (int, float))),
    "multipleOf": _must_be(
        "a number above 0", lambda value: type(value) in (int, float) and value > 0
    ),
    "examples": _must_be("a list of values", lambda value: isinstance(value, list)),
    "dependencies": _check_dependencies,
    **dict.fromkeys(_TEXTS, _must_be("a text", lambda value: isinstance(value, str))),
    **dict.fromkeys(_SWITCHES, _must_be("true or false", lambda value: isinstance(value, bool))),
    **dict.fromkeys(_ANYTHING, lambda value, path: iter(())),
}


def check_by_schema(document: Document, shaped: Shaped) -> Iterator[Diagnostic]:
    """What the published schema refuses in a document: as it is written, and with each overlay."""
    from jsonschema.exceptions import SchemaError

    validator = _validator(document.kind.name)
    versions = [document.source.value]
    versions += [
        resolve(document, environment).values
        for environment in shaped.settings
        if document.layers(environment)
    ]
    for values in versions:
        for refusal in validator.iter_errors(values):
            path = tuple(refusal.absolute_path)
            place = f"'{dotted(path)}': " if path else ""
            message = f"the JSON Schema of this kind refuses {place}{refusal.message}"
            yield problem(path, "json-schema", message)
        output = values.get("output")
        schema = output.get("json_schema") if isinstance(output, Mapping) else None
        try:
            validator.check_schema(
                {} if schema is None else schema, format_checker=validator.FORMAT_CHECKER
            )
        except SchemaError as refusal:
            path = ("output", "json_schema", *refusal.absolute_path)
            yield problem(path, "not-json-schema", f"'{dotted(path)}': {refusal.message}")


@cache
def _validator(kind: str) -> Draft7Validator:
    from jsonschema import Draft7Validator

    return Draft7Validator(load_schema(kind))
