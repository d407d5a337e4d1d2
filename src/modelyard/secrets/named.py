"""Secrets recognised by what names them: a key, an option, an element, a table header, a sentence.

Nothing is parsed: the same forms occur in configs, in fenced code of a page, in comments and in
strings, and a broken file may contain a secret too. A name is found first; what follows it decides
the form of the value, and how much the value must look like a secret. After `password:` any word
counts, in a sentence only a value that is unlike words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from modelyard.secrets.forms import (
    before_in_line,
    is_placeholder,
    is_random_value,
    is_unlike_words,
    lower_in_place,
)

Span = tuple[int, int]
"""Start and end of a secret, in characters from 0."""

_NAMES = re.compile(
    r"(?:(?P<password>pass(?:word|wd|phrase|code)|pwd|pass(?![a-z]))"
    r"|secret|token|credential"
    r"|(?:api|access|private|account|shared|secret|signing|encryption|master|auth|client)"
    r"[_ -]?(?:access[_ -]?)?key)"
    r"s?(?:[_-]?(?:key|value|[0-9]{1,2}))?(?![a-z0-9_])"
)
"""Names of secrets, in lowercase; the name ends there: not in `tokens_per_batch`."""

_VALUE = (
    r"""(?:"(?P<double>[^"\n]{0,999})"|'(?P<single>[^'\n]{0,999})'"""
    r"""|(?P<plain>[^\s"'`;,|<>]{1,999}))"""
)

_ASSIGNED = re.compile(rf"""["']?[ \t]*[:=][ \t]*{_VALUE}""")
_OPTION = re.compile(rf"""(?:=|[ \t]+|["'],[ \t]*){_VALUE}""")
_PAIRED = re.compile(rf"""["']?\s{{0,9}},?\s{{0,99}}["']?[Vv]alue["']?[ \t]*[:=][ \t]*{_VALUE}""")
_PAIR_BEFORE = re.compile(r"""(?i:\b(?:name|key))["']?[ \t]*[:=][ \t]*["']?[\w.-]*\Z""")
_ELEMENT = re.compile(
    r"(?:[ \t][^<>\n]{0,300})?>\s{0,99}(?:<!\[CDATA\[)?(?P<plain>[^<>]{1,999}?)\s{0,99}(?:\]\]>)?</"
)
_ELEMENT_BEFORE = re.compile(r"<[\w.:-]*\Z")
_OPTION_BEFORE = re.compile(r"--?[A-Za-z][\w-]*-\Z|--\Z|(?<=\s)-\Z")
_BLOCK = re.compile(r"""["']?[ \t]*:[ \t]*(?:[!&]\S+[ \t]+)*[|>][0-9+-]{0,3}[ \t]*(?:#.*)?\r?\n""")
_NEXT_LINE = re.compile(r"""["']?[ \t]*:[ \t]*(?:#.*)?\r?\n""")
_ALONE = re.compile(
    r"""[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'#][^\s"']*))[ \t]*,?[ \t]*(?:#.*)?\r?$""", re.M
)
_ITEM = re.compile(
    r"""[ \t]*-[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'#][^\s"']*))[ \t]*(?:#.*)?\r?$""", re.M
)
_LIST = re.compile(r"""["']?[ \t]*(?::[^=\n]{0,40}=|[:=])[ \t]*[\[(]([^\[\])]{1,9999})[\])]""")
_LISTED = re.compile(r"""(?P<quote>["'])([^"'\n]*)(?P=quote)|([^\s,"']+)""")
_SENTENCE = re.compile(
    r"(?:(?:[ \t]+(?:for|of|to|on|in)(?:[ \t]+[\w'.-]{1,40}){1,5}?)?"
    r"(?P<verb>[ \t]+(?:is|was|are|be|becomes|equals)(?:[ \t]+(?:now|still|simply|just))?:?"
    r"|[ \t]*[:=]|[ \t]+set[ \t]+to))?"
    r"[ \t]+[`'\"(*_]{0,4}(?P<plain>[^\s`'\"|<>]{6,200})"
)
_RULE_OF_TABLE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*\r?")

_OPTIONS_OF_TOOLS = (
    ("mysql", r"\bmysql\w*[^\n|;]{0,300}?\s-p(?P<plain>[^\s\"'=-][^\s\"']{3,199})"),
    ("maria", r"\bmaria\w*[^\n|;]{0,300}?\s-p(?P<plain>[^\s\"'=-][^\s\"']{3,199})"),
    ("mysql", r"\bmysql\w*[^\n|;]{0,300}?\s-p([\"'])(?P<plain>[^\"'\n]{4,199})\1"),
    ("sshpass", r"\bsshpass[ \t]+-p[ \t]*[\"']?(?P<plain>[^\s\"']{4,200})"),
    ("redis-cli", r"\bredis-cli[^\n|;]{0,300}?\s-a[ \t]+[\"']?(?P<plain>[^\s\"']{4,200})"),
    ("login", r"\blogin\b[^\n|;]{0,300}?\s-p[ \t]+[\"']?(?P<plain>[^\s\"']{4,200})"),
    (
        "curl",
        r"\bcurl\b[^\n|;]{0,500}?\s(?:-u|--user|--proxy-user)(?:[ \t]+|=)?[\"']?[^\s:\"'$]{1,200}:"
        r"(?P<plain>[^\s\"'@/][^\s\"']{3,199})",
    ),
    (
        "wget",
        r"\bwget\b[^\n|;]{0,500}?\s--(?:http-|ftp-)?password[= ][\"']?(?P<plain>[^\s\"']{4,200})",
    ),
)
"""Short options that mean a password only for one tool: a literal of each, and its form."""
_SHORT_OPTION = re.compile(
    r"(?<=\s)-p(?P<plain>(?=\S*[a-z])(?=\S*[A-Z])(?=\S*[0-9])"
    r"[^\s\"'=-][^\s\"'/*]{7,99})(?=\s|$)"
)
"""The option of an unknown tool; most use `-p` for something else."""
_IN_CONNECTION = re.compile(
    r"(?i:(?<=[;\"'])(?:password=|pwd=(?![/~.])|accountkey=|sharedaccesskey=))"
    r"(?P<plain>[^\s;\"'`{$%<]{4,300})"
)

_IN_PATH = re.compile(r"[-_= ]+([^/\s.]{8,})")

_NO_TEXT = re.compile(
    r"(?i:true|false|null|none|nil|yes|no|string|str|integer|required|optional|bytes|undefined|~)"
    r"|[-+.$]?[0-9][0-9_.,]*\s?[A-Za-z%]{0,2}|\d{4}-\d\d-\d\d.*"
)
"""Values that are never secrets."""
_EXPRESSION = re.compile(r"[A-Za-z_.]*[(\[{<].*|.*://.*|[A-Za-z_][\w.]*\(.*\)")
_CALL = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*(?:\(.*\)|\[.*)")
_POINTS_ELSEWHERE = re.compile(
    r"\.{0,2}/|~/|-|@|&[#a-z]|[\w.+-]+@[\w-]+\.\w+\Z|[A-Z][A-Z_]*\Z|[A-Za-z_.]+==?\w"
)
"""A path, an option, an address, an uppercase name, a setting: not a value itself."""
_AROUND = ".,;:!?)]}*_`'\""
_LONGEST_LOOK_BACK = 100
_LONGEST_HEADER = 1_000
_LONGEST_BLOCK = 20_000
"""How many characters of a block scalar are examined."""


class _Name(NamedTuple):
    """The place in a text where a secret is named."""

    start: int
    end: int
    is_password: bool
    """Any text may be a password; keys and tokens are random."""


def find_given_secrets(text: str, *, code: bool = False) -> Iterator[Span]:
    """The spans of all values given to names of secrets, in no order.

    code: the text is a program's, where a value without quotes is an expression.
    """
    lowered = lower_in_place(text)
    for match in _NAMES.finditer(lowered):
        if _begins_a_name(text, match.start()):
            name = _Name(match.start(), match.end(), match["password"] is not None)
            yield from _given_to(text, name, code=code)
    yield from _given_to_tools(text, lowered)


def is_no_value(value: str) -> bool:
    """Whether a key's value is a type, a switch or a call: `token: string`, `get_token()`."""
    return _NO_TEXT.fullmatch(value) is not None or _CALL.fullmatch(value) is not None


def is_named_secret(path: str) -> bool:
    """Whether a file or folder name contains a secret after a word for one: `token-8fk2...txt`."""
    lowered = lower_in_place(path).replace("_", "-")  # a name may end at either
    return any(
        _begins_a_name(path, match.start()) and is_random_value(given[1])
        for match in _NAMES.finditer(lowered)
        if (given := _IN_PATH.match(path, match.end()))
    )


def _begins_a_name(text: str, start: int) -> bool:
    """Whether a short word starts a name: not in `bypass`, but in `dbPass`."""
    short = text.startswith(("pass", "pwd"), start)
    long = text.startswith(("passw", "passp", "passc"), start)
    return not short or long or start == 0 or not text[start - 1].isalpha()


def _given_to(text: str, name: _Name, *, code: bool) -> Iterator[Span]:
    before = before_in_line(text, name.start, _LONGEST_LOOK_BACK)
    yield from _in_elements(text, name, before)
    yield from _paired(text, name, before)
    yield from _in_options(text, name, before)
    yield from _in_lists(text, name, code=code)
    yield from _assigned(text, name, code=code)
    yield from _in_sentences(text, name, code=code)
    if not code:
        yield from _below(text, name)
        yield from _in_columns(text, name)


def _in_elements(text: str, name: _Name, before: str) -> Iterator[Span]:
    if _ELEMENT_BEFORE.search(before) and (found := _ELEMENT.match(text, name.end)):
        value = found["plain"]
        if _may_be_given(value) and (
            (name.is_password and not re.search(r"\s", value)) or is_unlike_words(value)
        ):
            yield found.span("plain")


def _paired(text: str, name: _Name, before: str) -> Iterator[Span]:
    """The value beside a name: `- name: DB_PASSWORD` and below it `value: ...`."""
    if _PAIR_BEFORE.search(before) and (found := _PAIRED.match(text, name.end)):
        value, span = _value_of(found)
        if _may_be_given(value) and (name.is_password or is_unlike_words(value)):
            yield span


def _in_options(text: str, name: _Name, before: str) -> Iterator[Span]:
    if not _OPTION_BEFORE.search(before) or not (found := _OPTION.match(text, name.end)):
        return
    value, span = _value_of(found)
    if text[name.end] in "\"'":  # a list of words, in code mostly of names
        sure = is_random_value(value)
    else:
        quoted = found["plain"] is None and " " not in value
        sure = is_unlike_words(value) or (name.is_password and quoted)
    if sure and _may_be_given(value):
        yield span


def _in_lists(text: str, name: _Name, *, code: bool) -> Iterator[Span]:
    found = _LIST.match(text, name.end)
    if found is None:
        return
    for item in _LISTED.finditer(text, *found.span(1)):
        value, span = _value_of(item)
        any_text = name.is_password and not code
        if (item["quote"] or not code) and _is_listed_secret(value, any_text=any_text):
            yield span


def _is_listed_secret(value: str, *, any_text: bool) -> bool:
    """Values of a list; such lists may also hold names of secrets, or the tokens of a sentence."""
    return _may_be_given(value) and (is_random_value(value) or (any_text and " " not in value))


def _assigned(text: str, name: _Name, *, code: bool) -> Iterator[Span]:
    found = _ASSIGNED.match(text, name.end)
    if found is None or (code and found["plain"] is not None):
        return
    value, span = _value_of(found)
    if found["plain"] is not None:
        shown = value.rstrip(_AROUND)
        value = shown if is_placeholder(shown) or not name.is_password else value
        span = (span[0], span[0] + len(value))
    if _may_be_given(value) and " " not in value:
        ends = span[1] >= len(text) or text[span[1]] in "\"'\r\n,;}&"
        of_something = name.start > 0 and text[name.start - 1] in "_-"
        sure = name.is_password and ends
        if is_random_value(value) or (sure and (of_something or is_unlike_words(value))):
            yield span


def _in_sentences(text: str, name: _Name, *, code: bool) -> Iterator[Span]:
    """`My password is ...`, `passwd ...`: the value must be unlike words."""
    found = _SENTENCE.match(text, name.end)
    if found is None or text[name.start : name.end].lower() == "pass":
        return
    verb = (found["verb"] or "").strip()
    value = found["plain"].rstrip(_AROUND)
    if (code and verb in (":", "=")) or (not verb and "(" in value):
        return
    sure = name.is_password and verb != ""
    if _may_be_given(value) and (is_unlike_words(value) if sure else is_random_value(value)):
        yield found.start("plain"), found.start("plain") + len(value)


def _below(text: str, name: _Name) -> Iterator[Span]:
    """Values in the lines under a key: a block scalar, one scalar, a list."""
    if block := _BLOCK.match(text, name.end):
        yield from _in_block(text, name, block.end())
    elif start := _NEXT_LINE.match(text, name.end):
        if alone := _ALONE.match(text, start.end()):
            value, span = _value_of(alone)
            if _may_be_given(value) and is_unlike_words(value):
                yield span
        place = start.end()
        while item := _ITEM.match(text, place):
            value, span = _value_of(item)
            if _is_listed_secret(value, any_text=name.is_password):
                yield span
            place = item.end() + 1


def _in_block(text: str, name: _Name, start: int) -> Iterator[Span]:
    """The lines of a block scalar: those deeper than its key."""
    depth = _depth(text[text.rfind("\n", 0, name.start) + 1 : name.start])
    end = start
    while end < min(len(text), start + _LONGEST_BLOCK):
        stop = text.find("\n", end)
        stop = len(text) if stop < 0 else stop
        line = text[end:stop]
        if line.strip() and _depth(line) <= depth:
            break
        end = stop + 1
    inside = text[start:end].strip()
    if not inside or is_placeholder(inside):
        return
    if name.is_password or " " not in inside or any(map(is_unlike_words, inside.split())):
        first = start + len(text[start:end]) - len(text[start:end].lstrip())
        yield first, first + len(inside)


def _depth(line: str) -> int:
    """The indentation of a line; a list dash counts as part of it."""
    return len(line) - len(line.lstrip(" \t-"))


def _in_columns(text: str, name: _Name) -> Iterator[Span]:
    """The cells below a table header that ends with the name of a secret."""
    start = text.rfind("\n", max(0, name.start - _LONGEST_HEADER), name.start) + 1
    end = text.find("\n", name.end, name.end + _LONGEST_HEADER)
    if end < 0 or (start == 0 and name.start > _LONGEST_HEADER):
        return
    header = text[start:end]
    mark, place = _table_below(text, header, start, end)
    if not mark:
        return
    column, width = header.count(mark, 0, name.start - start), header.count(mark)
    heading = header.split(mark)[column].strip(" \t\r\"'`*_")
    if not heading.endswith(text[name.start : name.end]) or len(heading.split()) > 3:
        return
    while place < len(text):
        stop = text.find("\n", place)
        stop = len(text) if stop < 0 else stop
        cells = text[place:stop].split(mark)
        if len(cells) != width + 1 or _RULE_OF_TABLE.fullmatch(text, place, stop):
            return
        value = cells[column].strip(" \t\r\"'`*")
        sure = is_unlike_words(value) if name.is_password else is_random_value(value)
        if sure and _may_be_given(value):
            at = place + sum(len(cell) + 1 for cell in cells[:column]) + cells[column].index(value)
            yield at, at + len(value)
        place = stop + 1


def _table_below(text: str, header: str, start: int, end: int) -> tuple[str, int]:
    """The separator of a table with this header (or ""), and the start of its first row."""
    if "|" in header:
        stop = text.find("\n", end + 1)
        rule = text[end + 1 : stop]
        fits = stop > 0 and "-" in rule and _RULE_OF_TABLE.fullmatch(rule)
        return ("|", stop + 1) if fits else ("", 0)
    # A table has its header on top; any line of words with commas looks like one.
    if start > 0 or " " in header.strip():
        return "", 0
    return next((mark for mark in "\t;," if mark in header), ""), end + 1


def _given_to_tools(text: str, lowered: str) -> Iterator[Span]:
    for literal, form in _OPTIONS_OF_TOOLS:
        if literal in text:
            for found in re.finditer(form, text):
                if _may_be_given(found["plain"]):
                    yield found.span("plain")
    if "-p" in lowered:
        for found in _SHORT_OPTION.finditer(text):
            if _may_be_given(found["plain"]) and is_random_value(found["plain"]):
                yield found.span("plain")
    if any(key in lowered for key in ("password=", "pwd=", "accountkey=", "sharedaccesskey=")):
        for found in _IN_CONNECTION.finditer(text):
            if not is_placeholder(found["plain"]) and not _EXPRESSION.fullmatch(found["plain"]):
                yield found.span("plain")


def _value_of(found: re.Match[str]) -> tuple[str, Span]:
    """The value in double, in single or in no quotes: the one group that took part."""
    group = found.lastindex or 0
    return found[group], found.span(group)


def _may_be_given(value: str) -> bool:
    """Whether a value could be a secret: not a number, a placeholder or an expression."""
    return (
        len(value) >= 4
        and not is_placeholder(value)
        and not _NO_TEXT.fullmatch(value)
        and not _EXPRESSION.fullmatch(value)
        and not _POINTS_ELSEWHERE.match(value)
    )
