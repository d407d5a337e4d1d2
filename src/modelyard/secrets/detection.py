"""Finding secrets in text, and masking them.

A secret is recognised by its form or its randomness (forms.py, providers.py), or by the key that it
is given to (named.py). Findings never repeat the secret.

Patterns that most configs never need are kept as text: `re` compiles each at its first use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from modelyard.secrets.forms import (
    Found,
    before_in_line,
    find_known_forms,
    find_secret_forms,
    is_placeholder,
    is_random_run,
    is_varied_hex,
    looks_random,
    lower_in_place,
    whole_token,
    without_overlaps,
)
from modelyard.secrets.named import Span, find_given_secrets, is_named_secret, is_no_value

MASK = "****"
RULES_VERSION = 4
"""Increased when other text is masked: search indexes, which store it masked, are then rebuilt.
2: Kingfisher's rules. 3: prefixes of providers. 4: no identifiers that are named so."""

_VALUE_OF = "the value of "
_KEY_STEMS = ("passw", "passp", "secret", "token", "api", "access", "private", "credential")
"""How keys of secrets begin: a plain search for these is faster than the pattern."""
_GIVEN = re.compile(
    r"""(?P<key>(?i:password|passwd|passphrase|secret|token|(?:api|access|private)[_-]?key"""
    r"""|credentials?)(?i:[_-]?key)?)["']?[ \t]*[:=][ \t]*"""
    r"""(?:"(?P<double>[^"\n]{0,999})"|'(?P<single>[^'\n]{0,999})'|"""
    r"""(?P<plain>[^\s#,{}\[\]"'|>&*!]\S{0,199}(?<![,}\]])))"""
    r"""(?P<after>(?:[,}\]].{0,300}|[ \t]+(?:\#.{0,300})?)?$)?""",
    re.MULTILINE,
)
"""A key of a secret and its value; `after` matches when nothing else follows."""
_LONGEST_LOOK_BACK = 300

_NO_SECRET = r"(?i)true|false|null|none|~|[-+.$]?[0-9][0-9_.,]*\s?[a-z%]{0,2}"
"""Plain values that are not text: `max_token: 4k`."""

_SHORTEST_RUN = 20
_LONGEST_RUN = 200
"""A longer run of letters and digits is data, not a key."""
_RUN = rf"(?<![0-9A-Za-z])[0-9A-Za-z]{{{_SHORTEST_RUN},{_LONGEST_RUN}}}(?![0-9A-Za-z])"
_HEX_RUN = r"[0-9a-f]{32,}|[0-9A-F]{32,}"
_DIGEST_BEFORE = r"(?i)(?:[@:/-]|(?:model|revision|commit|sha[0-9]*|digest|fingerprint|hash)\b.*)$"
"""What precedes a hash that is not a secret: `sha256:...`, `model: name@...`."""
_IDENTIFIED = (
    r"(?i)(?:(?<![a-z])(?:trace|span|"
    r"parent|request|req|correlation|transaction|container|sandbox"
    r"|pod|image|layer|volume|network|task|job|run|build|event|message|object|node|instance|machine|boot"
    r"|invocation)[_. -]?(?:id|uuid)|(?<![\w.-])(?:container|image|layer|sandbox|volume|etag|md5))"
    r"[\"']?[ \t]*[:= ][ \t]*[\"']?$"
)
"""A name right before hexadecimal digits that says what they identify: `trace_id=`, `image `."""

_TO_RUN = bytes(
    ord("a") if chr(code).isascii() and chr(code).isalnum() else 32 for code in range(256)
)

_CUT_SHORT = (
    r"(?<![0-9A-Za-z])(?:sk-|gh[pousr]_|github_pat_|A[KS]IA|AIza|xox[abprs]-|hf_|eyJ|[rs]k_live_|"
    r"PMAK-|NRAK-|CFPAT-|GOCSPX-|glpat-|dckr_[op]at_)[\w.-]{6,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"']*"
)
"""The start of a secret whose end a message has cut off."""

_PRIVATE_KEY = (
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"(?:[^-]|-(?!----END))*+(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
)
"""A private key with its body; without an end marker it extends to the end of the text."""


@dataclass(frozen=True, slots=True)
class InlineSecret:
    """The place of a secret in a text; the secret itself is not kept."""

    start: int
    """Its start, in characters from 0."""
    end: int
    """Its end."""
    kind: str
    """What it looks like, such as `AWS access key`."""

    @property
    def is_value(self) -> bool:
        """Whether only the key that it is given to makes it a secret."""
        return self.kind.startswith(_VALUE_OF)


def find_secrets(text: str) -> list[InlineSecret]:
    """Everything in a text that looks like a secret, in order and without overlaps."""
    found = [*find_secret_forms(text), *_given_to_keys(text), *_random_runs(text)]
    return [InlineSecret(start, end, kind) for kind, start, end in without_overlaps(found)]


@lru_cache(maxsize=256)  # many findings say the same
def mask_secrets(text: str) -> str:
    """The text with `****` for everything that looks like a secret."""
    text = re.sub(_CUT_SHORT, MASK, text)
    return _masked(text, ((secret.start, secret.end) for secret in find_secrets(text)))


def mask_tokens(text: str) -> str:
    """The text with `****` for its tokens; digests stay, and what keys are given.

    For messages, which name revisions and files, and where `token: ...` is a sentence.
    """
    found = [*find_secret_forms(text), *_random_runs(text)]
    return _masked(
        text,
        ((start, end) for _, start, end in found if not re.fullmatch(_HEX_RUN, text[start:end])),
    )


def redact_secrets(text: str, *, quoted_only: bool = False, also: Iterable[Span] = ()) -> str:
    """The text of a file with `****` for everything that looks like a secret, line for line.

    quoted_only: the text is program code, where a value without quotes is an expression.
    also: start and end of further places to mask; a secret that reaches into one is masked with it.
    """
    given = (
        (start, end)
        for _, start, end in _given_to_keys(text)
        if not (quoted_only and _is_expression(text, start)) and not is_no_value(text[start:end])
    )
    spans = [
        *((start, end) for _, start, end in (*find_secret_forms(text), *_random_runs(text))),
        *(match.span() for match in re.finditer(_PRIVATE_KEY, text)),
        *given,
        *find_given_secrets(text, code=quoted_only),
        *also,
    ]
    return _masked(text, spans)


def _masked(text: str, spans: Iterable[Span]) -> str:
    """The text with `****` for each run of overlapping spans, and with all its line ends."""
    shown, position = [], 0
    for start, end in sorted(spans):
        if end <= position:
            continue
        if start >= position:
            shown += [text[position:start], MASK]
        shown.append("\n" * text.count("\n", max(start, position), end))
        position = end
    return "".join(shown) + text[position:]


def names_a_secret(path: str) -> bool:
    """Whether a path contains a secret. Long hexadecimal digits in it are a digest."""
    return (
        any(find_known_forms(path))
        or is_named_secret(path)
        or any(
            is_random_run(run) and not re.fullmatch(_HEX_RUN, run) for run in re.findall(_RUN, path)
        )
    )


def redact_path(path: str) -> str:
    """The path with `****` for its secrets, and for each part that names one."""
    names = redact_secrets(path).split("/")
    return "/".join(MASK if is_named_secret(name) else name for name in names)


def _is_expression(text: str, start: int) -> bool:
    """Whether a value is unquoted in code, and not in a comment."""
    before = before_in_line(text, start, _LONGEST_LOOK_BACK)
    return text[start - 1 : start] not in ("'", '"') and "#" not in before and "//" not in before


def _given_to_keys(text: str) -> Iterator[Found]:
    lowered = lower_in_place(text)
    for stem in _KEY_STEMS:
        place = lowered.find(stem)
        while place >= 0:
            given = _GIVEN.match(text, place)
            if given is not None and _is_secret_value(text, place, given):
                group = next(name for name in ("double", "single", "plain") if given[name])
                what = f"{_VALUE_OF}'{given['key']}'"
                yield what, *given.span(group)
            place = lowered.find(stem, given.end() if given is not None else place + 1)


def _is_secret_value(text: str, place: int, given: re.Match[str]) -> bool:
    value = given["double"] or given["single"] or given["plain"] or ""
    if len(value) < 4 or is_placeholder(value) or re.fullmatch(_NO_SECRET, value):
        return False
    if (
        "#" in before_in_line(text, place, _LONGEST_LOOK_BACK) or given["after"] is None
    ):  # a comment, or the first word of a sentence
        return len(value) >= 6 and looks_random(value)
    return " " not in value.strip() or text.startswith("pass", place)


def _random_runs(text: str) -> Iterator[Found]:
    # One pass in C shows for nearly every config that it has no long run.
    if b"a" * _SHORTEST_RUN not in text.encode("ascii", "replace").translate(_TO_RUN):
        return
    hidden = 0
    for run in re.finditer(_RUN, text):
        if run.end() <= hidden:
            continue
        kind = ""
        if re.fullmatch(_HEX_RUN, run[0]):
            before = before_in_line(text, run.start(), _LONGEST_LOOK_BACK)
            named = re.search(_DIGEST_BEFORE, before) or re.search(_IDENTIFIED, before[-60:])
            if is_varied_hex(run[0]) and not named:
                kind = "random hexadecimal digits"
        elif is_random_run(run[0]):
            kind = "random letters and digits"
        if kind:
            start, hidden = whole_token(text, *run.span())
            yield kind, start, hidden
