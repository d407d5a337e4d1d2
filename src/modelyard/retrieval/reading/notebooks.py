"""Jupyter notebooks (nbformat 4): cells and the text of their outputs, without pictures.

A chunk stands on the lines of the `.ipynb` file that hold it. JSON has no positions once it is
parsed, so the cells are decoded one by one, and their lines are matched with those of the file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import JSONDecoder
from typing import Any, Protocol

from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.code import code_pieces
from modelyard.retrieval.reading.grammars import GRAMMARS
from modelyard.retrieval.reading.markdown import markdown_pieces
from modelyard.retrieval.reading.splitting import (
    CountTokens,
    Piece,
    TextDocument,
    make_document,
    paragraph_starts,
    split_into_chunks,
)
from modelyard.retrieval.reading.terminal_text import strip_ansi

_LONGEST_OUTPUT = 20_000
"""Characters of a cell's output that are read."""
_SPACE = re.compile(r"[ \t\r\n]*")
_LANGUAGE = re.compile(r"[a-z0-9+#._-]{1,30}")


class Redact(Protocol):
    """Masks secrets, line for line; `quoted_only` for the text of a program."""

    def __call__(self, text: str, *, quoted_only: bool = False) -> str: ...


class BrokenNotebook(ValueError):
    """A file that is called a notebook is none; the message is the reason that is reported."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """One cell, and where it stands in the file."""

    value: Mapping[str, Any]
    raw: Sequence[str]
    """The lines of the file that it is written on."""
    first: int
    """The first of them, from 1."""


def read_notebook(text: str, limit: int, count_tokens: CountTokens, redact: Redact) -> list[Chunk]:
    """The chunks of a notebook: sections of its Markdown, code cells and outputs.

    Each stands under the headings of the Markdown above it. `cell` of its facts is the cell's
    number from 1. Raises BrokenNotebook.
    """
    cells, language = _read_cells(text)
    chunks: list[Chunk] = []
    trail = ""
    for number, cell in enumerate(cells, 1):
        kind = cell.value.get("cell_type")
        facts = {"cell": str(number)}
        source = _joined(cell.value.get("source"))
        if source.strip():
            is_code = kind == "code"
            shown = redact(source, quoted_only=is_code)
            document = make_document(shown, limit, count_tokens)
            if kind == "markdown":
                pieces = _under(trail, list(markdown_pieces(document)), facts)
                trail = pieces[-1].title if pieces else trail
            elif is_code:
                pieces = _code(document, language, trail, facts)
            else:
                pieces = [_whole(document, "text", trail, facts)]
            chunks.extend(_placed(document, pieces, cell, "source", source))
        output = _output_of(cell.value)
        if kind == "code" and output.strip():
            document = make_document(redact(output), limit, count_tokens)
            pieces = [_whole(document, "output", trail, facts)]
            chunks.extend(_placed(document, pieces, cell, "outputs", output))
    return chunks


def _read_cells(text: str) -> tuple[list[_Cell], str]:
    """The cells of a notebook and the language of its code."""
    try:
        whole = parse_json(text)
    except InvalidJson as error:
        raise BrokenNotebook("not a notebook: broken JSON") from error
    if not isinstance(whole, dict) or not isinstance(whole.get("cells"), list):
        raise BrokenNotebook("not a notebook: it has no cells")
    cells = [cell for cell in _cells_with_lines(text) if isinstance(cell.value, dict)]
    return cells, _language(whole.get("metadata"))


def _language(metadata: object) -> str:
    """What the notebook says its code is written in; Python where it does not say."""
    for group, key in (("language_info", "name"), ("kernelspec", "language")):
        about = metadata.get(group) if isinstance(metadata, dict) else None
        named = about.get(key) if isinstance(about, dict) else None
        if isinstance(named, str) and _LANGUAGE.fullmatch(named.lower()):
            return named.lower()
    return "python"


def _cells_with_lines(text: str) -> Iterator[_Cell]:
    """The items of the key `cells`, by a walk through the outermost object of valid JSON."""
    decode = JSONDecoder().raw_decode

    def after_space(place: int) -> int:
        match = _SPACE.match(text, place)
        return match.end() if match else place

    line, counted = 1, 0
    place = after_space(after_space(0) + 1)
    while text[place] != "}":
        key, place = decode(text, place)
        place = after_space(after_space(place) + 1)  # the colon
        if key == "cells" and text[place] == "[":
            place = after_space(place + 1)
            while text[place] != "]":
                line += text.count("\n", counted, place)
                counted = place
                value, end = decode(text, place)
                yield _Cell(value, text[place:end].split("\n"), line)
                place = after_space(end)
                place = after_space(place + 1) if text[place] == "," else place
            place += 1
        else:
            _, place = decode(text, place)
        place = after_space(place)
        place = after_space(place + 1) if text[place] == "," else place


def _joined(value: object) -> str:
    """Text as nbformat stores it: one string, or a list of its lines."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    text = value if isinstance(value, str) else ""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _output_of(cell: Mapping[str, Any]) -> str:
    """What a cell printed, returned or failed with, as text."""
    said: list[str] = []
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        if output.get("output_type") == "error":
            said.append(f"{_joined(output.get('ename'))}: {_joined(output.get('evalue'))}")
        elif isinstance(data, dict):
            said.append(_joined(data.get("text/plain") or data.get("text/markdown")))
        else:
            said.append(_joined(output.get("text")))
        if sum(map(len, said)) > _LONGEST_OUTPUT:
            break
    shown = "\n".join(part.rstrip("\n") for part in said if part.strip())
    return _shown(shown[:_LONGEST_OUTPUT])


def _under(trail: str, pieces: list[Piece], facts: Mapping[str, str]) -> list[Piece]:
    """Sections of a cell; text without a heading of its own stands under the one above."""
    return [
        replace(piece, title=piece.title or trail, facts={**piece.facts, **facts})
        for piece in pieces
    ]


def _code(
    document: TextDocument, language: str, trail: str, facts: Mapping[str, str]
) -> list[Piece]:
    """A code cell as one piece; one that defines functions or classes, by definition."""
    grammar = GRAMMARS.get(language)
    pieces = list(code_pieces(document, grammar)) if grammar else []
    if not any("symbol" in piece.facts for piece in pieces):
        return [_whole(document, "cell", trail, {"language": language, **facts})]
    return [
        replace(
            piece,
            kind=piece.kind if "symbol" in piece.facts else "cell",
            title=piece.title or trail,
            facts={**piece.facts, **facts},
        )
        for piece in pieces
    ]


def _whole(document: TextDocument, kind: str, trail: str, facts: Mapping[str, str]) -> Piece:
    end = len(document.lines)
    return Piece(
        start=0,
        end=end,
        title=trail,
        kind=kind,
        facts=facts,
        breaks=(paragraph_starts(document, 0, end),),
    )


def _placed(
    document: TextDocument, pieces: Sequence[Piece], cell: _Cell, key: str, text: str
) -> Iterator[Chunk]:
    """The chunks of a cell's text, with the lines of the file instead of those of the text."""
    lines = _lines_in_file(cell, key, text)
    for chunk in split_into_chunks(document, pieces):
        first, last = lines[chunk.first_line - 1], lines[chunk.last_line - 1]
        yield replace(chunk, first_line=first, last_line=max(first, last))


def _lines_in_file(cell: _Cell, key: str, text: str) -> list[int]:
    """The line of the file that holds each line of a text; of one not found, the line before."""
    begin = next((row for row, raw in enumerate(cell.raw) if f'"{key}"' in raw), 0)
    rows: dict[str, list[int]] = {}
    for row in range(begin, len(cell.raw)):
        if (held := _string_on(cell.raw[row])) is not None:
            rows.setdefault(held, []).append(row)
    lines: list[int] = []
    at = begin
    for line in text.split("\n"):
        same = rows.get(line, [])
        found = bisect_right(same, at)
        at = same[found] if found < len(same) else at
        lines.append(cell.first + at)
    return lines


def _string_on(raw: str) -> str | None:
    """The line of text that a line of the file holds as a JSON string."""
    try:
        value, _ = JSONDecoder().raw_decode(raw, raw.index('"'))
    except ValueError:
        return None
    return _shown(value).rstrip("\n")


def _shown(text: str) -> str:
    """What a terminal leaves of a text: no colours, and of a progress bar its last state."""
    lines = strip_ansi(text).split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
