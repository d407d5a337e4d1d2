"""The forms of keys and tokens that are recognisable by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.secrets.randomness import looks_random

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
"""Secrets recognisable by form alone: what each is, a text that it always contains, and its
form. The text is looked for first, which is fast; the form is compiled where it is found.
"""

_RANDOM_FORMS = (
    ("bearer token", "earer", r"[Bb]earer\s+([\w.~+/-]{20,}=*)"),
    ("password in an address", "://", r"://[^\s:/@\0]+:([^\s:/@\0]{4,})@"),
)
"""Forms of which a part must also look random."""


def find_secret_forms(text: str) -> Iterator[tuple[str, int, int]]:
    """The kind, start and end of each secret with a form of its own."""
    for kind, literal, form in SECRET_FORMS:
        if literal in text:
            for match in re.finditer(form, text):
                yield kind, match.start(), match.end()
    for kind, literal, form in _RANDOM_FORMS:
        if literal in text:
            for match in re.finditer(form, text):
                if looks_random(match[1]):
                    yield kind, match.start(1), match.end(1)
