"""Builds plain values from the events of a YAML parser, with the place of each and its problems.

PyYAML's own composer is not used: it recurses in C, so a few kilobytes of `[` crash it, and it
silently keeps the last of two equal keys.

What an alias or a merge key brings in is shared, never copied. So that a few lines cannot unfold
into gigabytes for code that walks the values, the values and levels below each anchor are counted,
and the total is limited.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import yaml
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from modelyard.core.errors import Diagnostic, KeyPath, did_you_mean
from modelyard.settings.yaml_scalars import (
    INVISIBLE,
    LINE_END,
    TypingTrap,
    find_invisible,
    read_plain,
)

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_LEVELS = 100
_MOST_VALUES = 100_000
_MOST_ANCHORS = 1_000
_MOST_PROBLEMS = 100
_MOST_COMPARED = 40
"""Anchors, and letters of a name, that a misspelt alias is compared with: more takes seconds."""
_TEMPLATE_HINT = (
    "`{{ ... }}` of a template is not filled in here: write the value itself, or `env:NAME` for a "
    "secret"
)
_UNSEEN = "has {} at its edge, which nobody sees and which belongs to the word"
_TYPE_AGAIN = "type it again without it, or put the word in quotes"
_PARTED_NUMBER = re.compile(r"[^\s,{}\[\]]*(?:,[0-9][^,{}\[\]]*)+")
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


class ReadingStopped(Exception):
    """The rest of the document is not worth reading; `YamlReader.problems` says why."""


@dataclass(slots=True)
class _Anchor:
    """A value with a name, and how many values and levels each use of it adds."""

    name: str
    path: KeyPath
    place: tuple[int, int]
    value: Any = None
    values: int = 1
    levels: int = 0
    is_whole: bool = False
    is_used: bool = False


class YamlReader:
    """Reads one document; leaves its positions, problems and warnings behind.

    `positions` has the (line, column), from 1, of everything that is written, by its key path.
    `written_at` has the path of the text for values written elsewhere: for an alias the path of its
    anchor, for a merged key the path of that key. `doubtful` are the paths of values that have a
    problem. `exponents` has the text of numbers such as `1e3`, by their paths.
    """

    def __init__(self, name: str, first_line: int) -> None:
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.written_at: dict[KeyPath, KeyPath] = {}
        self.doubtful: set[KeyPath] = set()
        self.exponents: dict[KeyPath, str] = {}
        self.problems: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self._name = name
        self._first_line = first_line
        self._read_text = ""
        self._anchors: list[_Anchor] = []
        self._named: dict[str, _Anchor] = {}
        self._deepest = 0
        self._most_written = _MOST_VALUES
        """How many values may be written; what aliases bring in is already taken off."""

    def read(self, text: str) -> Any:
        """The one document of `text`, or None when it is empty.

        Raises ReadingStopped, and what the parser raises: yaml.YAMLError, and ValueError or
        OverflowError for characters that do not exist.
        """
        parser = Loader(text)
        self._read_text = text
        self._next = parser.get_event
        try:
            self._next()  # the start of the stream
            if type(self._next()) is StreamEndEvent:
                return None
            event = self._next()
            self.positions[()] = self._place(event)
            value = self._value(event, ())
            self._next()  # the end of the document
            following = self._next()
            if type(following) is not StreamEndEvent:
                message = "a second document starts here; keep one"
                self._problem(following, "yaml-second-document", message)
            self._warn_of_unused_anchors()
            return value
        finally:
            parser.dispose()

    def _value(self, event: Any, path: KeyPath) -> Any:
        kind = type(event)
        if kind is AliasEvent:
            return self._alias(event, path)
        if event.anchor is not None:
            return self._anchored(event, path)
        return self._scalar(event, path) if kind is ScalarEvent else self._collection(event, path)

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> Any:
        if event.tag is None and event.implicit[0]:
            if not event.value.isascii() and (found := find_invisible(event.value)):
                self._problem(event, "yaml-character", _UNSEEN.format(found), _TYPE_AGAIN, path)
                return None
            try:
                value = read_plain(event.value)
            except TypingTrap as trap:
                self._problem(event, "yaml-typing-trap", trap.message, trap.hint, path)
                return None
            if type(value) is float and ("e" in event.value or "E" in event.value):
                self.exponents[path] = event.value
            return value
        return self._text(event, path)

    def _text(self, event: ScalarEvent, path: KeyPath) -> str:
        """The text of a quoted or tagged scalar."""
        self._check_tag(event, event.tag, path)
        text: str = event.value
        # Only PyYAML without libyaml lets "\ud83d" pass; nothing could write or send it.
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            message = "half a character cannot stand alone"
            self._problem(event, "yaml-character", message, path=path)
        if "\0" in text:  # written "\0"; no path and no program takes it
            message = "the character NUL is in no text that can be used"
            self._problem(event, "yaml-character", message, path=path)
        return text

    def _check_tag(self, event: Event, tag: str | None, path: KeyPath) -> None:
        if tag is not None and tag not in _TEXT_TAGS:
            message = f"the tag {_short(tag)} is not used here; leave it out"
            self._problem(event, "yaml-tag", message, path=path)

    def _collection(self, event: Any, path: KeyPath) -> Any:
        self._reach(event, len(path) + 1)
        if event.tag is not None:
            self._check_tag(event, event.tag, path)
        if type(event) is SequenceStartEvent:
            return self._sequence(path)
        return self._mapping(path, event.flow_style)

    def _sequence(self, path: KeyPath) -> list[Any]:
        result: list[Any] = []
        positions, next_event = self.positions, self._next
        while type(event := next_event()) is not SequenceEndEvent:
            spot = (*path, len(result))
            positions[spot] = self._place(event)
            if len(positions) > self._most_written:
                self._stop_unfolding(event)
            result.append(self._value(event, spot))
        return result

    def _mapping(self, path: KeyPath, in_braces: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        before: Any = None  # the value that was read last, and its place
        spot_before, lone = path, object()
        positions, next_event, first_line = self.positions, self._next, self._first_line
        merged: list[tuple[dict[str, Any], KeyPath]] | None = None
        while type(event := next_event()) is not MappingEndEvent:
            if type(event) is not ScalarEvent:
                is_template = in_braces and type(event) is MappingStartEvent and not result
                hint = _TEMPLATE_HINT if is_template else None
                self._problem(event, "yaml-key", "a key must be plain text", hint, path or None)
                self._value(event, (*path, "?"))
                self._value(next_event(), (*path, "?"))
                continue
            key = event.value
            if not key.isascii() and event.implicit[0]:
                key = self._visible_key(event, path)
            spot = (*path, key)
            is_merge = key == "<<" and event.implicit[0]
            if key in result or (is_merge and merged is not None):
                message = f"key '{_short(key)}' is already set on line {positions[spot][0]}"
                self._problem(event, "yaml-duplicate-key", message)
                self._value(next_event(), spot)
                continue
            mark: Any = event.start_mark
            positions[spot] = (mark.line + first_line, mark.column + 1)
            if len(positions) > self._most_written:
                self._stop_unfolding(event)
            if event.anchor is not None or event.tag is not None or not event.implicit[0]:
                self._check_unusual_key(event, spot)
            if is_merge:
                merged = self._merged(next_event(), spot)
                continue
            value = next_event()
            if in_braces and type(value) is ScalarEvent and _follows(event, value, 0):
                if before is not lone:  # 1,000,000 has two commas, and one mistake
                    self._check_comma(before, event, spot_before)
                before = lone = event
                continue
            result[key] = self._value(value, spot)
            before, spot_before = value, spot
        for source, place in merged or ():
            self._inherit(result, path, source, place)
        return result

    def _check_comma(self, before: Any, event: ScalarEvent, spot: KeyPath) -> None:
        """Report a key in braces without a colon: mostly what follows a comma in a value.

        `before` is the value, or the key without a colon, that ends before this one.
        """
        mark: Any = event.start_mark
        parts_number = (
            type(before) is ScalarEvent
            and _follows(before, event, 1)
            and before.value[-1:].isdigit()
            and event.value[:1].isdigit()
        )
        if not parts_number:
            message = f"'{_short(event.value)}' has no colon, and in braces a comma ends a text"
            hint = "put a text that has a comma in quotes, or write `KEY: VALUE`"
            self._problem(event, "yaml-comma", message, hint, spot)
            return
        line = LINE_END.split(self._read_text)[mark.line]
        found = _PARTED_NUMBER.match(line, before.start_mark.column)
        written = _short(found[0].strip() if found else f"{before.value},{event.value}")
        message = (
            f"in braces YAML reads {written} as {_short(before.value)}, "
            f"and a key '{_short(event.value)}' without a value"
        )
        self._problem(event, "yaml-comma", message, _as_one_number(written), spot)

    def _visible_key(self, event: ScalarEvent, path: KeyPath) -> str:
        """A key without quotes, without characters at its ends that nobody sees."""
        text: str = event.value
        if found := find_invisible(text):
            text = text.strip("".join(INVISIBLE))
            self._problem(
                event, "yaml-character", _UNSEEN.format(found), _TYPE_AGAIN, (*path, text)
            )
        return text

    def _check_unusual_key(self, event: ScalarEvent, spot: KeyPath) -> None:
        text = self._text(event, spot)
        if event.anchor is not None:
            anchor = self._note_anchor(event, spot)
            anchor.value, anchor.is_whole = text, True

    def _merged(self, event: Any, spot: KeyPath) -> list[tuple[dict[str, Any], KeyPath]]:
        """The mappings that a merge key names, each with the path where it is written."""
        problems = len(self.problems)
        value = self._value(event, spot)
        place = self.written_at.get(spot, spot)
        if isinstance(value, dict):
            return [(value, place)]
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            places = [(*place, number) for number in range(len(value))]
            return [
                (mapping, self.written_at.get(item, item))
                for mapping, item in zip(value, places, strict=True)
            ]
        if len(self.problems) == problems:
            message = "`<<` takes a mapping, or a list of mappings"
            self._problem(event, "yaml-merge", message, "name an anchor: `<<: *defaults`")
        self.doubtful.add(spot[:-1])
        return []

    def _inherit(
        self, result: dict[str, Any], path: KeyPath, source: dict[str, Any], place: KeyPath
    ) -> None:
        for key, value in source.items():
            if key not in result:
                result[key] = value
                written = (*place, key)
                if written not in self.positions:
                    written = self.written_at.get(written, written)
                self.written_at[(*path, key)] = written

    def _anchored(self, event: Any, path: KeyPath) -> Any:
        anchor = self._note_anchor(event, path)
        before, deepest = len(self.positions) - self._most_written, self._deepest
        self._deepest = len(path)
        is_scalar = type(event) is ScalarEvent
        anchor.value = self._scalar(event, path) if is_scalar else self._collection(event, path)
        anchor.values = 1 + len(self.positions) - self._most_written - before
        anchor.levels = self._deepest - len(path)
        anchor.is_whole = True
        self._deepest = max(deepest, self._deepest)
        return anchor.value

    def _note_anchor(self, event: NodeEvent, path: KeyPath) -> _Anchor:
        if len(self._anchors) == _MOST_ANCHORS:
            message = f"has more than {_MOST_ANCHORS:,} anchors, which no config has"
            self._stop(event, "yaml-too-large", message)
        name = str(event.anchor)
        anchor = _Anchor(name, path, self._place(event))
        self._anchors.append(anchor)
        self._named[name] = anchor
        return anchor

    def _alias(self, event: AliasEvent, path: KeyPath) -> Any:
        name = str(event.anchor)
        anchor = self._named.get(name)
        if anchor is None:
            self._problem(event, "yaml-unknown-alias", self._unknown(name), path=path)
            return None
        anchor.is_used = True
        if not anchor.is_whole:
            message = f"*{_short(name)} stands inside the value that it names"
            self._problem(event, "yaml-recursive-alias", message, path=path)
            return None
        self._reach(event, len(path) + anchor.levels)
        self._most_written -= anchor.values - 1  # the alias itself is written
        if len(self.positions) > self._most_written:
            self._stop_unfolding(event)
        if anchor.levels:
            self.written_at[path] = anchor.path
        elif anchor.path in self.exponents:
            self.exponents[path] = self.exponents[anchor.path]
        if anchor.path in self.doubtful:
            self.doubtful.add(path)
        return anchor.value

    def _unknown(self, name: str) -> str:
        known = [known for known in self._named if len(known) <= _MOST_COMPARED][:_MOST_COMPARED]
        near = did_you_mean(name, known) if len(name) <= _MOST_COMPARED else ""
        near = near.replace("'", "*", 1).replace("'", "", 1)
        return f"*{_short(name)} does not name a value set above{near}"

    def _warn_of_unused_anchors(self) -> None:
        if any(problem.code == "yaml-unknown-alias" for problem in self.problems):
            return  # it is probably the one that was meant
        for anchor in self._anchors:
            if anchor.is_used:
                continue
            line, column = anchor.place
            name, where = _short(anchor.name), f"{self._name}:{line}:{column}"
            message, hint = f"the anchor &{name} is never used", f"leave it out, or use it: *{name}"
            self.warnings.append(
                Diagnostic(message=message, where=where, hint=hint, code="yaml-unused-anchor")
            )

    def _reach(self, event: Event, level: int) -> None:
        """Note that there are values at this level. Raises ReadingStopped below the last one."""
        if level > _MOST_LEVELS:
            self._stop(event, "yaml-too-deep", f"is nested deeper than {_MOST_LEVELS} levels")
        if level > self._deepest:
            self._deepest = level

    def _stop_unfolding(self, event: Event) -> NoReturn:
        message = f"unfolds to more than {_MOST_VALUES:,} values, which no config does"
        self._stop(event, "yaml-too-large", message)

    def _stop(self, event: Event, code: str, message: str) -> NoReturn:
        self.problems.append(Diagnostic(message=message, where=self._where(event), code=code))
        raise ReadingStopped

    def _problem(
        self,
        event: Event,
        code: str,
        message: str,
        hint: str | None = None,
        path: KeyPath | None = None,
    ) -> None:
        """Add a problem; the value at `path`, if one is given, is doubtful from now on."""
        if len(self.problems) == _MOST_PROBLEMS:
            message = f"reading stops here, after {_MOST_PROBLEMS} problems"
            self._stop(event, "yaml-too-many-problems", message)
        self.problems.append(
            Diagnostic(message=message, where=self._where(event), hint=hint, code=code)
        )
        if path is not None:
            self.doubtful.add(path)

    def _place(self, event: Event) -> tuple[int, int]:
        mark = cast(yaml.Mark, event.start_mark)
        return mark.line + self._first_line, mark.column + 1

    def _where(self, event: Event) -> str:
        line, column = self._place(event)
        return f"{self._name}:{line}:{column}"


def _follows(first: Any, second: Any, between: int) -> bool:
    """Whether the second of two events begins so many characters behind the first, on its line."""
    end, start = first.end_mark, second.start_mark
    return bool(end.line == start.line and end.column + between == start.column)


def _as_one_number(written: str) -> str:
    """How a number that has commas is written: 8,192 or 0,5."""
    in_quotes = f'"{written}"'
    if re.fullmatch(r"[-+]?[0-9]{1,3}(,[0-9]{3})+", written):
        return f"write {written.replace(',', '')}, or {in_quotes} for a text"
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", written):
        return f"write {written.replace(',', '.')}, or {in_quotes} for a text"
    return f"write {in_quotes}"


def _short(text: str) -> str:
    """The text, or the start of it where it would drown the message."""
    from modelyard.secrets.values import shorten_masked  # only where something is wrong

    return shorten_masked(text, 60)
