"""Bringing the rows of a restored copy of a database together with those that are there.

A copy is older than what it is restored over. Some rows are meant to go back with it, such as which
version was active; others never may: what was spent stays spent, and what was revoked or forgotten
stays so. Each table declares which of its rows are which, and one transaction brings all of them
together.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COPY = "restored"
"""The schema under which the copy is attached: `ATTACH ... AS restored`."""

Row = dict[str, Any]
"""The values of a row by column."""

IsGone = Callable[[Row], bool]
"""Whether a row of the copy is of something that was removed for good since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedRows:
    """All rows of an owner are those of the copy; an owner that the copy lacks keeps its own."""

    owner: str
    """The column that says whose row it is."""
    number: str | None = None
    """The column that numbers the rows, ascending. Where a number of the copy is taken by a row of
    another owner, the rows of the copy get new ones, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRows:
    """The rows of both; where both have a row, it is as the copy says, but for `higher`."""

    key: tuple[str, ...]
    """The columns that identify a row."""
    higher: tuple[str, ...] = ()
    """Columns that keep the higher value of both, and any value rather than none: what was spent.
    """
    lower: tuple[str, ...] = ()
    """Columns that keep the lower value of both, and any value rather than none: the time from
    which something is revoked."""
    number: str | None = None
    """The column that numbers the rows; a row of the copy whose number is taken gets a new one."""
    passing: bool = False
    """Whether a row is removed once what it stands for is over. Rows of the copy that are no more
    there are added only where the database did not develop from the copy."""
    can_be_gone: bool = False
    """Whether rows can be of something that was removed for good (`IsGone` is asked)."""
    owner: str | None = None
    """The column that says whose row it is. Where not everything is restored, the rows of the named
    owners are joined all the same."""


Merge = ReplacedRows | JoinedRows


def merge_copy(
    connection: sqlite3.Connection,
    merges: Mapping[str, Merge],
    *,
    owners: Mapping[str, Collection[str]],
    everything: bool,
    develops: bool,
    is_gone: IsGone,
) -> None:
    """Bring the attached copy into a database. Call it in a transaction.

    merges: how, by table; both have the same tables and columns.
    owners: by the name of an owner column, the owners whose rows are replaced.
    everything: also the rows of all other owners in the copy, and those of joined tables.
    develops: whether the database developed from the copy, so that it knows how what was under way
        then has ended.
    """
    for table, merge in merges.items():
        if isinstance(merge, ReplacedRows):
            chosen = set(owners.get(merge.owner, ()))
            if everything:
                query = f"SELECT DISTINCT {merge.owner} FROM {COPY}.{table}"
                chosen |= {row[0] for row in connection.execute(query)}
            for owner in sorted(chosen):
                _replace(connection, table, merge, owner)
        elif everything:
            _join(connection, table, merge, develops=develops, is_gone=is_gone)
        elif merge.owner is not None:
            for owner in sorted(owners.get(merge.owner, ())):
                _join(connection, table, merge, develops=develops, is_gone=is_gone, owner=owner)


def _replace(connection: sqlite3.Connection, table: str, merge: ReplacedRows, owner: str) -> None:
    of_owner = f"{merge.owner} = ?"
    connection.execute(f"DELETE FROM main.{table} WHERE {of_owner}", (owner,))
    rows = list(_rows(connection, COPY, table, merge.number, where=of_owner, values=(owner,)))
    if merge.number is not None and any(
        _is_taken(connection, table, merge.number, row) for row in rows
    ):
        rows = [row | {merge.number: None} for row in rows]
    for row in rows:
        _insert(connection, table, row)


def _join(
    connection: sqlite3.Connection,
    table: str,
    merge: JoinedRows,
    *,
    develops: bool,
    is_gone: IsGone,
    owner: str | None = None,
) -> None:
    where, values = ("1", ()) if owner is None else (f"{merge.owner} = ?", (owner,))
    # Digests only: the rows may be texts of many megabytes.
    known = {
        _digest(_key(row, merge)): _digest(_facts(row, merge))
        for row in _rows(connection, "main", table, merge.number, where=where, values=values)
    }
    for row in _rows(connection, COPY, table, merge.number, where=where, values=values):
        if merge.can_be_gone and is_gone(row):
            continue
        there = known.get(_digest(_key(row, merge)))
        if there is None:
            if merge.passing and develops:
                continue
            if merge.number is not None and _is_taken(connection, table, merge.number, row):
                row[merge.number] = None
            _insert(connection, table, row)
        elif there != _digest(_facts(row, merge)):
            _update(connection, table, merge, row)


def _rows(
    connection: sqlite3.Connection,
    schema: str,
    table: str,
    number: str | None,
    *,
    where: str = "1",
    values: Sequence[Any] = (),
) -> Iterator[Row]:
    order = f" ORDER BY {number}" if number else ""
    cursor = connection.execute(f"SELECT * FROM {schema}.{table} WHERE {where}{order}", values)
    columns = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(columns, row, strict=True))


def _key(row: Row, merge: JoinedRows) -> tuple[Any, ...]:
    return tuple(row[column] for column in merge.key)


def _facts(row: Row, merge: JoinedRows) -> tuple[Any, ...]:
    """All that a row says, but for its number."""
    return tuple(value for column, value in row.items() if column != merge.number)


def _digest(values: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).digest()


def _is_taken(connection: sqlite3.Connection, table: str, number: str, row: Row) -> bool:
    query = f"SELECT 1 FROM main.{table} WHERE {number} = ?"
    return connection.execute(query, (row[number],)).fetchone() is not None


def _insert(connection: sqlite3.Connection, table: str, row: Row) -> None:
    columns, places = ", ".join(row), ", ".join(f":{column}" for column in row)
    connection.execute(f"INSERT INTO main.{table} ({columns}) VALUES ({places})", row)


def _update(connection: sqlite3.Connection, table: str, merge: JoinedRows, row: Row) -> None:
    chosen = {**dict.fromkeys(merge.higher, "max"), **dict.fromkeys(merge.lower, "min")}
    changes = [
        f"{column} = {choose}(coalesce({column}, :{column}), coalesce(:{column}, {column}))"
        if (choose := chosen.get(column))
        else f"{column} = :{column}"
        for column in row
        if column not in (*merge.key, merge.number)
    ]
    same = " AND ".join(f"{column} IS :{column}" for column in merge.key)
    if changes:
        connection.execute(f"UPDATE main.{table} SET {', '.join(changes)} WHERE {same}", row)
