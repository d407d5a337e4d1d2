"""Scoring answers: whole words, compared as people read them.

Knows text only. Does not know where answers come from or what share of them is enough.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u02b9\u2032\u00b4`"), "'")
_MINUS = {ord("\u2212"): "-", ord("\u2044"): "/"}
_SMALL_DIGIT = re.compile(
    "(?<=[0-9])(?=[\u00bc-\u00be\u2150-\u215e\u00b9\u00b2\u00b3\u2070-\u2089])"
)
_SPACED_THOUSANDS = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)")
_POSSESSIVE = re.compile(r"(?<=[^\W_])'s(?![^\W_])")
_INNER_APOSTROPHE = re.compile(r"(?<=[^\W_])'(?=[^\W_])")
_BREAKS = " \n\t_"
"""Each separates two words, whatever stands around it."""
_WORD = re.compile(
    r"(?:(?<![^\s(\[£$€¥])-(?=\d))?"  # a minus, and not the hyphen of a range or a name
    r"[^\W_]*\d(?:[.:/]\d+)*[^\W_]*"  # a number with what belongs to it: 2.5, 9:30, 25th, v2.1
    r"|[^\W_]+"
    r"|[£$€¥%+#&@°]"
)


def answer_meets(answer: str, expect: Sequence[Sequence[str]]) -> bool:
    """Whether the answer contains, for every group of `expect`, at least one of its alternatives.

    Compared are whole words and whole numbers, without regard to case, punctuation, the kind of
    apostrophe or hyphen, or the comma in 1,000. "25" is not in "250", "2.25" or "25th". Nothing
    expected is nothing met.
    """
    text = _spaced(answer)
    return bool(expect) and all(
        any(_spaced(wanted).strip() and _spaced(wanted) in text for wanted in group)
        for group in expect
    )


def labels_exact(answer: str, label: str) -> bool:
    """Whether the whole answer is this label, without regard to case, punctuation or `_`."""
    found, wanted = _spaced(answer), _spaced(label)
    return found == wanted if wanted.strip() else answer.strip() == label.strip()


def may_become_label(beginning: str, label: str) -> bool:
    """Whether an answer that begins like this can still be `label`, as `labels_exact` compares.

    Nothing that follows changes the words before the last break: they must begin the label.
    """
    settled = beginning[: max(beginning.rfind(mark) for mark in _BREAKS) + 1]
    words = _words(settled)
    return words == _words(label)[: len(words)]


def _spaced(text: str) -> str:
    """The words of a text, each between two spaces."""
    return f" {' '.join(_words(text))} "


def _words(text: str) -> list[str]:
    """The words and numbers of a text, in the one form in which they are compared."""
    text = _SPACED_THOUSANDS.sub("", text.translate(_APOSTROPHES))
    text = unicodedata.normalize("NFKC", _SMALL_DIGIT.sub(" ", text))
    text = unicodedata.normalize("NFKC", text.casefold()).translate(_MINUS)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    text = _INNER_APOSTROPHE.sub("", _POSSESSIVE.sub("", text))
    return _WORD.findall(text)
