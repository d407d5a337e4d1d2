"""Checks of what commands print with `--json` against the classes that say what it is."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import jsonschema

from modelyard.cli.results import RESULTS, command_schema


def printing_command() -> str | None:
    """The function of the command that is running, as in the table of commands."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        module = frame.f_globals.get("__name__", "")
        function = f"{module.removeprefix('modelyard.cli.')}:{frame.f_code.co_name}"
        if module.startswith("modelyard.cli.") and function in RESULTS:
            return function
    return None


def check_printed(function: str, document: Any) -> None:
    """Raise unless a document is one that the command may print."""
    _validator(function).validate(document)


@cache
def _validator(function: str) -> jsonschema.Draft7Validator:
    schema = command_schema(function, function)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)
