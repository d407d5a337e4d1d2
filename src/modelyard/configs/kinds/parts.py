"""What several kinds of config have in common: generation, patterns of texts, marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from modelyard.settings.marks import Pattern, Range
from modelyard.settings.placeholders import NO_PLACEHOLDER
from modelyard.settings.units import TOKENS

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"

_STEERING = r"\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069"
"""Characters that steer a terminal or the direction of writing: text shows as another one."""
_UNSEEN = rf"{_STEERING}\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
"""These, and those that nobody sees."""
_WORDS = rf"[^\s{_UNSEEN}](?:[^\n{_UNSEEN}]*[^\s{_UNSEEN}])?"
"""One line as a program takes it: all of it is seen, and no space begins or ends it."""

Name = Annotated[str, Pattern("a name", NAME_PATTERN, ("code_analysis",))]
Secret = Annotated[
    str,
    Pattern(
        "a reference to a secret",
        rf"env:[A-Za-z_][A-Za-z0-9_]*|file:{_WORDS}",
        ("env:OPENAI_API_KEY", "file:/run/secrets/openai"),
        hidden=True,
    ),
]
_PORT = r"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]"
_HOST = rf"(?:[^\s/@?#:{_UNSEEN}]+|\[[0-9A-Fa-f:.]+\])"
URL_PATTERN = rf"{NO_PLACEHOLDER}https?://{_HOST}(:(?:{_PORT}))?(/[^\s?#{_UNSEEN}]*)?"
Endpoint = Annotated[
    str,
    Pattern(
        "a URL",
        rf"env:[A-Za-z_][A-Za-z0-9_]*|{URL_PATTERN}",
        ("https://api.example.com/v1",),
        written_out=True,
        from_environment=True,
    ),
]
"""A URL, or `env:NAME` for the variable that holds it."""
OneLine = Annotated[
    str, Pattern("a line of text", rf"[^\n{_STEERING}]*[^\s{_STEERING}][^\n{_STEERING}]*")
]
WrittenOut = Annotated[
    str, Pattern("a line of text", rf"{NO_PLACEHOLDER}{_WORDS}", written_out=True)
]
"""A line of text that goes to another program as it stands, such as a model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How an answer is generated. What is left out is decided by the next layer below."""

    temperature: Annotated[float, Range(0, 2)] | None = None
    """Sampling temperature: 0 takes the likeliest token each time."""
    top_p: Annotated[float, Range(0.01, 1)] | None = None
    """Choose among the likeliest tokens that together have this probability."""
    top_k: Annotated[int, Range(1)] | None = None
    """Choose among so many of the likeliest tokens."""
    max_output_tokens: Annotated[int, TOKENS, Range(1)] | None = None
    """Longest answer in tokens."""
    stop: tuple[str, ...] | None = None
    """Texts that end an answer."""
    seed: Annotated[int, Range(0, 2**31)] | None = None
    """Seed of the sampling, for reproducible answers."""
