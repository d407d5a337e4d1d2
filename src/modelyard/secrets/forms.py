"""What secrets look like: the forms of keys and tokens, and how random a text is."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

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
    ("private key", "PRIVATE KEY", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("signed token", "eyJ", r"eyJ[\w-]{10,400}\.[\w-]{10,4000}\.[\w-]{5,}"),
)
"""Secrets that can be told by their form alone: what each is, a text that it always holds, and its
form. The text is looked for first, which is fast; the form is compiled where it is found.
"""

_RANDOM_FORMS = (
    ("bearer token", "earer", r"[Bb]earer\s+([\w.~+/-]{20,}=*)"),
    ("password in an address", "://", r"://[^\s:/@\0]+:([^\s:/@\0]{4,})@"),
)
"""Those of which a part must look random too."""

_PLACEHOLDER = re.compile(
    r"[*x.#]+|[$%<].*|(?:env|file):.*|(?:your|my[_-]|example|changeme).*", re.I
)


def find_secret_forms(text: str) -> Iterator[tuple[str, int, int]]:
    """What each secret with a form of its own is, and where it starts and ends."""
    for kind, literal, form in SECRET_FORMS:
        if literal in text:
            for match in re.finditer(form, text):
                yield kind, match.start(), match.end()
    for kind, literal, form in _RANDOM_FORMS:
        if literal in text:
            for match in re.finditer(form, text):
                if looks_random(match[1]):
                    yield kind, match.start(1), match.end(1)


def is_placeholder(value: str) -> bool:
    """Whether a value only shows where a secret would stand: `$KEY`, `****`, `your-key-here`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def looks_random(value: str) -> bool:
    """Whether a value is more than a word: no placeholder, of two kinds of characters, varied."""
    if is_placeholder(value):
        return False
    kinds = [any(map(test, value)) for test in (str.isdigit, str.islower, str.isupper)]
    kinds.append(not value.rstrip(".!?").isalnum())
    return sum(kinds) >= 2 and not value.istitle() and entropy_bits(value) >= 2.5


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
