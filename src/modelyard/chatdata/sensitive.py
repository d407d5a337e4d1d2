"""Secrets and e-mail addresses in conversations, which a model must not memorise.

Finds them by pattern and reports kind and place, never the value itself.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from modelyard.chatdata.conversation import Conversation
from modelyard.secrets.forms import find_secret_forms, looks_random

EMAIL = "e-mail address"

# One character, in no pattern and in no checked turn, so no match spans two of them.
_SEPARATOR = "\0"

_EMAIL = re.compile(r"[\w+-]@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_ASSIGNED = re.compile(r"[=:](?=\s*[\"']?([^\s\"'`,;<>(){}\0]{6,200}))")
_SECRET_NAME = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key)(?:[_-]?key)?"
    r"[\"']?\s*\Z",
    re.IGNORECASE,
)
_LONGEST_NAME = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitiveValue:
    """One secret or address, by place, without its text."""

    kind: str
    """What it looks like, such as `AWS access key`."""
    source: str
    """Where the row is, such as `train.jsonl:12`."""
    message: int | None = None
    """Which message of the row, from 1; None when it is in another key."""
    key: str | None = None
    """Which other key of the row; None when it is in a message."""

    @property
    def is_secret(self) -> bool:
        """Whether it gives access to something; an e-mail address does not."""
        return self.kind != EMAIL

    @property
    def place(self) -> str:
        """The row, and where in it."""
        place = f"message {self.message}" if self.message else f"key '{self.key}'"
        return f"{self.source} ({place})"

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}"


def find_sensitive(conversations: Sequence[Conversation]) -> list[SensitiveValue]:
    """Every secret and e-mail address, in the order of the rows; each kind once a place.

    A place is a message, or another key of the row with all that it holds.
    """
    places = [
        (conversation.source, number, key, text)
        for conversation in conversations
        for number, key, text in _texts(conversation)
    ]
    starts = list(accumulate((len(text) + 1 for *_, text in places), initial=0))
    # One long text: thousands of short searches would take ten times as long.
    joined = _SEPARATOR.join(text for *_, text in places)
    found = {(bisect_right(starts, start) - 1, kind) for kind, start in _matches(joined)}
    values = []
    for place, kind in sorted(found):
        source, message, key, _ = places[place]
        values.append(SensitiveValue(kind=kind, source=source, message=message, key=key))
    return values


def _texts(conversation: Conversation) -> Iterator[tuple[int | None, str | None, str]]:
    """Each message by its number, with its other keys, then each key of the row by its name."""
    for number, message in enumerate(conversation.messages, start=1):
        beside = (text for key in message.more for text in _field_texts(key, message.more[key]))
        yield number, None, _SEPARATOR.join((message.content, *beside))
    for key, value in (*conversation.fields.items(), ("tools", list(conversation.tools))):
        yield None, key, _SEPARATOR.join(_field_texts(key, value))


def _field_texts(name: str, value: Any) -> Iterator[str]:
    """Each nested value after its own key, so that `{"token": "x"}` is searched as `token: x`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _field_texts(key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _field_texts(name, item)
    else:
        yield f"{name}: {value}"


def _matches(text: str) -> Iterator[tuple[str, int]]:
    for kind, start, _ in find_secret_forms(text):
        yield kind, start
    for match in _EMAIL.finditer(text):
        yield EMAIL, match.start()
    for match in _ASSIGNED.finditer(text):
        start = match.start()
        name = _SECRET_NAME.search(text[max(0, start - _LONGEST_NAME) : start])
        if name and looks_random(match[1]):
            yield "password", start
