"""The lines that findings are about, and which part of each, without any secret."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.configs.checking.report import CheckReport
from modelyard.core.errors import Diagnostic
from modelyard.core.wording import visible_text
from modelyard.secrets.detection import MASK, find_secrets, mask_secrets

# What YAML ends a line at: https://yaml.org/spec/1.1/#id871136
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_WORD = re.compile(r"\"[^\"]*\"|'[^']*'|[^\s:,\[\]{}#]+")
_END_OF_KEY = re.compile("-----END [A-Z ]*-----")
_TAB = "    "
_DOTS = "..."
_LARGEST_SHOWN_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of a file."""

    written: str
    """As it stands there; never shown."""
    masked: str
    """The same with its secrets masked, those included that it is only a part of."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is shown of a line."""

    text: str
    """The line, or the part of it around the place."""
    indent: int
    """Columns of a terminal before the place."""
    width: int
    """Columns that the place takes."""


def findings_with_excerpts(
    report: CheckReport, *, widest: int
) -> Iterator[tuple[Diagnostic, Excerpt | None]]:
    """Each finding with the line that it is about; None when there is nothing to show of it."""
    files: dict[str, list[SourceLine]] = {}
    for finding in report.findings:
        file, line, column = finding.place
        if file not in files:
            files[file] = _read_lines(report.start / file)
        known = line <= len(files[file])
        yield finding, excerpt(files[file][line - 1], column, widest=widest) if known else None


def _read_lines(path: Path) -> list[SourceLine]:
    """The lines of a file, or none when it cannot be shown: a finding says why."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_SHOWN_BYTES:
            return []
        return source_lines(path.read_text(encoding="utf-8-sig", errors="replace"))
    except OSError:
        return []


def source_lines(text: str) -> list[SourceLine]:
    """The lines of a file, numbered as YAML does, with their secrets masked."""
    written = _LINE_END.split(text)
    masked = _LINE_END.split("".join(_without_secrets(text)))
    return [
        SourceLine(line, mask_secrets(shown)) for line, shown in zip(written, masked, strict=True)
    ]


def _without_secrets(text: str) -> Iterator[str]:
    """The text with every secret masked, and each of its lines still there."""
    end = 0
    for secret in find_secrets(text):
        if secret.start < end:
            continue  # within a key that is masked already
        yield text[end : secret.start]
        end = _end_of_key(text, secret.end) if secret.kind == "private key" else secret.end
        line_ends = _LINE_END.findall(text, secret.start, end)
        yield MASK + "".join(f"{line_end}{MASK}" for line_end in line_ends)
    yield text[end:]


def _end_of_key(text: str, begin: int) -> int:
    """Where the lines of a private key end: with its last line, else with the file."""
    last = _END_OF_KEY.search(text, begin)
    return last.end() if last else len(text)


def excerpt(line: SourceLine, column: int, *, widest: int = 120) -> Excerpt:
    """The part of a line around a column (from 1), at most about `widest` letters.

    Where the column lies behind a masked secret, the place is the mask.
    """
    start = min(column - 1, len(line.written))
    if line.masked != line.written:
        start = min(start, _common_length(line.written, line.masked))
    word = _WORD.match(line.masked, start)
    end = word.end() if word else start + 1
    cut = max(0, start - widest // 2) if len(line.masked) > widest else 0
    shown = line.masked[cut : cut + widest]
    before = _DOTS if cut else ""
    after = _DOTS if cut + widest < len(line.masked) else ""
    marked = line.masked[start : min(end, cut + widest)]
    return Excerpt(
        text=f"{before}{_plain(shown)}{after}",
        indent=len(before) + _columns(_plain(line.masked[cut:start])),
        width=max(1, _columns(_plain(marked))),
    )


def _common_length(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))


def _plain(text: str) -> str:
    return visible_text(text.replace("\t", _TAB))


def _columns(text: str) -> int:
    """The columns of a terminal that a text takes."""
    return sum(map(_letter_columns, text))


def _letter_columns(letter: str) -> int:
    if letter.isascii():
        return 1
    if unicodedata.combining(letter) or unicodedata.category(letter) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
