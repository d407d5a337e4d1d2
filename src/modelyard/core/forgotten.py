"""What was removed for good, so that no restore over the project brings it back.

Kept are digests of names, since whose name it was is to be forgotten too.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from modelyard.core.clock import utc_now
from modelyard.core.layout import Project
from modelyard.core.state import open_state

Kind = Literal["organisation", "adapter"]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The things that were removed for good, and when."""

    times: Mapping[str, str]
    """When, UTC, by the digest of each."""

    def covers(self, kind: Kind, name: str | None, made_at: str) -> bool:
        """Whether something of that name, made at a time (UTC), was removed for good since."""
        return name is not None and made_at <= self.times.get(_digest(kind, name), "")


def note_forgotten(project: Project, kind: Kind, names: Iterable[str]) -> None:
    """Record that what there is now of these names is removed for good.

    Record it first and remove it then: a restore in between must not bring it back either.
    """
    rows = [(_digest(kind, name), utc_now()) for name in names]
    if rows:
        with open_state(project) as state:
            state.executemany("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", rows)


def load_forgotten(state: sqlite3.Connection) -> Forgotten:
    """What was removed for good, as an open state.db says."""
    rows = state.execute("SELECT digest, forgotten_at FROM forgotten")
    return Forgotten({row["digest"]: row["forgotten_at"] for row in rows})


def _digest(kind: Kind, name: str) -> str:
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()
