"""How many bytes of a text one token can stand for: what bounds the tokens of a text from below.

Counting the tokens of millions of bytes takes seconds. Where no token of a tokenizer stands for
more than N bytes, a text of B bytes has at least B / N tokens, and one that cannot fit a context
need not be counted.
"""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from modelyard.core.json_reading import parse_json

_KEEPING = ("ByteLevel", "Digits")
"""Ways to split a text that keep every byte of it."""


def longest_token_bytes(tokenizer: Tokenizer) -> int | None:
    """The most bytes of a text that one token stands for; None where that is not known for sure.

    It is known of byte-level BPE that changes nothing of a text before it is split: there each
    character of a token's name is one byte (Radford et al., Language Models are Unsupervised
    Multitask Learners, 2019, section 2.2).
    """
    form = parse_json(tokenizer.to_str())
    splits = _parts(form["pre_tokenizer"])
    if form["normalizer"] is not None or form["model"]["type"] != "BPE":
        return None
    if "ByteLevel" not in [each["type"] for each in splits] or not all(map(_keeps, splits)):
        return None
    added = form["added_tokens"]
    if any(each["lstrip"] or each["rstrip"] for each in added):  # which take spaces along
        return None
    longest = max(map(len, form["model"]["vocab"]), default=1)
    return max([longest, *(len(each["content"].encode()) for each in added)])


def _parts(splitter: dict[str, Any] | None) -> list[dict[str, Any]]:
    if splitter is None:
        return []
    parts: list[dict[str, Any]] = splitter.get("pretokenizers", [splitter])
    return parts


def _keeps(splitter: dict[str, Any]) -> bool:
    kind = splitter["type"]
    return kind in _KEEPING or (kind == "Split" and splitter["behavior"] != "Removed")
