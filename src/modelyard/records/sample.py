"""The record of one answer: which model gave it, how long it took, what it cost, how it ended.

It holds names, counts and times, and nothing of what was asked or answered.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from modelyard.core.json_reading import InvalidJson, parse_json

Kind = Literal["answer", "call", "test", "test_call"]
"""
answer: what somebody asked for, or another answer needed.
call: one call of a model that an answer needed.
test, test_call: the same of a performance test, which is in no figure about users.
"""

Outcome = Literal[
    "answered",
    "degraded",
    "refused",
    "over_limit",
    "nothing_found",
    "not_taken",
    "failed",
    "interrupted",
]
"""
degraded: no language model answered, and what search found is quoted instead.
refused: the model, or a filter of its provider, would not answer.
over_limit: a budget or a limit left no room for it, and nothing was called.
nothing_found: it may only say what is found, and nothing was.
not_taken: the request itself was at fault, such as one that is too long for every model.
interrupted: whoever asked did not wait for the end.
"""

TokenSource = Literal["counted", "reported", "estimated"]
"""Who says how many tokens there were: the model that runs here, its provider, or nobody."""

LONGEST_LINE = 16_384
"""Bytes; a sample with the longest texts takes half of it."""
_LONGEST_TEXT = 200
_LARGEST = 2**53
_write_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer, or one call for it. None is unknown, or no such thing; it is never 0.

    What is summed over answers, such as their cost, is summed over those of kind `answer`: the
    calls of an answer are in its own figures already.
    Raises ValueError for a value that no answer has.
    """

    answer_id: str
    """Identifies the answer: see `new_answer_id`."""
    kind: Kind = "answer"
    """Whether it is an answer, or a call that one needed."""
    parent_id: str | None = None
    """The answer that this one was needed for, and whose figures have this one's in them; None when
    a user or a program asked for it."""
    answered_at_ms: int
    """When it ended: milliseconds since 1970, by the clock of the machine."""
    organisation: str | None = None
    """The organisation that asked."""
    domain: str | None = None
    """The kind of work that it was asked for."""
    profile: str | None = None
    """The performance profile."""
    variant: str | None = None
    """Of an A/B test, `NAME/a` or `NAME/b`; None: the answer is in none."""
    language_model: str | None = None
    """The language model of the configs, by its name."""
    model: str
    """What answered, as a reference that `ModelRef.parse` reads."""
    adapter_digest: str | None = None
    """`sha256:<hex>` of the manifest of the adapter's version."""
    environment: str | None = None
    """Where the settings came from."""
    config_revision: int | None = None
    """The revision that was live in that environment."""
    prompt_tokens: int | None = None
    """Tokens of what was sent to the model."""
    output_tokens: int | None = None
    """Tokens of the answer, without the one that ends it."""
    cached_tokens: int | None = None
    """Of those that were sent, the ones that the provider had in its cache."""
    cache_write_tokens: int | None = None
    """Of those that were sent, the ones that it wrote into its cache."""
    token_source: TokenSource | None = None
    """Who says so."""
    load_s: float | None = None
    """Seconds that loading the model took before; 0 when it was in memory."""
    first_token_s: float | None = None
    """Seconds until the answer began, without `load_s`."""
    waited_s: float | None = None
    """Of the latency, seconds in which nothing was under way: for a turn, or to repeat a call."""
    latency_s: float
    """Seconds until the answer ended, without `load_s`."""
    cost_usd: float | None = None
    """What a provider bills for it; 0 for a model that runs here."""
    calls: int | None = None
    """How many calls it took; 0 for one that was kept from before."""
    drawn: int | None = None
    """How many answers were drawn, for the one that most of them agree on."""
    agreed: int | None = None
    """How many of them agree."""
    route: str | None = None
    """Who was asked, and how each call ended: `gpt4 busy > claude answered`; or `cache`."""
    failure: str | None = None
    """The class of the failure, where there is one: `timeout`."""
    outcome: Outcome
    """How it ended."""

    def __post_init__(self) -> None:
        for name, optional, is_valid in _CHECKS:
            value = getattr(self, name)
            if not (is_valid(value) or (optional and value is None)):
                raise ValueError(f"{name} of an answer cannot be {value!r}")

    def to_line(self) -> bytes:
        """The sample as one line of JSON, without the newline."""
        values = {name: value for name in FIELDS if (value := getattr(self, name)) is not None}
        return _write_json(values).encode()

    @classmethod
    def from_line(cls, line: bytes) -> Sample:
        """The sample of a line. What it says that is unknown here, a newer version wrote.

        Raises ValueError when the line is no sample.
        """
        try:
            found = parse_json(line)
        except InvalidJson as error:
            raise ValueError(error.message) from error
        if not isinstance(found, Mapping) or not found.keys() >= _REQUIRED:
            raise ValueError("not a sample")
        return cls(**{name: found[name] for name in FIELDS if name in found})


FIELDS = tuple(field.name for field in fields(Sample))
"""The names of what a sample says."""
_REQUIRED = {field.name for field in fields(Sample) if field.default is MISSING}


def new_answer_id() -> str:
    """An id that no other answer has."""
    return secrets.token_hex(8)


def _is_text(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= _LONGEST_TEXT and value.isprintable()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < _LARGEST and math.isfinite(value)


_OF_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "str": _is_text,
    **dict.fromkeys(
        ("Kind", "Outcome", "TokenSource"), _is_text
    ),  # a newer version may know others
    "int": _is_count,
    "float": _is_amount,
}
_CHECKS = tuple(
    (field.name, field.default is None, _OF_TYPE[str(field.type).removesuffix(" | None")])
    for field in fields(Sample)
)
