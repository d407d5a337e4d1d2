"""The published JSON Schema as a second judge, asked by a strict check.

Loading a validator takes longer than checking a hundred files; so nobody else imports this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError

from modelyard.configs.checking.meaning.mistake import Mistake
from modelyard.configs.reading.document import Document, resolve
from modelyard.configs.reading.shape import Shaped
from modelyard.configs.schema import load_schema
from modelyard.core.errors import KeyPath, dotted


def refusals(document: Document, shaped: Shaped) -> Iterator[Mistake]:
    """What the schema of its kind refuses in a document: as it is written, and once merged."""
    validator = _validator(document.kind.name)
    versions = [document.source.value]
    versions += [
        resolve(document, environment).values
        for environment in shaped.settings
        if document.overlays.get(environment)
    ]
    for values in versions:
        for error in validator.iter_errors(values):
            yield _refusal(tuple(error.absolute_path), error.message)
        yield from _answer_schema(values)


@cache
def _validator(kind: str) -> Draft7Validator:
    return Draft7Validator(load_schema(kind))


def _refusal(path: KeyPath, said: str) -> Mistake:
    place = f"'{dotted(path)}': " if path else ""
    return Mistake(path, "json-schema", f"the JSON Schema of this kind refuses {place}{said}")


def _answer_schema(values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Whether the schema of a domain's answers is one."""
    output = values.get("output")
    schema = output.get("json_schema") if isinstance(output, Mapping) else None
    if schema is None:
        return
    try:
        Draft7Validator.check_schema(schema)
    except SchemaError as error:
        path = ("output", "json_schema", *error.absolute_path)
        yield Mistake(path, "not-json-schema", f"'{dotted(path)}': {error.message}")
