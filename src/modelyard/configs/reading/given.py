"""Settings from a command line, `--set KEY=VALUE`, that are laid over those of a config file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelyard.configs.kinds import Kind
from modelyard.configs.reading.spellings import Naming, respell
from modelyard.core.errors import Diagnostic, KeyPath, ProblemsFound, dotted
from modelyard.settings.yaml_files import YamlSource, parse_yaml_value

_IN_ONE_LINE = re.compile(r"""\s*[^\s{\["'][^\n]*:\s[^\n]*$""")
_IS_NULL = re.compile(r"null|Null|NULL|~")
_NO_VALUE = Diagnostic(
    message="has no value",
    code="empty",
    hint="write null to reset the setting to its default: KEY=null",
)
GIVEN = "--set"
"""The layer of such a setting, above every overlay; no environment can be called so."""


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """Settings that are laid over a config: an overlay that stands in no file."""

    source: YamlSource
    """Their values, nested as in a file; the line of each is its place among them."""
    keys: tuple[str, ...]
    """The dotted keys, in the order in which they were given."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The values, nested as in a file."""
        values: Mapping[str, Any] = self.source.value
        return values

    def where(self, path: KeyPath) -> str:
        """Which of them says what is at a path: `--set retries.attempts`."""
        line, _ = self.source.place(path)
        return self.where_of_line(line)

    def where_of_line(self, line: int) -> str:
        """The one on a line of their text, from 1; 0 is all of them."""
        return f"{GIVEN} {self.keys[line - 1]}" if line else GIVEN

    def problems(self) -> tuple[Diagnostic, ...]:
        """What is wrong with the spelling of their keys, each with its place."""
        return tuple(
            replace(problem, where=self.where(problem.path)) for problem in self.source.problems
        )


def read_given(assignments: Sequence[str], kind: Kind, naming: Naming) -> GivenSettings:
    """The settings of `KEY=VALUE` texts for a config of a kind.

    A key is dotted, such as `retries.attempts`; a value is read as YAML reads it in a file, and
    `null` resets the setting to its default.
    Raises ProblemsFound with everything that is no assignment, or no setting.
    """
    values: dict[str, Any] = {}
    positions: dict[KeyPath, tuple[int, int]] = {(): (0, 0)}
    exponents: dict[KeyPath, str] = {}
    problems: list[Diagnostic] = []
    keys: list[str] = []
    for line, assignment in enumerate(assignments, 1):
        key, separator, text = assignment.partition("=")
        path: KeyPath = tuple(key.split("."))
        keys.append(key)
        try:
            if not separator or not all(path):
                message = "is not KEY=VALUE, such as retries.attempts=4"
                raise ProblemsFound("", [Diagnostic(message=message, code="wrong-form")])
            if path[0] in kind.header_keys:
                what = "what the config is called" if key == "name" else "what differs where"
                message = f"'{path[0]}' is no setting: it says {what}"
                raise ProblemsFound("", [Diagnostic(message=message, code="unknown-key")])
            value, written = _read_value(text)
            if value is None and not _IS_NULL.fullmatch(text.strip()):
                raise ProblemsFound("", [_NO_VALUE])
            _put(values, path, value)
        except ProblemsFound as error:
            where = f"{GIVEN} {key}"
            problems += [replace(problem, where=where) for problem in error.problems]
            continue
        for depth in range(1, len(path)):
            positions.setdefault(path[:depth], (line, 1))
        positions[path] = (line, 1)
        exponents |= {(*path, *below): said for below, said in written.items()}
    if problems:
        raise ProblemsFound("the settings given are not valid", problems)
    source = YamlSource(
        GIVEN,
        values,
        "\n".join(assignment.replace("=", ": ", 1) for assignment in assignments),
        positions,
        exponents=exponents,
    )
    return GivenSettings(respell(source, kind, naming), tuple(keys))


def _read_value(text: str) -> tuple[Any, Mapping[KeyPath, str]]:
    """The value of a text; `x: y` is text, and no mapping as in a file of its own."""
    if _IN_ONE_LINE.match(text):
        return text.strip(), {}
    return parse_yaml_value(text)


def _put(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Lay a value over those given before, at a path of keys."""
    *groups, last = path
    place: Any = values
    for depth, group in enumerate(groups, 1):
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            message = f"'{dotted(path[:depth])}' was given as a whole before"
            raise ProblemsFound("", [Diagnostic(message=message, code="written-twice")])
    if last in place:
        message = f"'{dotted(path)}' was given before"
        raise ProblemsFound("", [Diagnostic(message=message, code="written-twice")])
    place[last] = value
