"""A content that is a list of parts: texts, reasoning and calls of tools, as other tools write it.

Does not know turns; what is no text is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.chatdata.json_values import is_absent, kind_of

NO_MEDIA = "this command trains on text, not on pictures, sound or film"

_TEXT = ("text", "input_text", "output_text")
_REASONING = ("reasoning", "thinking")
_CALL = ("tool_call", "function_call")
_MEDIA_WORDS = ("image", "video", "audio", "picture", "file")
_VALUE_KEYS = ("text", "value", "content", "thinking", "reasoning")


_TRAIN_WORDS = {"train", "training", "trainable", "weight", "loss"}


class WrongTurn(Exception):
    """What is wrong with one turn."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the parts of a content hold, each kind in order."""

    text: str
    reasoning: str
    calls: tuple[str, ...]
    """Calls of tools, each as JSON text."""


def read_parts(parts: Sequence[Any]) -> Parts:
    """The parts by their kind. Raises WrongTurn for a part that is none of them."""
    texts: dict[str, list[str]] = {"text": [], "reasoning": [], "call": []}
    for number, part in enumerate(parts, start=1):
        if not isinstance(part, Mapping):
            raise WrongTurn(
                f"content must be text, or a list of parts with a type, not of {kind_of(part)}"
            )
        kind = _kind(part.get("type"), number)
        _refuse_keys(part, number)
        text = next(
            (part[key] for key in _VALUE_KEYS if isinstance(part.get(key), str)),
            None,
        )
        if text is None:
            raise WrongTurn(f"part {number} of the content has no text")
        texts[kind].append(text)
    return Parts("".join(texts["text"]), "".join(texts["reasoning"]), tuple(texts["call"]))


def _refuse_keys(part: Mapping[str, Any], number: int) -> None:
    """Raise WrongTurn for what a part holds beside its text and would be lost with it."""
    for key in (str(key) for key, value in part.items() if not is_absent(value)):
        if key in ("type", *_VALUE_KEYS):
            continue
        words = set(key.lower().split("_"))
        if words & set(_MEDIA_WORDS):
            raise WrongTurn(f"part {number} of the content holds '{key}': {NO_MEDIA}")
        if words & _TRAIN_WORDS:
            raise WrongTurn(
                f"part {number} of the content has '{key}'; a turn is trained whole, or not at all"
            )


def _kind(given: Any, number: int) -> str:
    if given is None or given in _TEXT:
        return "text"
    if given in _REASONING:
        return "reasoning"
    if given in _CALL:
        return "call"
    if any(word in str(given) for word in _MEDIA_WORDS):
        raise WrongTurn(f"part {number} of the content is of type '{given}': {NO_MEDIA}")
    raise WrongTurn(f"part {number} of the content is of type '{given}', which is not read")
