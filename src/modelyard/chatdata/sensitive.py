"""Secrets and e-mail addresses in conversations: what a model must not learn by heart.

Finds them by pattern; a finding says what and where, and never repeats the secret.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.chatdata.conversation import Conversation

EMAIL = "e-mail address"

# In no pattern and never in a checked turn, so nothing is found across two of them.
_SEPARATOR = "\0"

_PATTERNS = (
    ("AWS access key", re.compile(r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])")),
    ("AWS access key", re.compile(r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])")),
    ("Google API key", re.compile(r"AIza[0-9A-Za-z_-]{35}")),
    ("GitHub token", re.compile(r"gh[pousr]_[0-9A-Za-z]{36}")),
    ("GitHub token", re.compile(r"github_pat_[0-9A-Za-z_]{50,}")),
    ("Slack token", re.compile(r"xox[abprs]-[0-9A-Za-z-]{10,}")),
    ("Stripe key", re.compile(r"[rs]k_live_[0-9A-Za-z]{20,}")),
    ("Hugging Face token", re.compile(r"hf_[0-9A-Za-z]{30,}")),
    ("API key", re.compile(r"sk-[0-9A-Za-z_-]{20,}")),
    ("private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("signed token", re.compile(r"eyJ[\w-]{10,400}\.[\w-]{10,4000}\.[\w-]{5,}")),
    (EMAIL, re.compile(r"[\w+-]@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")),
)
"""What a match of a pattern is; most begin with literal text, which `re` finds fast."""

_BEARER = re.compile(r"[Bb]earer\s+([\w.~+/-]{20,}=*)")
_IN_ADDRESS = re.compile(r"://[^\s:/@\0]+:([^\s:/@\0]{4,})@")
_ASSIGNED = re.compile(r"[=:](?=\s*[\"']?([^\s\"'`,;<>(){}\0]{6,200}))")
_SECRET_NAME = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key)(?:[_-]?key)?"
    r"[\"']?\s*\Z",
    re.IGNORECASE,
)
_LONGEST_NAME = 30

_PLACEHOLDER = re.compile(r"[*x.#]+|\$.*|%.*|(?:env|file):.*|(?:your|my|example|changeme).*", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One secret or address, by place; its text is not repeated."""

    kind: str
    """What it looks like, such as `AWS access key`."""
    source: str
    """Where the row stands, such as `train.jsonl:12`."""
    message: int | None = None
    """Which message of the row, from 1; None when it stands in another key."""
    key: str | None = None
    """Which other key of the row; None when it stands in a message."""

    @property
    def is_secret(self) -> bool:
        """Whether it opens a door, and is not merely personal."""
        return self.kind != EMAIL

    def __str__(self) -> str:
        place = f"message {self.message}" if self.message else f"key '{self.key}'"
        return f"{self.source} ({place}): {self.kind}"


def find_sensitive(conversations: Sequence[Conversation]) -> list[Finding]:
    """Every secret and e-mail address, in the order of the rows; each kind once a place.

    A place is a message, or another key of the row with all that it holds.
    """
    places: list[tuple[str, int | None, str | None]] = []
    starts: list[int] = []
    texts: list[str] = []
    position = 0
    for conversation in conversations:
        for number, key, text in _texts(conversation):
            places.append((conversation.source, number, key))
            starts.append(position)
            texts.append(text)
            position += len(text) + len(_SEPARATOR)
    # One long text: thousands of short searches would take ten times as long.
    found = {
        (bisect_right(starts, start) - 1, kind) for kind, start in _matches(_SEPARATOR.join(texts))
    }
    return [
        Finding(kind=kind, source=places[place][0], message=places[place][1], key=places[place][2])
        for place, kind in sorted(found)
    ]


def _texts(conversation: Conversation) -> Iterator[tuple[int | None, str | None, str]]:
    """Each message by its number, then each other key of the row by its name."""
    for number, message in enumerate(conversation.messages, start=1):
        yield number, None, message.content
    for key, value in conversation.fields.items():
        yield None, key, _SEPARATOR.join(_field_texts(key, value))


def _field_texts(name: str, value: Any) -> Iterator[str]:
    """Every value in a key, however deep, after its name: `{"token": "x"}` says what x is."""
    if isinstance(value, Mapping):
        for inner, one in value.items():
            yield from _field_texts(inner, one)
    elif isinstance(value, list):
        for one in value:
            yield from _field_texts(name, one)
    else:
        yield f"{name}: {value}"


def _matches(text: str) -> Iterator[tuple[str, int]]:
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield kind, match.start()
    for kind, pattern in (("bearer token", _BEARER), ("password in an address", _IN_ADDRESS)):
        for match in pattern.finditer(text):
            if _looks_random(match[1]):
                yield kind, match.start()
    for match in _ASSIGNED.finditer(text):
        start = match.start()
        name = _SECRET_NAME.search(text[max(0, start - _LONGEST_NAME) : start])
        if name and _looks_random(match[1]):
            yield "password", start


def _looks_random(value: str) -> bool:
    """Whether a value is more than a word: no placeholder, of two kinds of characters, varied."""
    if _PLACEHOLDER.fullmatch(value):
        return False
    kinds = [any(map(test, value)) for test in (str.isdigit, str.islower, str.isupper)]
    kinds.append(not value.rstrip(".!?").isalnum())
    return sum(kinds) >= 2 and not value.istitle() and _entropy_bits(value) >= 2.5


def _entropy_bits(value: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
