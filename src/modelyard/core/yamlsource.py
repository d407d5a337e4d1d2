"""YAML with positions: every value knows its line, and YAML's typing traps are errors.

PyYAML keeps the last of two equal keys without a word, reads `no` as False and `12:30:00` as 45000.
Here values are built from the parser's events, so each of these is a problem with a file, line and
column. PyYAML's own composer is not used: it recurses in C, so a few kilobytes of `[` crash it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from modelyard.core.errors import InvalidInput, Problem, ProblemsFound

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KeyPath = tuple[str | int, ...]

_YES_NO = {"yes", "no", "on", "off", "y", "n"}
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
"""Text such as `5e-4`: a number to people and to this reader, bare text to PyYAML."""

_TAB_INDENT = re.compile(r"^ *\t", re.MULTILINE)
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
    shown = name or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=shown) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where=shown) from error
    return parse_yaml(text, name=shown)


def parse_yaml(text: str, *, name: str, first_line: int = 1) -> YamlSource:
    """Parse YAML text. Raises ProblemsFound with every duplicate key and typing trap at once.

    `first_line` is the line of the file at which `text` starts (front matter does not start at 1).
    """
    if len(text) > _MAX_BYTES:
        raise InvalidInput(
            f"is larger than {_MAX_BYTES // 1_000_000} MB, which no config is", where=name
        )
    reader = _Reader(name, first_line)
    try:
        value = reader.read(text)
    except UnicodeEncodeError as error:
        raise InvalidInput("is not UTF-8 text", where=name) from error
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, name, first_line) from error
    if reader.problems:
        raise ProblemsFound(f"{name} is not valid", reader.problems)
    return YamlSource(name, value, reader.positions)


def _syntax_error(error: yaml.YAMLError, text: str, name: str, first_line: int) -> InvalidInput:
    if isinstance(error, yaml.reader.ReaderError):
        # Its position is in bytes or in characters, by loader; its character is the first such one.
        line = text.partition(chr(error.character))[0].count("\n") + first_line
        return InvalidInput(f"YAML syntax: {error.reason}", where=f"{name}:{line}:1")
    mark = getattr(error, "problem_mark", None)
    where = f"{name}:{mark.line + first_line}:{mark.column + 1}" if mark else name
    problem = getattr(error, "problem", None) or "is not YAML"
    hint = "indent with spaces, not tabs" if _TAB_INDENT.search(text) else None
    return InvalidInput(f"YAML syntax: {problem}", where=where, hint=hint)


class _Reader:
    """Turns the parser's events into plain values, noting positions and problems on the way."""

    def __init__(self, name: str, first_line: int) -> None:
        self.name = name
        self.first_line = first_line
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._anchored: dict[str, Any] = {}

    def read(self, text: str) -> Any:
        """The one document of `text`, or None when it is empty."""
        self._parser = Loader(text)
        try:
            self._parser.get_event()  # the start of the stream
            if self._parser.check_event(yaml.StreamEndEvent):
                return None
            self._parser.get_event()  # the start of the document
            value = self._value(())
            self._parser.get_event()  # its end
            if not self._parser.check_event(yaml.StreamEndEvent):
                self._problem(self._parser.get_event(), "a second document starts here; keep one")
            return value
        finally:
            self._parser.dispose()

    def _value(self, path: KeyPath) -> Any:
        event = self._parser.get_event()
        self.positions.setdefault(path, self._place(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            if event.anchor:
                self._anchored[event.anchor] = value
            return value
        if len(path) >= _MAX_DEPTH:
            raise InvalidInput(
                f"is nested deeper than {_MAX_DEPTH} levels", where=self._where(event)
            )
        if event.tag not in (None, "!"):
            self._problem(event, f"the tag {event.tag} is not used here; leave it out")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _alias(self, event: yaml.AliasEvent) -> Any:
        # An alias to a list could let a few lines unfold into gigabytes; text and numbers cannot.
        anchor = str(event.anchor)
        if anchor not in self._anchored:
            message = f"*{anchor} does not name a single value set above; write it out"
            self._problem(event, message)
        return self._anchored.get(anchor)

    def _sequence(self, path: KeyPath) -> list[Any]:
        result: list[Any] = []
        while not self._parser.check_event(yaml.SequenceEndEvent):
            result.append(self._value((*path, len(result))))
        self._parser.get_event()
        return result

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not self._parser.check_event(yaml.MappingEndEvent):
            if not self._parser.check_event(yaml.ScalarEvent):
                self._problem(self._parser.peek_event(), "a key must be plain text")
                self._skip_pair(path)
                continue
            event = self._parser.get_event()
            key = event.value
            if key in result:
                first = self.positions[(*path, key)][0]
                self._problem(event, f"key '{key}' is already set on line {first}")
                self._value((*path, key))
                continue
            self.positions[(*path, key)] = self._place(event)
            result[key] = self._value((*path, key))
        self._parser.get_event()
        return result

    def _skip_pair(self, path: KeyPath) -> None:
        self._value((*path, "?"))
        self._value((*path, "?"))

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text = event.value
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._problem(event, f"the tag {event.tag} is not used here; leave it out")
            return text
        if event.tag is not None or not event.implicit[0]:
            return text
        kind = self._parser.resolve(yaml.ScalarNode, text, event.implicit).rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            if text.lower() in _YES_NO:
                write = f'"{text}" or {_truth(text)}'
                return self._problem(event, f"'{text}' means {_truth(text)} in YAML", write)
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._number(event, kind)
        return float(text) if EXPONENT.fullmatch(text) else text

    def _number(self, event: yaml.ScalarEvent, kind: str) -> Any:
        text = event.value
        digits = text.lstrip("+-").replace("_", "")
        if _SEXAGESIMAL.fullmatch(text):
            message = f"'{text}' is read as a base-60 number by YAML"
            return self._problem(event, message, f'"{text}"')
        if kind == "int" and len(digits) > 1 and digits[0] == "0" and digits.isdigit():
            message = f"'{text}' is read as an octal number by YAML"
            return self._problem(event, message, f'"{text}"')
        if kind == "float":
            plain = text.replace("_", "").lower()
            return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
        try:
            return int(text.replace("_", ""), 0)
        except ValueError:
            return self._problem(event, "is not a number anyone can mean", f'"{text[:20]}..."')

    def _place(self, event: yaml.Event) -> tuple[int, int]:
        mark = cast(yaml.Mark, event.start_mark)
        return mark.line + self.first_line, mark.column + 1

    def _where(self, event: yaml.Event) -> str:
        line, column = self._place(event)
        return f"{self.name}:{line}:{column}"

    def _problem(self, event: yaml.Event, message: str, write: str | None = None) -> None:
        hint = f"write {write}" if write else None
        self.problems.append(Problem(message=message, where=self._where(event), hint=hint))


def _truth(text: str) -> str:
    return "true" if text.lower() in {"yes", "on", "y"} else "false"
