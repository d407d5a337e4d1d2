"""The regular expressions of an adapter's config: only those that come to an end.

PEFT compares them with the name of every module by Python's `re`, which can take longer than the
universe lasts and cannot be interrupted. So an expression is judged by its form, before anybody
uses it: without a repetition of a group its time is a polynomial in the length of a name, of a
degree that the number of its repetitions bounds.
"""

from __future__ import annotations

import re

MODULE = ".{1,200}"
"""A module's name within an expression; those of models have some 50 letters."""

_LONGEST = 10_000
_MOST_REPETITIONS = 5
"""Of a name of 45 letters each more costs about ten times as much: five take less than 10 ms."""

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_VERBOSE = re.compile(r"\(\?[a-zA-Z]*x")
"""The flag under which blanks and comments may stand between a group and its repetition."""
_PLAIN = re.compile(r"[\w.]+")


def why_not_usable(pattern: str) -> str | None:
    """What is wrong with a pattern of modules' names; None when it can be compared with them."""
    if len(pattern) > _LONGEST:
        return f"is {len(pattern):,} characters long, and at most {_LONGEST:,} are read"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    form = _CLASS.sub("x", _ESCAPE.sub("x", pattern))
    if _REPEATED_GROUP.search(form) or _VERBOSE.search(form):
        return "repeats a group, so that comparing it with a name may never end"
    if (repetitions := len(re.findall(r"[*+{]", form))) > _MOST_REPETITIONS:
        return f"has {repetitions} repetitions, and at most {_MOST_REPETITIONS} come to an end soon"
    return None


def is_plain(name: str) -> bool:
    """Whether a text is a module's name or a part of one, and no expression."""
    return _PLAIN.fullmatch(name) is not None
