"""Links that move, and their history in state.db: one agrees with the other at any instant.

A rename and a commit are two steps, and a process can die between them. So a move is three steps,
taken under the lock of the link:

1. A row is committed with `settled = 0`. It is pending: it says where the link is about to point.
2. The link moves, in one rename.
3. The row becomes settled.

Killed before 2, a process leaves a pending row and the old link: the move did not happen. Killed
after 2, it leaves a pending row and the new link: the move happened. Nothing else can be left, so
*a pending row holds if the link points where it says*. Readers decide by that rule and change
nothing; they need no lock and can read from a read-only disk. Whoever holds the lock next calls
`recover`, which settles or deletes the row by the same rule before it starts a move of its own. So
at most one row of a link is pending, and it is the newest.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.files import replace_link
from modelyard.core.layout import Project
from modelyard.core.state import read_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A table of state.db in which each row is one move of a link."""

    table: str
    """The table; its column `settled` is 0 while a row is pending."""
    owner: str
    """The column that says whose link it is."""
    order: str
    """The column that numbers the moves of a link, ascending."""
    points_to: str
    """The column with the number of what the link points to after the move."""
    link: Callable[[Project, str], Path]
    """The link of an owner."""
    target: Callable[[Project, str, int], Path]
    """What the link of an owner points to, by its number."""

    def move(self, project: Project, state: sqlite3.Connection, row: Mapping[str, Any]) -> int:
        """Point the link where a new row says; returns the rowid. `row` lacks only `settled`.

        Call it under the lock of the link, after `recover`.
        """
        columns, values = ", ".join(row), ", ".join(f":{column}" for column in row)
        insert = f"INSERT INTO {self.table} ({columns}, settled) VALUES ({values}, 0)"
        rowid = state.execute(insert, dict(row)).lastrowid or 0
        owner, number = row[self.owner], row[self.points_to]
        replace_link(self.link(project, owner), self.target(project, owner, number))
        self._settle(state, rowid)
        return rowid

    def recover(
        self, project: Project, state: sqlite3.Connection, owner: str
    ) -> sqlite3.Row | None:
        """Settle or delete what a killed process left pending; returns the row that was settled.

        Call it under the lock of the link.
        """
        completed = None
        pending = (
            f"SELECT rowid AS pending_rowid, * FROM {self.table} "
            f"WHERE {self.owner} = ? AND settled = 0 ORDER BY {self.order}"
        )
        for row in state.execute(pending, (owner,)).fetchall():
            if self.leads_to(project, owner, row[self.points_to]):
                self._settle(state, row["pending_rowid"])
                completed = row
            else:
                state.execute(f"DELETE FROM {self.table} WHERE rowid = ?", (row["pending_rowid"],))
        return completed

    def newest(self, project: Project, owner: str, *columns: str) -> sqlite3.Row | None:
        """The newest row of a link that holds, with these columns; None when there is none.

        Changes nothing and takes no lock. It reads one row once, unless that row is pending.
        """
        query = (
            f"SELECT {', '.join((self.order, self.points_to, 'settled', *columns))} "
            f"FROM {self.table} WHERE {self.owner} = ? ORDER BY {self.order} DESC LIMIT 2"
        )
        while True:
            rows = read_state(project, query, (owner,))
            newest, *earlier = rows or (None,)
            if newest is None or newest["settled"]:
                return newest
            if self.leads_to(project, owner, newest[self.points_to]):
                return newest
            # Read again when it was settled meanwhile and the link has moved to a newer one.
            if read_state(project, query, (owner,)) == rows:
                return earlier[0] if earlier else None

    def leads_to(self, project: Project, owner: str, number: int) -> bool:
        """Whether the link of an owner points to what has that number."""
        link = self.link(project, owner)
        try:
            found = os.readlink(link)  # noqa: PTH115
        except OSError:
            return False
        return found == os.path.relpath(self.target(project, owner, number), link.parent)

    def _settle(self, state: sqlite3.Connection, rowid: int) -> None:
        state.execute(f"UPDATE {self.table} SET settled = 1 WHERE rowid = ?", (rowid,))
