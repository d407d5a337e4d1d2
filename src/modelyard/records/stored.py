"""Reading a record that some version of this program stored, an earlier or a later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from modelyard.core.errors import InvalidInput, KeyPath
from modelyard.settings.build import build_settings
from modelyard.settings.converters import Where

T = TypeVar("T")


def build_stored(record: type[T], what: str, values: Any, where: Where, *, path: KeyPath = ()) -> T:
    """Build a frozen record of a mapping that was read from a file.

    Keys that the record does not have are ignored: another version wrote them. `what` names the
    mapping in errors, `path` is its place in the file.
    Raises InvalidInput with each value that is missing or of the wrong type, and where it stands.
    """
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{what} must be a mapping", where=where(path))
    built, problems = build_settings(record, values, where, path=path, ignore_unknown=True)
    if built is None:
        raise InvalidInput(f"{what} cannot be read", where=where(path), problems=problems)
    return built
