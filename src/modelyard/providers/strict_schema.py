"""Whether a JSON Schema is one that OpenAI can hold an answer to, token by token.

Source: https://platform.openai.com/docs/guides/structured-outputs, "Supported schemas".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_strict(schema: Any) -> bool:
    """Whether every object in it has all its properties required and takes no others."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    kind = schema.get("type")
    if properties is not None or kind == "object" or (isinstance(kind, list) and "object" in kind):
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if set(properties or ()) != set(required):
            return False
    named = [*(schema.get("$defs") or {}).values(), *(properties or {}).values()]
    below = [schema[key] for key in ("items", "anyOf") if key in schema]
    return all(map(is_strict, [*named, *below]))
