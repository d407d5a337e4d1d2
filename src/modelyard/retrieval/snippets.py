"""Snippets: the few lines of a chunk with the most terms of a query, which are marked.

In a page the terms of the headings above a line count as its own, so a command is shown rather than
the heading that names what it does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.terms import find_words

_LINES = 4
_LONGEST_LINE = 300
_HEADING = re.compile(r"#{1,6}\s+\S")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([\w-]*)")
_PROMPT = re.compile(r"\s*\$ \S")
_SHELLS = frozenset({"", "sh", "bash", "zsh", "shell", "console", "shell-session"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of a chunk."""

    text: str
    """Its lines."""
    first_line: int
    """The first of them in the file."""
    marks: tuple[tuple[int, int], ...] = ()
    """The matches, as (start, end) in the text."""

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces, each with whether it is a match."""
        place = 0
        for start, end in self.marks:
            yield self.text[place:start], False
            yield self.text[start:end], True
            place = end
        yield self.text[place:], False


def chunk_snippet(chunk: Chunk, terms: Collection[str]) -> Snippet:
    """The snippet of a chunk, with its line in the file.

    That is the first line of the chunk where its text is not a line of the file: for a message
    template, a series, a page of a PDF, or a web page whose blocks are apart.
    """
    text_line = _line_of_text(chunk)
    title = chunk.title if chunk.kind == "section" else None
    snippet = make_snippet(chunk.text, terms, first_line=text_line or chunk.first_line, page=title)
    return snippet if text_line else replace(snippet, first_line=chunk.first_line)


def _line_of_text(chunk: Chunk) -> int | None:
    """The line where the text of a chunk begins, which is below its heading; None if unknown."""
    rows = chunk.text.count("\n") + 1
    if chunk.kind in ("template", "series") or "page" in chunk.facts:
        return None
    text_line = chunk.last_line - rows + 1
    is_page = chunk.facts.get("language") == "html"
    return text_line if not is_page or text_line == chunk.first_line else None


def make_snippet(
    text: str, terms: Collection[str], *, first_line: int = 1, page: str | None = None
) -> Snippet:
    """At most a few lines, those with the most terms; the earliest of equals.

    first_line: where the text begins in its file.
    page: the title of a section of a page; None where `#` begins no heading.
    """
    lines = text.split("\n")
    wanted = frozenset(_without_parts_of_pairs(terms))
    matches = [_matches(line, wanted) for line in lines]
    terms_of_lines = [frozenset[str]().union(*(has for _, _, has in line)) for line in matches]
    if page is None:
        begins = [_count_terms(terms_of_lines, at) for at in range(len(lines))]
        best = max(range(len(lines)), key=lambda at: (begins[at], -at), default=0)
    else:
        best = _best_line_of_page(lines, terms_of_lines, _terms_of(page, wanted))
    last = min(best + _LINES, len(lines))
    while last > best and not lines[last - 1].strip():
        last -= 1
    shown: list[str] = []
    marks: list[tuple[int, int]] = []
    place = 0
    for line, found in zip(lines[best:last], matches[best:last], strict=True):
        begin, stop = _window(line, found[0][0] if found else 0)
        before, after = "…" * (begin > 0), "…" * (stop < len(line))
        moved = place + len(before) - begin
        marks += [(at + moved, end + moved) for at, end, _ in found if begin <= at and end <= stop]
        shown.append(before + line[begin:stop] + after)
        place += len(shown[-1]) + 1
    return Snippet(text="\n".join(shown), first_line=first_line + best, marks=tuple(marks))


_Match = tuple[int, int, frozenset[str]]
"""Start and end of a word in its line, and the terms of the query that it has."""


def _matches(line: str, wanted: frozenset[str]) -> list[_Match]:
    """The words with terms of the query; pairs of characters that overlap are one match."""
    matches: list[_Match] = []
    for start, end, has in find_words(line):
        found = wanted.intersection(has)
        if found and matches and start < matches[-1][1]:
            first, _, before = matches.pop()
            matches.append((first, end, before | found))
        elif found:
            matches.append((start, end, found))
    return matches


def _without_parts_of_pairs(terms: Collection[str]) -> Iterator[str]:
    """The terms, less each single character that a pair of them has: it would be marked alone."""
    pairs = [term for term in terms if len(term) == 2 and not term.isascii()]
    for term in terms:
        if len(term) > 1 or not any(term in pair for pair in pairs):
            yield term


def _terms_of(text: str, wanted: frozenset[str]) -> frozenset[str]:
    return frozenset[str]().union(*(has for _, _, has in _matches(text, wanted)))


def _best_line_of_page(
    lines: Sequence[str], terms_of_lines: list[frozenset[str]], title: frozenset[str]
) -> int:
    """Where the snippet of a section begins: with its headings it has the most terms, and then a
    command, and then itself the most terms."""
    above: list[frozenset[str]] = []
    commands: list[bool] = []
    fence, is_shell, under = "", False, title
    for line, has in zip(lines, terms_of_lines, strict=True):
        marker = _FENCE.match(line)
        is_command = False
        if marker and (not fence or marker[1].startswith(fence)):
            fence, is_shell = ("" if fence else marker[1]), marker[2].lower() in _SHELLS
        elif fence:
            is_command = is_shell and bool(line.strip()) and not line.lstrip().startswith("#")
        elif _HEADING.match(line):
            under = title | has
        else:
            is_command = bool(_PROMPT.match(line))
        above.append(under)
        commands.append(is_command)

    def worth(at: int) -> tuple[int, bool, tuple[int, int], bool, int]:
        shown = slice(at, at + _LINES)
        together = frozenset[str]().union(*terms_of_lines[shown], *above[shown])
        has_command = bool(together) and any(commands[shown])
        return (
            len(together),
            has_command,
            _count_terms(terms_of_lines, at),
            bool(lines[at].strip()),
            -at,
        )

    return max(range(len(lines)), key=worth)


def _count_terms(terms_of_lines: list[frozenset[str]], at: int) -> tuple[int, int]:
    """How many terms the snippet from this line has, and whether its first line has any."""
    together = frozenset[str]().union(*terms_of_lines[at : at + _LINES])
    return len(together), int(bool(terms_of_lines[at]))


def _window(line: str, first_match: int) -> tuple[int, int]:
    """The part of a line that is shown, as (start, end), around its first match."""
    if len(line) <= _LONGEST_LINE:
        return 0, len(line)
    start = max(0, first_match - _LONGEST_LINE // 4)
    return start, min(start + _LONGEST_LINE, len(line))
