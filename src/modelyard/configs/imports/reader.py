"""One settings file of another program: its values, and what becomes of each of its keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from modelyard.core.errors import InvalidInput, KeyPath
from modelyard.settings.yaml_files import YamlSource

T = TypeVar("T")

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unfit(Exception):
    """A value that has no counterpart; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One setting of the new config."""

    to: str
    """Its dotted key, such as `lora.rank`."""
    value: Any
    """Its value."""
    keys: tuple[str, ...]
    """The keys that it comes from; none: the other program's default for a key left out."""
    note: str | None = None
    """What is not quite the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A key of the file that the new config has nothing for."""

    key: str
    """The key, as the file has it."""
    where: str
    """`file:line:col`."""
    reason: str
    """Why it is left out, and what to do instead."""


class Reader:
    """The values of a file, by key; records what is carried over and what is left out."""

    def __init__(self, program: str, source: YamlSource, *, groups: Sequence[str] = ()) -> None:
        """`groups` are mappings whose keys are read as `group.key`."""
        self.program = program
        self.devices: int | None = None
        self.base: str | None = None
        self.carried: dict[str, Carried] = {}
        self.left_out: list[LeftOut] = []
        self._source = source
        self._values: dict[str, Any] = {}
        self._paths: dict[str, KeyPath] = {}
        self._open: dict[str, None] = {}
        for key, value in source.value.items():
            nested = value if key in groups and isinstance(value, dict) else {None: value}
            for part, item in nested.items():
                name = str(key) if part is None else f"{key}.{part}"
                self._paths[name] = (key,) if part is None else (key, part)
                if item is not None and item != "" and item != [] and item != {}:
                    self._values[name] = item
                    self._open[name] = None

    def get(self, key: str) -> Any:
        """The value of a key; None where nothing is set. The key counts as read."""
        self._open.pop(key, None)
        return self._values.get(key)

    def has(self, key: str) -> bool:
        """Whether a key is set."""
        return key in self._values

    def unread(self) -> dict[str, Any]:
        """The keys that were not read so far, with their values."""
        return {key: self._values[key] for key in self._open}

    def where(self, key: str) -> str:
        """`file:line:col` of a key."""
        return self._source.where(self._paths.get(key, ()))

    def carry(self, to: str, value: Any, *keys: str) -> None:
        """Set `to` in the new config."""
        unfit = {left.key for left in self.left_out}
        written = tuple(key for key in keys if self.has(key) and key not in unfit)
        self.carried[to] = Carried(to=to, value=value, keys=written)

    def note(self, to: str, text: str) -> None:
        """Say what is not quite the same about a setting that was carried over."""
        if (setting := self.carried.get(to)) is not None:
            said = f"{setting.note}; {text}" if setting.note else text
            self.carried[to] = replace(setting, note=said)

    def leave_out(self, key: str, reason: str) -> None:
        """Record that the value of a key, if it has one, is not carried over."""
        self._open.pop(key, None)
        if self.has(key):
            self.left_out.append(LeftOut(key=key, where=self.where(key), reason=reason))

    def leave_out_inside(self, key: str, place: int, part: str, reason: str) -> None:
        """The same for a key of one of the mappings that a key lists."""
        where = self._source.where((*self._paths[key], place, part))
        self.left_out.append(LeftOut(key=f"{key}[{place}].{part}", where=where, reason=reason))

    def read(self, key: str, convert: Callable[[Any], T]) -> T | None:
        """The converted value of a key; None where none is set, or where it is unfit."""
        value = self.get(key)
        if value is None:
            return None
        try:
            return convert(value)
        except Unfit as error:
            self.leave_out(key, str(error))
            return None

    def move(
        self,
        to: str,
        keys: str,
        convert: Callable[[Any], Any],
        default: Any = None,
    ) -> Any:
        """Carry the first of several keys (written with blanks between) that is set to `to`.

        `default` is the other program's value where the key is left out; with None nothing is
        carried then. Returns the value carried, or None.
        """
        for key in keys.split():
            if self.has(key):
                value = self.read(key, convert)
                if value is not None:
                    self.carry(to, value, key)
                return value
        if default is not None:
            self.carry(to, default)
        return default

    def refuse(self, key: str, reason: str, hint: str) -> InvalidInput:
        """The error for a file that does something else than train a LoRA adapter on answers."""
        return InvalidInput(reason, where=self.where(key), hint=hint)


_LARGEST = 1e15
"""No setting is larger; YAML would not take a whole number of hundreds of digits either."""


def number(value: Any) -> float:
    """A number, also one written as text, as PyYAML reads `1e-4`."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Unfit("is not a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unfit("is not a number")
    if not abs(value) <= _LARGEST:
        raise Unfit("is not a usable number")
    return value


def whole(value: Any) -> int:
    """A whole number."""
    found = number(value)
    if found != int(found):
        raise Unfit("is not a whole number")
    return int(found)


def positive(value: Any) -> int:
    """A whole number from 1."""
    found = whole(value)
    if found < 1:
        raise Unfit("is not a number from 1")
    return found


def steps(value: Any) -> int:
    """A number of steps; below 1 these programs take it for a share of all steps."""
    found = number(value)
    if 0 < found < 1:
        raise Unfit("is a share of all steps there, and a number of steps here")
    return positive(found)


def flag(value: Any) -> bool:
    """True or false, also written as text or as 1 and 0."""
    known = {"true": True, "false": False, "1": True, "0": False}
    found = known.get(str(value).lower())
    if found is None:
        raise Unfit("is neither true nor false")
    return found


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise Unfit("is not text")
    return value


def modules(value: Any) -> list[str]:
    """Names of modules: a list, or text with commas; `all` and `all-linear` mean every one."""
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unfit("is no list of modules")
    if "all" in names or "all-linear" in names:
        return ["all-linear"]
    if not all(map(_MODULE.fullmatch, names)):
        raise Unfit(
            "has patterns or paths of modules; here lora.targets are names such as q_proj, "
            "and all-linear where there are none"
        )
    return list(dict.fromkeys(names))


def one_of(words: Mapping[str, Any], otherwise: str) -> Callable[[Any], Any]:
    """A converter of words; `otherwise` is the reason for those that have no counterpart."""

    def convert(value: Any) -> Any:
        found = words.get(str(value).lower())
        if found is None:
            raise Unfit(otherwise)
        return found

    return convert
