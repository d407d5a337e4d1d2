"""YAML files: read with the line of every value and YAML's traps as errors, and written.

PyYAML silently keeps the last of two equal keys, reads `no` as False and `12:30:00` as 45000. Here
each of these is a problem with a file, line and column; `yaml_scalars.py` says how words without
quotes are read. Aliases (`*name`) and merge keys (`<<: *name`, `<<: [*a, *b]`) may be used: a key
that is written out wins over a merged one, and an earlier mapping of the list over a later one.
"""

from __future__ import annotations

import codecs
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelyard.core.errors import Diagnostic, KeyPath, ProblemsFound
from modelyard.settings.yaml_reader import ReadingStopped, YamlReader
from modelyard.settings.yaml_scalars import is_plain_text
from modelyard.settings.yaml_syntax import explain_syntax, line_and_column

_MOST_BYTES = 1_000_000
_TOO_LARGE = "is larger than 1 MB, which no config is"
_MOST_TAG_DIRECTIVES = 100
"""libyaml compares each with all before it: a megabyte of them takes minutes."""


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A parsed YAML document and where each of its values stands.

    What an alias names is the same object at each of its places: copy before changing it.
    """

    name: str
    """How messages call the file."""
    value: Any
    """The document: plain mappings, lists, text, numbers, true, false and None."""
    text: str = field(repr=False)
    """The document as it is written, comments included."""
    positions: Mapping[KeyPath, tuple[int, int]] = field(repr=False)
    """Line and column, from 1, of everything that is written, by its key path."""
    written_at: Mapping[KeyPath, KeyPath] = field(default_factory=dict, repr=False)
    """For a value that an alias or a merge key brings in: the path where it is written."""
    warnings: tuple[Diagnostic, ...] = ()
    """What is allowed and probably not meant, such as an anchor that is never used."""
    problems: tuple[Diagnostic, ...] = ()
    """What is wrong where the rest could still be read; empty but from inspect_yaml."""
    doubtful: frozenset[KeyPath] = frozenset()
    """The values that have one of these problems, so that they cannot be relied on."""
    exponents: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)
    """How numbers such as `1e3` are written, by their paths."""

    def place(self, path: KeyPath = ()) -> tuple[int, int]:
        """Line and column where the value at `path` is written, or its nearest known parent."""
        if path in self.positions:
            return self.positions[path]
        found = self.positions.get((), (1, 1))
        spot: KeyPath = ()
        for step in path:
            spot = (*self.written_at.get(spot, spot), step)
            if spot not in self.positions:
                spot = self.written_at.get(spot, spot)
            if spot not in self.positions:
                break
            found = self.positions[spot]
        return found

    def where(self, path: KeyPath = ()) -> str:
        """The place of `path` as `file:line:col`."""
        line, column = self.place(path)
        return f"{self.name}:{line}:{column}"


def load_yaml(path: Path, *, name: str | None = None) -> YamlSource:
    """Read and parse one YAML file; `name` is how errors call it (default: the path).

    Raises ProblemsFound, as parse_yaml does, also for what is no readable regular file.
    """
    shown = name or str(path)
    return parse_yaml(_read_text(path, shown), name=shown)


def inspect_yaml(path: Path, *, name: str | None = None, data: bytes | None = None) -> YamlSource:
    """Read a YAML file for its mistakes: what could be read of it, with `problems`.

    `data` is its content where that is not read from `path`, such as what came on stdin.
    Raises ProblemsFound when nothing could be, or when reading had to stop.
    """
    shown = name or str(path)
    return _parse(_read_text(path, shown) if data is None else _decode(data, shown), shown, 1)


def parse_yaml(text: str, *, name: str, first_line: int = 1) -> YamlSource:
    """Parse YAML text.

    `first_line` is the line of the file at which `text` starts (front matter does not start at 1).
    Raises ProblemsFound with all that is wrong. Each problem has a place and one of these codes:
    yaml-syntax, yaml-conflict, yaml-tab, yaml-character, yaml-duplicate-key, yaml-key,
    yaml-typing-trap, yaml-tag, yaml-unknown-alias, yaml-recursive-alias, yaml-merge,
    yaml-second-document, yaml-too-deep, yaml-too-large, yaml-too-many-problems; and from a file
    yaml-unreadable, yaml-not-utf8.
    """
    source = _parse(text, name, first_line)
    if source.problems:
        raise ProblemsFound(f"{name} is not valid", source.problems)
    return source


def parse_value(text: str) -> Any:
    """The value of `KEY=TEXT` on a command line, read as a YAML file reads it: 8, [1, 2], true.

    Text that is not YAML is text. Raises ProblemsFound for what a file would refuse: `010`, `1:30`.
    """
    return parse_yaml_value(text)[0]


def parse_yaml_value(text: str) -> tuple[Any, Mapping[KeyPath, str]]:
    """What `parse_value` returns, and how the numbers with an exponent in it are written."""
    try:
        source = parse_yaml(text, name=text)
    except ProblemsFound as error:
        if any(problem.code == "yaml-syntax" for problem in error.problems):
            return text, {}
        raise
    return source.value, source.exponents


def _parse(text: str, name: str, first_line: int) -> YamlSource:
    """What can be read, with its problems. Raises ProblemsFound when reading had to stop."""
    if len(text) > _MOST_BYTES:
        raise _refusal(name, "yaml-too-large", _TOO_LARGE)
    text = _without_marks(text)
    reader = YamlReader(name, first_line)
    try:
        if text.count("%TAG") > _MOST_TAG_DIRECTIVES:
            raise yaml.YAMLError("too many %TAG directives; tags are not used here")
        value = reader.read(text)
    except (ReadingStopped, yaml.YAMLError, ValueError, OverflowError) as error:
        if not isinstance(error, ReadingStopped):
            reader.problems.append(explain_syntax(error, text, name, first_line))
        raise ProblemsFound(f"{name} is not valid", reader.problems) from error
    return YamlSource(
        name,
        value,
        text,
        reader.positions,
        reader.written_at,
        tuple(reader.warnings),
        tuple(reader.problems),
        frozenset(reader.doubtful),
        reader.exponents,
    )


def _read_text(path: Path, shown: str) -> str:
    """The text of a file, of which no more than the largest config is read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise _refusal(shown, "yaml-unreadable", f"is {what}")
        if status.st_size > _MOST_BYTES:
            raise _refusal(shown, "yaml-too-large", _TOO_LARGE)
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _refusal(shown, "yaml-unreadable", f"cannot read: {error.strerror}") from error
    except ValueError as error:
        raise _refusal(shown, "yaml-unreadable", "is no path") from error
    return _decode(data, shown)


def _decode(data: bytes, shown: str) -> str:
    """The bytes of a file as text. Raises ProblemsFound for too many, and what is not UTF-8."""
    if len(data) > _MOST_BYTES:
        raise _refusal(shown, "yaml-too-large", _TOO_LARGE)
    if wide := _wide_encoding(data):
        message, hint = f"is {wide} text, as PowerShell and Notepad write it", "save it as UTF-8"
        raise _refusal(shown, "yaml-not-utf8", message, f"{shown}:1:1", hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        where = f"{shown}:{line_and_column(before, 1)}"
        message = f"is not UTF-8 text (byte 0x{error.object[error.start]:02x})"
        raise _refusal(shown, "yaml-not-utf8", message, where, "save it as UTF-8") from error


def _without_marks(text: str) -> str:
    """The text without byte order marks before its first value, where YAML 1.2 allows them.

    libyaml takes one behind the first line for a letter that indents the line.
    """
    if "\ufeff" not in text:
        return text
    before = ""
    for line in text.splitlines(keepends=True):
        plain = line.lstrip("\ufeff")
        rest = text[len(before) + len(line) - len(plain) :]
        text = before + rest
        if plain.strip() and not plain.startswith(("---", "#", "%")):
            break
        before += plain
    return text


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 where the bytes begin so; None for any other."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    starts_wide = data[:2].count(0) == 1 and data[2:4].count(0) == 1
    if starts_wide or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    return None


def _refusal(
    shown: str, code: str, message: str, where: str | None = None, hint: str | None = None
) -> ProblemsFound:
    problem = Diagnostic(message=message, where=where or shown, hint=hint, code=code)
    return ProblemsFound(f"{shown} is not valid", [problem])


_NEVER_FOLDED = 1 << 30


class _Dumper(yaml.SafeDumper):
    """Writes each value out where it stands, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML would write `1e5` and `y` bare, which our reader takes for more than text.
    style = None if is_plain_text(text) else '"'
    if "\n" in text:
        style = "|"  # PyYAML takes quotes by itself where the text cannot stand so
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def render_yaml(values: Mapping[str, Any], *, comments: Mapping[KeyPath, str] | None = None) -> str:
    """The values as YAML, in the order given; text of several lines stands as such.

    `comments` stand at the ends of the lines of their keys; no line is then folded.
    """
    width = 100 if comments is None else _NEVER_FOLDED
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width
    )
    if not comments:
        return text
    written = parse_yaml(text, name="what was rendered")
    lines = text.splitlines(keepends=True)
    for path, comment in comments.items():
        line = written.place(path)[0] - 1
        lines[line] = f"{lines[line].rstrip()}  # {comment}\n"
    return "".join(lines)
