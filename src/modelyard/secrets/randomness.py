"""How random a text looks: the tests that tell keys and tokens from words, names and numbers.

They differ in what they are given. `looks_random` takes a value that something names a secret,
`is_random_run` any run of letters and digits, `is_unlike_words` and `is_random_value` a value in
prose, where words joined by hyphens and names with numbers are usual.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

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
