"""JSON that somebody else may have written or damaged: read in one way, refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidInput
from modelyard.core.regular_files import read_regular


class InvalidJson(InvalidInput):
    """A file or a text that should hold JSON does not, or cannot be read."""


def parse_json(data: str | bytes, *, where: str | None = None) -> Any:
    """The value of a JSON text; `where` names it in the error.

    Raises InvalidJson for everything that json.loads fails on, too deep a nesting included.
    """
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        place = f" in line {error.lineno}, column {error.colno}"
        raise InvalidJson(f"is not JSON: {error.msg}{place}", where=where) from error
    except UnicodeDecodeError as error:
        raise InvalidJson("is not JSON: it is not UTF-8 text", where=where) from error
    except ValueError as error:  # such as a number of 5,000 digits
        raise InvalidJson(f"is not JSON: {error}", where=where) from error
    except RecursionError as error:
        raise InvalidJson("is not JSON: it is nested too deeply", where=where) from error


def read_json(path: Path, *, where: str | None = None) -> Any:
    """The value of a JSON file; `where` names it in the error, instead of its path.

    Raises InvalidJson also when the file is missing or cannot be read.
    """
    where = where or str(path)
    try:
        data = read_regular(path)
    except OSError as error:
        raise InvalidJson(f"cannot be read: {error.strerror}", where=where) from error
    return parse_json(data, where=where)


def read_json_object(path: Path, *, where: str | None = None) -> dict[str, Any]:
    """The object in a JSON file. Raises InvalidJson also when it holds another value."""
    value = read_json(path, where=where)
    if not isinstance(value, dict):
        raise InvalidJson("does not hold a JSON object", where=where or str(path))
    return value
