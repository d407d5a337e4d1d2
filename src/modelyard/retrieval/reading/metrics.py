"""Statistics by series: of Prometheus text, tables (CSV, TSV) and JSON lines."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.retrieval.chunk import Chunk

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_MOST_SERIES = 5_000
"""Of a file; figures of further series are skipped."""
_DEEPEST = 8
_LONGEST_NAME = 300
_LONGEST_LINE = 20_000
"""Characters of a sample or a comment; a longer one is no sample."""
_LENIENT_SAMPLE = re.compile(
    r"([a-zA-Z_:][\w:.]*)[ \t]*(\{(?:[^\"{}]|\"(?:[^\"\\]|\\.)*+\")*+\})?[ \t]+([^\s]{1,40})"
    r"(?:[ \t]+-?[\d.]+)?(?:[ \t]+#.*)?$"
)
"""A sample whose name or labels Prometheus refuses: `jvm.memory.used 5`."""
_SUFFIX = re.compile(r"_(?:bucket|sum|count|total)$")
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
    words: dict[tuple[str, str], str] = {}
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line.startswith("#"):
            _note_comment(words, line)
        elif sample := _sample(line):
            _note(series, *sample, number, non_finite=True)
        elif line:
            unknown += 1

    def says(title: str) -> list[str]:
        name = title.partition("{")[0]
        stem = _SUFFIX.sub("", name)
        found = (words.get((part, name)) or words.get((part, stem)) for part in ("HELP", "TYPE"))
        return [" ".join(said.split()) for said in found if said]

    return _chunks(series, {name: says(name) for name in series}), unknown


def _sample(line: str) -> tuple[str, float] | None:
    """The series and the value of a line in Prometheus' format; None where it is no sample."""
    if not line or len(line) > _LONGEST_LINE:
        return None
    for family in _families(line):
        for found in family.samples:
            labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in found.labels.items())
            return f"{found.name}{{{labels}}}" if labels else found.name, _number(found.value)
    match = _LENIENT_SAMPLE.match(line)
    if match is None:
        return None
    value = _number(match[3])
    if math.isnan(value) and match[3].lower().lstrip("+-") != "nan":
        return None
    return match[1] + (match[2] or ""), value


def _note_comment(words: dict[tuple[str, str], str], line: str) -> None:
    """Keep the help and the type of a metric, by which of them it is and the metric's name."""
    for family in _families(line[:_LONGEST_LINE]):
        part = line.split(None, 2)[1]
        words[part, family.name] = family.documentation if part == "HELP" else family.type


def _families(line: str) -> list[Metric]:
    """What Prometheus' own parser reads from one line; it gives up a whole text for a bad line."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return list(text_string_to_metric_families(line))
    except (ValueError, IndexError):
        return []


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


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
            row = parse_json(line)
        except InvalidJson:
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
