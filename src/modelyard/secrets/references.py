"""Reading a key that a config refers to, `env:NAME` or `file:PATH`: at each use, never kept."""

from __future__ import annotations

import os

from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.regular_files import read_regular


class NoUsableKey(InvalidInput):
    """A key that a config refers to is not there, or is no key; the error never repeats it."""


def read_key(reference: str, project: Project, *, of: str) -> str:
    """The key that `reference` leads to, without the whitespace around it.

    of: whose key it is, for the error, such as `the model gpt4`.
    Raises NoUsableKey where it is unset, empty, unreadable or not one line of plain characters.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        key = os.environ.get(name, "").strip()
    else:
        try:
            key = read_regular(project.written_path(name)).decode().strip()
        except (OSError, ValueError) as error:
            raise NoUsableKey(
                f"the key of {of} cannot be read: {type(error).__name__}", where=reference
            ) from None
    if not key or not key.isascii() or not key.isprintable():
        raise NoUsableKey(
            f"there is no usable key for {of}",
            where=reference,
            hint="set it; a key is one line of plain characters",
        )
    return key
