"""Statistics by series: of Prometheus text, tables (CSV, TSV) and JSON lines."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.retrieval.chunk import Chunk

_MOST_SERIES = 5_000
"""Of a file; figures of further series are skipped."""
_DEEPEST = 8
_LONGEST_NAME = 300
_SAMPLE = re.compile(
    r"([a-zA-Z_:][\w:.]*)[ \t]*(\{(?:[^\"{}]|\"(?:[^\"\\]|\\.)*+\")*+\})?[ \t]+([^\s]{1,40})"
    r"(?:[ \t]+-?[\d.]+)?(?:[ \t]+#.*)?$"
)
_NAMES = ("metric", "series", "name", "__name__")
_VALUES = ("value", "val")
_TIMES = frozenset({"time", "timestamp", "ts", "date", "datetime", "@timestamp", "epoch_time"})


@dataclass(slots=True)
class _Series:
    """The statistics of one named series of figures."""

    first_line: int
    last_line: int
    count: int = 0
    least: float = math.inf
    most: float = -math.inf
    total: float = 0.0
    last: float = 0.0
    not_finite: int = 0
    """Samples that are NaN or infinite; they are in none of the other figures."""

    def add(self, value: float, line: int) -> None:
        if not math.isfinite(value):
            self.not_finite += 1
            self.last_line = line
            return
        self.count += 1
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.total += value
        self.last, self.last_line = value, line


def read_prometheus(lines: Sequence[str]) -> tuple[list[Chunk], int]:
    """One chunk for each series of a Prometheus text, with its help and type.

    The second value is how many lines are neither a sample nor a comment.
    """
    series: dict[str, _Series] = {}
    unknown = 0
    words: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            parts = line[1:].split(None, 2)
            if len(parts) == 3 and parts[0] in ("HELP", "TYPE"):
                words.setdefault(parts[1], {})[parts[0]] = parts[2]
        elif (match := _SAMPLE.match(line.strip())) and (
            not math.isnan(_number(match[3])) or match[3].lower().lstrip("+-") == "nan"
        ):
            _note(series, match[1] + (match[2] or ""), _number(match[3]), number, non_finite=True)
        elif line.strip():
            unknown += 1

    def says(name: str) -> list[str]:
        bare = name.partition("{")[0]
        stem = re.sub(r"_(?:bucket|sum|count|total)$", "", bare)
        known = words.get(bare) or words.get(stem) or {}
        return [known[key] for key in ("HELP", "TYPE") if key in known]

    return _chunks(series, {name: says(name) for name in series}), unknown


def read_table(text: str, delimiter: str) -> list[Chunk]:
    """One chunk for each column of figures, or for each name of a long table; possibly none."""
    series: dict[str, _Series] = {}
    rows = csv.reader(_short_lines(text), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(rows, [])]
        lowered = [name.lower() for name in header]
        named = next((lowered.index(name) for name in _NAMES if name in lowered), None)
        valued = next((lowered.index(name) for name in _VALUES if name in lowered), None)
        for row in rows:
            if named is not None and valued is not None:
                if max(named, valued) < len(row):
                    _note(series, row[named], _number(row[valued]), rows.line_num)
                continue
            for name, low, cell in zip(header, lowered, row, strict=False):
                if low not in _TIMES:
                    _note(series, name, _number(cell), rows.line_num)
    except csv.Error:
        pass  # what was read before the error is used
    return _chunks(series, {})


def read_json_lines(lines: Sequence[str]) -> list[Chunk]:
    """One chunk for each key that has figures, by its path."""
    series: dict[str, _Series] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        for name, value in _figures(row, "", 0):
            if name.lower() not in _TIMES:
                _note(series, name, value, number)
    return _chunks(series, {})


def _figures(row: object, path: str, depth: int) -> Iterator[tuple[str, float]]:
    if isinstance(row, bool) or depth > _DEEPEST:
        return
    if isinstance(row, int | float):
        yield path, _number(row)
    elif isinstance(row, dict):
        for key, value in row.items():
            yield from _figures(value, f"{path}.{key}" if path else str(key), depth + 1)


def _note(
    series: dict[str, _Series], name: str, value: float, line: int, *, non_finite: bool = False
) -> None:
    """Add a figure to its series. non_finite: whether NaN and infinite figures are counted too."""
    name = " ".join(name.split())[:_LONGEST_NAME]
    if not name or not (non_finite or math.isfinite(value)):
        return
    found = series.get(name)
    if found is None:
        if len(series) >= _MOST_SERIES:
            return
        found = series[name] = _Series(line, line)
    found.add(value, line)


def _chunks(series: Mapping[str, _Series], says: Mapping[str, list[str]]) -> list[Chunk]:
    chunks = []
    for name, values in sorted(series.items(), key=lambda item: item[1].first_line):
        facts = _facts(values)
        figures = ", ".join(f"{key} {value}" for key, value in facts.items())
        figures = (
            f"value {facts['last']}" if values.count == 1 and not values.not_finite else figures
        )
        chunks.append(
            Chunk(
                text="\n".join([*(word[:_LONGEST_NAME] for word in says.get(name, [])), figures]),
                title=name,
                kind="series",
                first_line=values.first_line,
                last_line=values.last_line,
                facts={**facts, "symbol": name.partition("{")[0]},
            )
        )
    return chunks


def _facts(series: _Series) -> dict[str, str]:
    facts = {"count": str(series.count)}
    if series.count:
        facts |= {
            "min": f"{series.least:g}",
            "mean": f"{series.total / series.count:g}",
            "max": f"{series.most:g}",
            "last": f"{series.last:g}",
        }
    return facts | ({"not_finite": str(series.not_finite)} if series.not_finite else {})


def _number(value: str | float) -> float:
    """A figure; NaN for what is none, and for an integer that is too large."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _short_lines(text: str) -> Iterator[str]:
    """Lines with their ends, as csv.reader needs them, without the characters that it refuses."""
    for line in text.split("\n"):
        yield line.replace("\0", "").replace("\r", "")[:100_000] + "\n"
