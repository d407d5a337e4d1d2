"""A result in short: its keys one within the other, and a line for each of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from modelyard.results.schema import ResultKey, classes_within, result_keys
from modelyard.settings.marks import members_of, unwrap

_WIDTH = 98
_QUOTE = '"'
_NO_BREAK = "\N{NO-BREAK SPACE}"
_WORDS: Mapping[Any, str] = {
    Any: "any value",
    str: "text",
    Path: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """One key of a result, with what is said of it."""

    path: str
    """The keys to it, such as `versions[].base.name`; NAME stands for any name."""
    may_be: str
    """What its value may be."""
    meaning: str
    """What it says."""
    always: bool
    """Whether it is always there."""


def render_shape(hint: Any) -> str:
    """The keys of a result in their order, as in `[{"name", "base": {"name"}}]`."""
    text = _shape(hint)
    lines = textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False)
    return "\n".join(lines).replace(_NO_BREAK, " ")


def _shape(hint: Any, without: tuple[str, ...] = ()) -> str:
    classes, step = classes_within(hint)
    text = f" or{_NO_BREAK}".join(_object(result, without) for result in classes)
    if text and step:
        return f"[{text}]" if step == "[]" else f"{{NAME:{_NO_BREAK}{text}}}"
    return text


def _object(result: type, without: tuple[str, ...]) -> str:
    keys = [key for key in result_keys(result) if key.key not in without]
    below = {key.key: _shape(key.hint, key.without) for key in keys}
    inside = (f'"{key}"' + (f":{_NO_BREAK}{text}" if text else "") for key, text in below.items())
    return f"{{{', '.join(inside)}}}"


def key_lines(hint: Any, prefix: str = "", without: tuple[str, ...] = ()) -> Iterator[KeyLine]:
    """A line for each key of a result, those of the objects in it below their key."""
    classes, step = classes_within(hint)
    start = f"{prefix}{step}." if prefix else ""
    together: dict[str, list[ResultKey]] = {}
    for key in (key for result in classes for key in result_keys(result)):
        if key.key not in without:
            together.setdefault(key.key, []).append(key)
    for name, keys in together.items():
        yield KeyLine(
            path=f"{start}{name}",
            may_be=" or ".join(dict.fromkeys(_may_be(key.hint) for key in keys)),
            meaning=keys[0].meaning,
            always=len(keys) == len(classes) and all(key.always for key in keys),
        )
        yield from key_lines(keys[0].hint, f"{start}{name}", keys[0].without)


def _may_be(hint: Any) -> str:
    members, optional = members_of(hint)
    words = list(dict.fromkeys(map(_one, members)))
    return " or ".join([*words, *(["null"] if optional else [])])


def _one(hint: Any) -> str:
    plain = unwrap(hint).hint
    if get_origin(plain) is Literal:
        return ", ".join(f"`{json.dumps(word).strip(_QUOTE)}`" for word in get_args(plain))
    if get_origin(plain) in (tuple, list, Sequence):
        item = get_args(plain)[0]
        return "list" if classes_within(item)[0] else f"list, each {_may_be(item)}"
    if get_origin(plain) in (dict, Mapping):
        item = get_args(plain)[1]
        known = item is Any or classes_within(item)[0]
        return "object" if known else f"object, each value {_may_be(item)}"
    return "object" if is_dataclass(plain) else _WORDS[plain]
