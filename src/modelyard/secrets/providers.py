"""Tokens of about 300 providers, by the rules of Kingfisher, MongoDB's scanner.

It runs in this process and sends nothing; its rules are loaded only for a text with something that
could be a token. Loading takes a quarter of a second, and some seconds the first time on a machine:
the compiled rules are kept in `$KF_RULE_CACHE_DIR`, else beside the base models in the cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.layout import cache_folder

if TYPE_CHECKING:
    from kingfisher_sdk import Finding, Scanner

_SHORTEST_TOKEN = 20
_TOKEN_BYTES = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_+/=.~-"
_TO_TOKEN_BYTES = bytes(code if code in _TOKEN_BYTES else 32 for code in range(256))
_MARKS_TO_SPACES = bytes(32 if code in b"()[]{}<>|,!?*&@#" else code for code in range(256))
_MIXED = re.compile(rb"[0-9][A-Za-z]")
_BETWEEN_PARTS = re.compile(r"[-_+/=.~]+")
_PLAIN_PART = re.compile(r"[A-Za-z]*[0-9]{0,4}|[0-9]+[A-Za-z]{0,3}")
"""A part of a name, a version or a size: `minilm`, `L6`, `20241022`, `135M`."""
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A commit, or a SHA-256; where such a word is a secret, its randomness finds it (forms.py)."""
_NO_PROVIDER = ("betterleaks.generic-", "betterleaks.curl-")
"""Rules for what is not a provider's: named.py has ours, with fewer false alarms."""
_NO_SECRET = ("client-id", "public-key")
_SHORTEST_SECRET = 8
_MOST_LOOKED_FOR = 100
"""Tokens whose other places are looked for; a text with more has them one by one."""


def find_provider_tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """The kind, start and end of each token of a provider, in no order.

    Some are recognised only by the words beside them, and are then found at their other places too.
    """
    if not may_hold_token(text):
        return
    data = text.encode("utf-8", "replace")
    kinds: dict[str, str] = {}
    places: dict[tuple[int, int], str] = {}
    for finding in (*_scanner().scan(data), *_scanner().scan(_with_spaces_after_words(data))):
        secret, kind = finding.secret, _kind(finding)
        if kind and len(secret) >= _SHORTEST_SECRET:
            place = finding.location["start_offset"], finding.location["end_offset"]
            if data[slice(*place)] == secret.encode():
                places[place] = kind
            if len(kinds) < _MOST_LOOKED_FOR:
                kinds.setdefault(secret, kind)
    position = letters = 0
    for (start, end), kind in sorted(places.items()):
        letters += len(data[position:start].decode("utf-8", "ignore"))
        position = start
        yield kind, letters, letters + len(data[start:end].decode("utf-8", "ignore"))
    for secret, kind in kinds.items():
        for found in re.finditer(re.escape(secret), text):
            yield kind, *found.span()


def _with_spaces_after_words(data: bytes) -> bytes:
    """The same words apart from marks: many rules want a space or a quote after the token."""
    data = data.translate(_MARKS_TO_SPACES) + b" "
    for end in (b" ", b"\n", b"\r"):
        data = data.replace(b"." + end, b" " + end)
    return data


def may_hold_token(text: str) -> bool:
    """Whether a text has a long word that is more than names, versions and numbers joined."""
    for word in text.encode("ascii", "replace").translate(_TO_TOKEN_BYTES).split():
        if len(word) >= _SHORTEST_TOKEN and _MIXED.search(word):
            steps = word.decode().split("/")
            if not all(is_plain(step) or _DIGEST.fullmatch(step) for step in steps):
                return True
    return False


def is_plain(word: str) -> bool:
    """Whether a word is only names, versions and numbers joined: `all-minilm-l6-v2`."""
    return all(map(_PLAIN_PART.fullmatch, _BETWEEN_PARTS.split(word)))


def _kind(finding: Finding) -> str:
    """What was found, such as `sendgrid api token`; empty where it is no secret of a provider."""
    rule, name = finding.rule_id, finding.rule_name
    if not finding.visible or rule.startswith(_NO_PROVIDER) or rule.endswith(_NO_SECRET):
        return ""
    # Some names are a sentence, and those rules have ids of words.
    if "," in name or name.endswith("."):
        return re.sub(r"\.\d+$", "", rule.partition(".")[2]).replace("-", " ")
    return name


@cache
def _scanner() -> Scanner:
    from kingfisher_sdk import Rules, Scanner

    folder = rule_cache_folder()
    with suppress(OSError):  # where nothing can be written, the rules are compiled each time
        folder.parent.mkdir(parents=True, exist_ok=True)  # else made for this user alone
    return Scanner(Rules(confidence="medium", cache_dir=folder), base64=False)


def rule_cache_folder() -> Path:
    """The folder of the compiled rules: `$KF_RULE_CACHE_DIR`, else one beside the base models."""
    chosen = os.environ.get("KF_RULE_CACHE_DIR")
    return Path(chosen) if chosen else cache_folder() / "secret-rules"
