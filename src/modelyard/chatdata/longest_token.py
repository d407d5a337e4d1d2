"""How much of a text one token can stand for: what bounds the tokens of a text from below.

Counting the tokens of millions of bytes takes seconds, changing them as the tokenizer's normalizer
does a tenth of that. Where no token stands for more than N bytes of that text, a text of B bytes
has at least B / N tokens, and one that cannot fit a context need not be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer

from modelyard.core.json_reading import parse_json

_KEEPING = ("ByteLevel", "Digits", "Metaspace")
"""Ways to split a text that keep every byte of it."""
_CHANGING = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Prepend")
"""Ways to change a text that leave no less of its parts than of the whole: control tokens are cut
out before, and each part between them is changed alone."""
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
"""The tokens of single bytes in a tokenizer of SentencePiece."""

LeastTokens = Callable[[str], int]
"""Tokens that a text has at least."""


def least_tokens_by(tokenizer: Tokenizer) -> LeastTokens | None:
    """What says how many tokens a text has at least; None where that is not known for sure.

    It is known of two kinds of BPE: byte-level, where each character of a token's name is one byte
    (Radford et al., Language Models are Unsupervised Multitask Learners, 2019, section 2.2), and
    that of SentencePiece, where it is one character and what no token has is written in bytes
    (Kudo and Richardson, SentencePiece, 2018; `byte_fallback`). Not of Unigram and WordPiece, where
    one token stands for any number of characters that the vocabulary lacks.
    """
    form = parse_json(tokenizer.to_str())
    model, splits = form["model"], _parts(form["pre_tokenizer"], "pretokenizers")
    if model["type"] != "BPE" or not all(map(_keeps, splits)):
        return None
    if not all(map(_leaves_parts, _parts(form["normalizer"], "normalizers"))):
        return None
    added = form["added_tokens"]
    if any(each["lstrip"] or each["rstrip"] for each in added):  # which take spaces along
        return None
    is_byte_level = "ByteLevel" in [each["type"] for each in splits]
    if not is_byte_level and not (model.get("byte_fallback") and model["vocab"].keys() >= _BYTES):
        return None
    named = max(map(len, model["vocab"]), default=1)
    longest = max([named, *(_size(each["content"], is_byte_level) for each in added)])
    normalizer = tokenizer.normalizer

    def least(text: str) -> int:
        if normalizer is not None:
            text = normalizer.normalize_str(text.encode("utf-8", "replace").decode())
        return _size(text, is_byte_level) // longest

    return least


def _size(text: str, is_byte_level: bool) -> int:
    """Of a text in the units of tokens: bytes, or characters."""
    return len(text.encode("utf-8", "surrogatepass")) if is_byte_level else len(text)


def _parts(whole: dict[str, Any] | None, of_sequence: str) -> list[dict[str, Any]]:
    if whole is None:
        return []
    parts: list[dict[str, Any]] = whole.get(of_sequence, [whole])
    return parts


def _keeps(splitter: dict[str, Any]) -> bool:
    kind = splitter["type"]
    return kind in _KEEPING or (kind == "Split" and splitter["behavior"] != "Removed")


def _leaves_parts(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":  # of one character, wherever it stands
        return len(normalizer["pattern"].get("String", "")) == 1
    return normalizer["type"] in _CHANGING
