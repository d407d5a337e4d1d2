"""The front matter of a page, as static sites write it: YAML between `---`, TOML between `+++`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelyard.retrieval.reading.splitting import TextDocument, shorten

_ENDS = {"---": ("---", "..."), "+++": ("+++",)}
_LONGEST = 200
"""Lines."""
_KEY = re.compile(r"(title|description|summary)[ \t]*[:=][ \t]*(.*)", re.IGNORECASE)
_FOLDED = re.compile(r"[|>][+-]?[0-9]?(?:[ \t]*#.*)?")
"""A value of YAML that stands on the lines below."""

_COMMENT = re.compile(r"(?<=[\"'])[ \t]+#[^\"']*$|(?<![\"'])[ \t]#.*$")
"""A comment after a value."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What stands before the text of a page."""

    end: int
    """The line after it; 0 when there is none."""
    title: str
    """What it calls the page, or empty."""
    description: str
    """What it says the page is about, or empty."""


NO_FRONT_MATTER = FrontMatter(0, "", "")


def read_front_matter(document: TextDocument) -> FrontMatter:
    """The front matter at the first line with text; read line by line, so it may be invalid."""
    begin, _ = document.trim(0, len(document.lines))
    opening = document.lines[begin].rstrip() if begin < len(document.lines) else ""
    for line in range(begin + 1, min(len(document.lines), begin + _LONGEST)):
        if document.lines[line].rstrip() in _ENDS.get(opening, ()):
            found = _values(document, begin + 1, line)
            about = found.get("description") or found.get("summary", "")
            return FrontMatter(line + 1, found.get("title", ""), about)
    return NO_FRONT_MATTER


def _values(document: TextDocument, start: int, end: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in range(start, end):
        match = _KEY.match(document.lines[row])
        if match is None:
            continue
        value = match[2].strip()
        below = row + 1
        if _FOLDED.fullmatch(value):
            value = ""
        value = _COMMENT.sub("", value)
        while below < end and document.lines[below][:1] in (" ", "\t"):
            value += f" {document.lines[below].strip()}"
            below += 1
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1]
        found.setdefault(match[1].lower(), shorten(value))
    return found
