"""The JSON Schema of a result, and its keys with their meanings, made from its class.

A schema says exactly what is printed: every key is required unless it is left out when unknown, and
there are no others.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import cleandoc
from typing import Any, get_args, get_origin, get_type_hints

from modelyard.results.json_form import json_mark
from modelyard.settings.fields import field_docs
from modelyard.settings.json_schema import DRAFT, Schema, annotated, value_schema
from modelyard.settings.marks import members_of, unwrap

_NONE = re.compile(r"\bNone\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultKey:
    """One key of a result class, as JSON has it."""

    key: str
    """The key."""
    hint: Any
    """The type of its value."""
    meaning: str
    """What it says."""
    always: bool
    """Whether it is there always; else it is left out when it is not known."""
    without: tuple[str, ...]
    """Keys of its value that are left out."""


@lru_cache
def result_keys(result: type) -> tuple[ResultKey, ...]:
    """The keys that a result class prints, in their order."""
    return tuple(_keys(result))


def _keys(result: type) -> Iterator[ResultKey]:
    hints = get_type_hints(result, include_extras=True)
    docs = field_docs(result)
    for field in dataclasses.fields(result):
        mark, hint = json_mark(field), hints[field.name]
        if mark.inline:
            (inner,), optional = classes_within(hint)[0], members_of(hint)[1]
            for key in result_keys(inner):
                if key.key not in mark.without:
                    yield dataclasses.replace(key, always=key.always and not optional)
            continue
        yield ResultKey(
            key=mark.key or field.name,
            hint=hint,
            meaning=_NONE.sub("null", docs[field.name]),
            always=not mark.if_known,
            without=mark.without,
        )


def classes_within(hint: Any) -> tuple[tuple[type, ...], str]:
    """The result classes in a type, and how a path of keys reaches them: ``, `[]` or `.NAME`."""
    found: list[type] = []
    for member in members_of(hint)[0]:
        plain = unwrap(member).hint
        if dataclasses.is_dataclass(plain) and isinstance(plain, type):
            found.append(plain)
        elif get_origin(plain) in (tuple, list, Sequence):
            below, step = classes_within(get_args(plain)[0])
            return below, f"[]{step}"
        elif get_origin(plain) in (dict, Mapping):
            below, step = classes_within(get_args(plain)[1])
            return below, f".NAME{step}"
    return tuple(found), ""


def build_result_schema(hint: Any, *, title: str, identity: str) -> Schema:
    """The schema of what a command prints: of a result class, a tuple of them, or one of several.

    `identity` names it among all schemas.
    """
    definitions = _Definitions()
    own = value_schema(hint, definitions.refer)
    found = dict(sorted(definitions.schemas.items()))
    return {
        "$schema": DRAFT,
        "$id": f"urn:modelyard:results:{identity}",
        "title": title,
        **annotated(own),
        "definitions": found,
    }


class _Definitions:
    """The schemas of the classes within a result, by the names of the classes."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._classes: dict[str, type] = {}

    def refer(self, result: type) -> Schema:
        name = result.__name__
        if self._classes.setdefault(name, result) is not result:
            raise TypeError(f"two result classes are called {name}")
        if name not in self.schemas:
            self.schemas[name] = {}  # its place, also for a class that would hold itself
            self.schemas[name] = self._class_schema(result)
        return {"$ref": f"#/definitions/{name}"}

    def _class_schema(self, result: type, without: tuple[str, ...] = ()) -> Schema:
        keys = [key for key in result_keys(result) if key.key not in without]
        return {
            "description": cleandoc(result.__doc__ or ""),
            "type": "object",
            "properties": {key.key: self._property(key) for key in keys},
            "required": [key.key for key in keys if key.always],
            "additionalProperties": False,
        }

    def _property(self, key: ResultKey) -> Schema:
        refer = partial(self._class_schema, without=key.without) if key.without else self.refer
        return annotated(value_schema(key.hint, refer)) | {"description": key.meaning}
