"""Sets of queries whose answers are known, in BEIR's layout (Thakur et al., BEIR, 2021).

`corpus.jsonl` and `queries.jsonl` have `_id`, `title` and `text`; `qrels/*.tsv` have query,
document and grade.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidInput, NoData

Qrels = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Queries with what answers each of them."""

    queries: Mapping[str, str]
    qrels: Qrels


def find_qrels(folder: Path) -> Path:
    """The answers beside the queries: qrels/test.tsv, else the only file there."""
    files = sorted((folder / "qrels").glob("*.tsv"))
    for name in ("test.tsv", "dev.tsv"):
        for file in files:
            if file.name == name:
                return file
    if len(files) != 1:
        raise InvalidInput(
            f"holds {len(files) or 'no'} files of answers, and none is test.tsv",
            where=str(folder / "qrels"),
            hint="name one: --qrels FILE",
        )
    return files[0]


def load_judged(queries: Path, qrels: Path) -> Judged:
    """The queries that have an answer."""
    texts = {name: text for name, _, text in _read_rows(queries)}
    grades: dict[str, dict[str, float]] = {}
    for number, row in enumerate(_read_tsv(qrels), 1):
        if row in ([], [""]):
            continue
        if len(row) < 3:
            raise _no_answer(qrels, number, "not tab-separated: it")
        try:
            query, document, grade = row[0], row[-2], float(row[-1])
        except ValueError as error:
            if number == 1:
                continue  # the names of the columns
            raise _no_answer(qrels, number, "its grade is no number: it") from error
        if grade > 0:
            grades.setdefault(query, {})[document] = grade
    judged = {name: text for name, text in texts.items() if name in grades and text.strip()}
    if not judged:
        raise NoData(f"no query of {queries} has an answer in {qrels}")
    return Judged(queries=judged, qrels=grades)


def _no_answer(qrels: Path, number: int, why: str) -> InvalidInput:
    return InvalidInput(
        f"{why} is not QUERY, DOCUMENT and GRADE with tabs between", where=f"{qrels}:{number}"
    )


def load_corpus(path: Path) -> list[tuple[str, str, str]]:
    """Every document as (_id, title, text)."""
    rows = list(_read_rows(path))
    if not rows:
        raise NoData(f"{path} holds no document")
    return rows


def _read_tsv(path: Path) -> list[list[str]]:
    with _readable(path):
        text = path.read_text()
    return list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _read_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each row of a jsonl file as (_id, title, text), each _id once."""
    with _readable(path):
        lines = path.read_text().split("\n")
    first_seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            name, title, text = str(row["_id"]), str(row.get("title") or ""), str(row["text"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                "is not a JSON object with _id and text", where=f"{path}:{number}"
            ) from error
        if name in first_seen:
            raise InvalidInput(
                f"has the _id {name!r} of line {first_seen[name]} again",
                where=f"{path}:{number}",
                hint="each document and each query has an _id of its own",
            )
        first_seen[name] = number
        yield name, title, text


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="BEIR's layout has corpus.jsonl, queries.jsonl and qrels/",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where=str(path)) from error
