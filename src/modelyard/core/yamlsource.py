"""YAML with positions: every value knows its line, and YAML's typing traps are errors.

PyYAML keeps the last of two equal keys without a word, reads `no` as False and `12:30:00` as 45000.
Here values are built from the node tree, so each of these is a problem with a file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelyard.core.errors import InvalidInput, Problem, ProblemsFound

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KeyPath = tuple[str | int, ...]

_YES_NO = {"yes", "no", "on", "off", "y", "n"}
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_MAX_DEPTH = 100
_MAX_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A parsed YAML document and where each of its values stands."""

    name: str
    value: Any
    positions: Mapping[KeyPath, tuple[int, int]] = field(repr=False)

    def where(self, path: KeyPath = ()) -> str:
        """`file:line:col` of the value at `path`, or of its nearest known parent."""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions.get(path, (1, 1))
        return f"{self.name}:{line}:{column}"


def load_yaml(path: Path, *, name: str | None = None) -> YamlSource:
    """Read and parse one YAML file; `name` is how errors call it (default: the path)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=str(path)) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where=name or str(path)) from error
    return parse_yaml(text, name=name or str(path))


def parse_yaml(text: str, *, name: str, first_line: int = 1) -> YamlSource:
    """Parse YAML text. Raises ProblemsFound with every duplicate key and typing trap at once.

    `first_line` is the line of the file at which `text` starts (front matter does not start at 1).
    """
    if len(text) > _MAX_BYTES:
        raise InvalidInput(
            f"is larger than {_MAX_BYTES // 1_000_000} MB, which no config is", where=name
        )
    try:
        node = yaml.compose(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise _syntax_error(error, name, first_line) from error
    reader = _Reader(name, first_line)
    value = reader.build(node, ()) if node is not None else None
    if reader.problems:
        raise ProblemsFound(f"{name} is not valid", reader.problems)
    return YamlSource(name, value, reader.positions)


def _syntax_error(error: Exception, name: str, first_line: int) -> InvalidInput:
    mark = getattr(error, "problem_mark", None)
    where = f"{name}:{mark.line + first_line}:{mark.column + 1}" if mark else name
    problem = getattr(error, "problem", None) or "is nested too deeply or not YAML"
    hint = "indent with spaces, not tabs" if "\\t" in problem else None
    return InvalidInput(f"YAML syntax: {problem}", where=where, hint=hint)


class _Reader:
    """Turns a node tree into plain values, noting positions and problems on the way."""

    def __init__(self, name: str, first_line: int) -> None:
        self.name = name
        self.first_line = first_line
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._seen_aliases: set[int] = set()

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        line, column = node.start_mark.line + self.first_line, node.start_mark.column + 1
        self.positions.setdefault(path, (line, column))
        if len(path) > _MAX_DEPTH:
            self._problem(node, f"is nested deeper than {_MAX_DEPTH} levels")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        # A repeated alias would let a few lines unfold into gigabytes.
        if id(node) in self._seen_aliases:
            self._problem(node, "an alias to a list or mapping is not allowed here; write it out")
            return None
        self._seen_aliases.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, "a key must be plain text")
                continue
            key = key_node.value
            place = (key_node.start_mark.line + self.first_line, key_node.start_mark.column + 1)
            if key in result:
                first = self.positions[(*path, key)][0]
                self._problem(key_node, f"key '{key}' is already set on line {first}")
                continue
            self.positions[(*path, key)] = place
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        if node.style is not None or not node.tag.startswith("tag:yaml.org,2002:"):
            return text
        if node.tag.endswith(":bool") and text.lower() in _YES_NO:
            self._problem(node, f"'{text}' means {_truth(text)} in YAML", f'"{text}" or {_truth(text)}')
            return None
        if node.tag.endswith(":int") and _SEXAGESIMAL.fullmatch(text):
            self._problem(node, f"'{text}' is read as a base-60 number by YAML", f'"{text}"')
            return None
        if node.tag.endswith(":str") and _EXPONENT.fullmatch(text):
            return float(text)
        if node.tag.endswith(":int") and len(text) > 1 and text.lstrip("+-").startswith("0"):
            if text.lstrip("+-").isdigit():
                self._problem(node, f"'{text}' is read as an octal number by YAML", f'"{text}"')
                return None
        if node.tag.endswith(":timestamp"):
            return text
        constructor = yaml.SafeLoader("")
        return constructor.construct_object(node)

    def _problem(self, node: yaml.Node, message: str, write: str | None = None) -> None:
        where = f"{self.name}:{node.start_mark.line + self.first_line}:{node.start_mark.column + 1}"
        hint = f"write {write}" if write else None
        self.problems.append(Problem(message=message, where=where, hint=hint))


def _truth(text: str) -> str:
    return "true" if text.lower() in {"yes", "on", "y"} else "false"
