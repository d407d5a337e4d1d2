"""What secrets look like by themselves: known forms of keys and tokens, and random text.

The forms here and in prefixes.py find a token whatever its letters; providers.py adds the rules of
several hundred providers.

The tests for random text differ in what they are given. `looks_random` takes a value that something
names a secret, `is_random_run` any run of letters and digits, `is_unlike_words` and
`is_random_value` a value in prose, where words joined by hyphens and names with numbers are usual.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from modelyard.secrets.prefixes import PREFIX_FORMS
from modelyard.secrets.providers import find_provider_tokens, is_plain

SECRET_FORMS = (
    ("AWS access key", "AKIA", r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("AWS access key", "ASIA", r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("Google API key", "AIza", r"AIza[0-9A-Za-z_-]{35}"),
    ("GitHub token", "gh", r"gh[pousr]_[0-9A-Za-z]{36}"),
    ("GitHub token", "github_pat_", r"github_pat_[0-9A-Za-z_]{50,}"),
    ("GitLab token", "glpat-", r"glpat-[0-9A-Za-z_-]{20,}"),
    ("npm token", "npm_", r"npm_[0-9A-Za-z]{36}"),
    ("PyPI token", "pypi-", r"pypi-[0-9A-Za-z_-]{50,}"),
    ("Slack token", "xox", r"xox[abprs]-[0-9A-Za-z-]{10,}"),
    ("Stripe key", "k_live_", r"[rs]k_live_[0-9A-Za-z]{20,}"),
    ("Hugging Face token", "hf_", r"hf_[0-9A-Za-z]{30,}"),
    # Words with hyphens end in `sk-` too: task-oriented-dialogue. A key has digits.
    ("API key", "sk-", r"(?<![0-9A-Za-z])sk-(?=[A-Za-z_-]{0,99}[0-9])[0-9A-Za-z_-]{20,}"),
    ("Telegram bot token", ":AA", r"(?<![0-9A-Za-z])[0-9]{8,10}:AA[\w-]{33}(?![\w-])"),
    ("Discord bot token", ".", r"[MNO](?<![\w-].)[\w-]{23,27}\.[\w-]{6}\.[\w-]{27,45}(?![\w.-])"),
    ("Discord webhook", "/api/webhooks/", r"/api/webhooks/[0-9]{17,20}/[\w-]{60,72}"),
    ("Google OAuth secret", "GOCSPX-", r"GOCSPX-[\w-]{28}"),
    ("Google access token", "ya29.", r"ya29\.[\w-]{30,}"),
    ("Square secret", "sq0", r"sq0[a-z]{3}-[\w-]{22,43}"),
    ("Mailgun key", "key-", r"(?<![\w-])key-[0-9a-f]{32}(?!\w)"),
    ("Mailchimp key", "-us", r"(?<![0-9A-Za-z])[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z])"),
    ("private key", "PRIVATE KEY", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("signed token", "eyJ", r"eyJ[\w-]{10,400}\.[\w-]{10,4000}\.[\w-]{5,}"),
)
"""Secrets recognisable by form alone: what each is, a text that it always contains, and its
form. The text is looked for first, which is fast; the form is compiled where it is found.
"""

_RANDOM_FORMS = (
    ("bearer token", "earer", r"[Bb]earer\s+([\w.~+/-]{20,}=*)"),
    ("password in an address", "://", r"://[^\s:/@\0]+:([^\s:/@\0]{4,})@"),
)
"""Forms of which one group is the secret, and must also look random."""

_PLACEHOLDER = re.compile(
    r"[*x.#]+|[$%<].*|(?:env|file):.*|(?:your|my[_-]|example|changeme).*", re.I
)
_LEAST_BITS = 3.6
"""Bits a character: random text of 20 letters and digits has 4.1, words run together 3.5."""
_LEAST_CHANGES = 0.42
"""Changes between uppercase, lowercase and digits: random text 0.62 a letter, names 0.3."""
_PARTS = re.compile(r"[-_./:,&]+")
_WORD = re.compile(r"[A-Za-z]*")
_WORD_WITH_NUMBER = re.compile(r"[A-Za-z]+[0-9]{0,3}")
_TERM = re.compile(
    r"(?i:(?:base|sha|md|utf|oauth|argon|pbkdf|[rhep]s|ed|x|v|rc|k|i|l|a|s|ec|http|tls|ssl|aes|p)"
    r"[0-9]{1,5}(?:id|[a-z])?)|[0-9]+(?:[A-Za-z]{1,4})?"
)
"""Words with digits that occur beside the word password: base64, sha256, argon2id, 12th."""
_SPECIAL = re.compile(r"[!@#$%^*+=?~&]")

_JOINED = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_+=-"
_LONGEST_PART = 400
_LONGEST_TOKEN = 2_000

_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


Found = tuple[str, int, int]
"""The kind, start and end of a secret."""


def find_secret_forms(text: str) -> list[Found]:
    """Each secret with a form of its own and each token of a provider, in order."""
    return without_overlaps([*find_known_forms(text), *find_provider_tokens(text)])


def without_overlaps(found: Iterable[Found]) -> list[Found]:
    """The same places in order; those that overlap as one, of the kind of the first and longest."""
    apart: list[Found] = []
    for kind, start, end in sorted(found, key=lambda one: (one[1], -one[2])):
        if not apart or start >= apart[-1][2]:
            apart.append((kind, start, end))
        elif end > apart[-1][2]:
            apart[-1] = (*apart[-1][:2], end)
    return apart


def find_known_forms(text: str) -> Iterator[Found]:
    """The same by the forms above alone, which are not checked against a provider's rules."""
    for kind, literal, form in (*SECRET_FORMS, *PREFIX_FORMS, *_RANDOM_FORMS):
        if literal in text:
            for match in re.finditer(form, text):
                group = match.re.groups  # 1 where a part must look random, else 0: all of it
                if not group:
                    yield kind, *whole_token(text, *match.span())
                elif looks_random(match[group]):
                    yield kind, *match.span(group)


def whole_token(text: str, start: int, end: int) -> tuple[int, int]:
    """The span with what it is joined to: a token found in part must not be hidden in part.

    A slash joins only what is no name, so that of `models/<token>/file` the rest stays.
    """
    while True:
        before = text[max(0, start - _LONGEST_PART) : start]
        after = text[end : end + _LONGEST_PART]
        first = start - len(before) + len(before.rstrip(_JOINED))
        last = end + len(after) - len(after.lstrip(_JOINED))
        if text[last : last + 1] == "/":
            part = text[last + 1 : last + 1 + _LONGEST_PART]
            part = part[: len(part) - len(part.lstrip(_JOINED))]
            last += 1 + len(part) if part and not is_plain(part) else 0
        if text[first - 1 : first] == "/":
            part = text[max(0, first - 1 - _LONGEST_PART) : first - 1]
            part = part[len(part.rstrip(_JOINED)) :]
            first -= 1 + len(part) if part and not is_plain(part) else 0
        if (first, last) == (start, end) or last - first > _LONGEST_TOKEN:
            return first, last
        start, end = first, last


def lower_in_place(text: str) -> str:
    """The text with A-Z in lowercase, every offset kept, which `str.lower` does not do."""
    return text.lower() if text.isascii() else text.translate(_TO_LOWER)


def before_in_line(text: str, place: int, most: int) -> str:
    """The text before a place in its line, and not more than the last `most` characters."""
    first = max(0, place - most)
    return text[max(first, text.rfind("\n", first, place) + 1) : place]


def is_placeholder(value: str) -> bool:
    """Whether a value is a placeholder for a secret: `$KEY`, `****`, `your-key-here`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def looks_random(value: str) -> bool:
    """Whether a value is more than a word: two kinds of characters, varied, not a placeholder."""
    if is_placeholder(value):
        return False
    kinds = [any(map(test, value)) for test in (str.isdigit, str.islower, str.isupper)]
    kinds.append(not value.rstrip(".!?").isalnum())
    return sum(kinds) >= 2 and not value.istitle() and entropy_bits(value) >= 2.5


def is_random_run(run: str) -> bool:
    """Whether a run of letters and digits is not a word, a name or a number."""
    kinds = ["0" if char.isdigit() else "A" if char.isupper() else "a" for char in run]
    changes = sum(kind != following for kind, following in pairwise(kinds))
    return (
        len(set(kinds)) == 3
        and changes >= _LEAST_CHANGES * len(run)
        and entropy_bits(run) >= _LEAST_BITS
    )


def is_varied_hex(digits: str) -> bool:
    """Whether hexadecimal digits are not a number, a word or a repeated pattern."""
    return entropy_bits(digits) >= 3 and not digits.isdigit() and not digits.isalpha()


def is_unlike_words(value: str) -> bool:
    """Whether a value is not a word, joined words or the name of an algorithm: `hunter2`."""
    if " " in value or len(value) < 6:
        return False
    parts = [part for part in _PARTS.split(value) if part]
    if all(_WORD.fullmatch(part) or _TERM.fullmatch(part) for part in parts):
        return False
    return any(map(str.isdigit, value)) or _SPECIAL.search(value) is not None


def is_random_value(value: str) -> bool:
    """The same, and not a name with numbers such as `all-minilm-l6-v2`."""
    if len(value) < 8 or not is_unlike_words(value):
        return False
    parts = [part for part in _PARTS.split(value) if part]
    return (
        any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and not all(_WORD_WITH_NUMBER.fullmatch(part) or _TERM.fullmatch(part) for part in parts)
        and entropy_bits(value) >= 2.75
    )


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
