"""What rows may hold by accident: placeholders, Windows line ends, blanks at the edges of texts.

None of it is wrong, and all of it is learned as it is: a person should know, and also which columns
of a table are left out. Does not know tokens.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from modelyard.chatdata.columns import list_keys
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.turns import MEDIA_MARK
from modelyard.core.wording import counted

_PLACEHOLDER = re.compile(
    r"\{\{\s*[A-Za-z_][\w .-]{0,40}\s*\}\}|\[(?:your|insert|enter)\b[^\[\]\n]{1,40}\]",
    re.IGNORECASE,
)
_MANY_ROWS = 3
_SHOWN = 3


def describe_text_marks(rows: Sequence[Conversation]) -> list[str]:
    """A line about each thing that is probably not meant to be learned, with how many rows."""
    windows = sum(any("\r\n" in turn.content for turn in row.messages) for row in rows)
    edges = sum(
        any(turn.content != turn.content.strip() for turn in row.messages)
        for row in rows
        if not row.is_plain_text
    )
    lines = [*_describe_placeholders(rows), *_describe_media_marks(rows)]
    if left_out := dict.fromkeys(column for row in rows for column in row.left_out):
        named = list_keys(list(left_out))
        lines.append(f"left out, because no template names them: columns {named}")
    if edges:
        lines.append(
            f"{counted(edges, 'row')} with whitespace around a text, which is learned as it is "
            "(--strip removes it)"
        )
    if windows:
        lines.append(
            f"{counted(windows, 'row')} with Windows line ends, which are learned as they are "
            "(--strip makes them plain)"
        )
    return lines


def _describe_placeholders(rows: Sequence[Conversation]) -> list[str]:
    """One line for all placeholders that many rows hold."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for turn in row.messages:
            for match in _PLACEHOLDER.finditer(turn.content):
                found[match[0]].add(row.source)
    many = sorted(
        ((text, sources) for text, sources in found.items() if len(sources) >= _MANY_ROWS),
        key=lambda pair: (-len(pair[1]), pair[0]),
    )
    if not many:
        return []
    named = ", ".join(f"{text} in {len(sources):,}" for text, sources in many[:_SHOWN])
    more = f" and {len(many) - _SHOWN:,} more" if len(many) > _SHOWN else ""
    total = len(set[str]().union(*(sources for _, sources in many)))
    return [
        f"{counted(total, 'row')} with placeholders that were not filled in, which are learned as "
        f"they are: {named}{more}"
    ]


def _describe_media_marks(rows: Sequence[Conversation]) -> list[str]:
    """A line for each mark of a picture that stands within texts."""
    holding = Counter(
        mark
        for row in rows
        for mark in {
            found.lower() for turn in row.messages for found in MEDIA_MARK.findall(turn.content)
        }
    )
    return [
        f"{counted(count, 'row')} with {mark} within a text, which is learned as these letters; no "
        "picture, film or sound is"
        for mark, count in sorted(holding.items())
    ]
