"""Values of settings and parts of messages without secrets: masked first, and shortened then.

The end of a token that is cut off first is what it would be recognised by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.secrets.detection import mask_secrets


def mask_value(key: str, value: Any) -> Any:
    """The value of a setting without secrets; its dotted key says what is one: `api_key`."""
    if isinstance(value, str):
        given = f"{key.rpartition('.')[2].partition('[')[0]}: "
        shown = mask_secrets(given + value)
        return shown.removeprefix(given) if shown.startswith(given) else mask_secrets(value)
    if isinstance(value, Mapping):
        return {
            mask_secrets(str(name)): mask_value(str(name), item) for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mask_value(key, item) for item in value]
    return value


def shorten_masked(text: str, most: int) -> str:
    """The text without secrets, and of that not more than `most` characters and three dots."""
    shown = mask_secrets(text)
    return shown if len(shown) <= most else f"{shown[:most]}..."


def masked_repr(key: str, value: Any, most: int) -> str:
    """How Python writes the value of a setting, without secrets, and shortened as a text is."""
    shown = ""
    for part in _written(key, value):
        shown += part
        if len(shown) > most:  # what follows is not even looked at
            return f"{shown[:most]}..."
    return shown


def _written(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield "{"
        for number, (name, item) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _written("", name)
            yield ": "
            yield from _written(str(name), item)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "["
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _written(key, item)
        yield "]"
    else:
        yield repr(mask_value(key, value))
