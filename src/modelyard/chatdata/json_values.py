"""Values of rows: what they are called, which are text, and what JSON can hold.

Knows Python's values and JSON's; does not know rows.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, NoReturn

_KINDS = {
    dict: "an object",
    list: "a list",
    tuple: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
}
MOST_LEVELS = 100
"""How deep a row, and each JSON text in it, may be nested: later steps go into values by calls."""
TOO_DEEP = f"is nested more than {MOST_LEVELS} levels deep"
_SHOWN_NUMBER = 20
"""Characters of a number that a message shows."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotJson(ValueError):
    """Text or bytes that are not JSON, or hold what a row cannot; the message says what."""


def kind_of(value: Any) -> str:
    """What a value is, in the words of messages: `a list`, `text`, `null`."""
    return _KINDS.get(type(value), type(value).__name__)


def is_text(value: str) -> bool:
    """False when the string holds half of a surrogate pair, which no file or tokenizer takes."""
    return value.isascii() or _SURROGATE.search(value) is None


def is_null(value: Any) -> bool:
    """Whether a value is null, or the `nan` that tables write for a number that is missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_absent(value: Any) -> bool:
    """Whether a value says that there is none: a table has every column in every row."""
    return is_null(value) or (isinstance(value, (str, list, tuple, dict)) and not value)


def is_too_deep(value: Any) -> bool:
    """Whether lists and objects lie in each other more than `MOST_LEVELS` deep."""
    nested = (dict, list, tuple)
    level = [value] if isinstance(value, nested) else []
    for _ in range(MOST_LEVELS):
        inner = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [item for items in inner for item in items if isinstance(item, nested)]
    return bool(level)


def plain_value(value: Any) -> Any:
    """The same as JSON: what only a table can hold (a date, a decimal, infinity) becomes its text.

    A number that is missing (`nan`) becomes null; bytes become their text, or base64 of them.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return None if is_null(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _text_of_bytes(bytes(value))
    return str(value)


def without_nulls(value: Any) -> Any:
    """The same without keys that are null, however deep.

    A table has every key of a struct in every row: the arguments of one tool's call would else be
    those of all tools.
    """
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _text_of_bytes(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()


def _refuse_constant(text: str) -> NoReturn:
    raise NotJson(f"is not usable JSON: {text} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values. Raises NotJson for a key that is written twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise NotJson(f"is not usable JSON: the key '{twice}' is written twice")
    return value


def _float(text: str) -> float:
    """The number. Raises NotJson for one that is too large, which would become infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise NotJson(f"is not usable JSON: the number {text[:_SHOWN_NUMBER]} is too large")
    return value


_DECODER = json.JSONDecoder(
    parse_float=_float, parse_constant=_refuse_constant, object_pairs_hook=_object
)


def parse_json(text: str, *, whole_file: bool = False) -> Any:
    """The value of a JSON text. Raises NotJson with the place, or for what no row may hold.

    The rows of a whole file are checked for their depth one by one, and not here.
    """
    try:
        value = _DECODER.decode(text)
        is_valid = "\\u" not in text or is_text(json.dumps(value, ensure_ascii=False))
    except json.JSONDecodeError as error:
        place = (
            f"line {error.lineno}, column {error.colno}"
            if error.lineno > 1
            else f"column {error.colno}"
        )
        what = error.msg.removesuffix(" at")  # some messages end in "at"
        raise NotJson(f"is not JSON: {what} at {place}") from None
    except RecursionError:
        raise NotJson("is not usable JSON: it is nested too deeply") from None
    except NotJson:
        raise
    except ValueError as error:  # numbers of thousands of digits
        raise NotJson(f"is not usable JSON: {error}") from None
    if not whole_file and is_too_deep(value):
        raise NotJson(TOO_DEEP)
    if not is_valid:
        raise NotJson("holds half of a surrogate pair (such as \\ud83d alone), which is not text")
    return value
