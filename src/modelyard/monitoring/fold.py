"""Folding: what lies in the spool comes into traffic.db, once.

The samples, their roll-ups and the place in the segment up to which they were read are one
transaction, so a killed process leaves all or none of them. A segment that nobody appends to any
more is removed when all of it is in traffic.db, and its row only after the file: a process killed
between the two leaves a row that says that all is folded.

A power cut may undo the last commits of traffic.db. It never undoes one that a removed segment
depends on, nor leaves one that is ahead of its segment: a segment is synced before a commit, and
the last commit before the removal.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass

from modelyard.core.database import transaction
from modelyard.core.layout import Project
from modelyard.monitoring.rollups import add_to_rollups, has_earlier, roll_up_earlier
from modelyard.monitoring.traffic_db import TRAFFIC, folded_bytes, insert_samples
from modelyard.records.spool import Segment, hold_segment, read_batch

_BATCH = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What one fold did, and what was left out ever."""

    samples: int
    """Samples that are in traffic.db since."""
    skipped: int
    """Lines that were no sample, such as one that a full disk cut off."""
    skipped_ever: int
    """Such lines since traffic.db was made."""


def fold(project: Project) -> Folded:
    """Bring all that was recorded so far into traffic.db; makes none where nothing was recorded.

    Several processes may fold at once. Raises ModelyardError when the disk cannot be written, or
    traffic.db is damaged or was written by a newer modelyard.
    """
    paths = project.traffic_segments
    if not paths and not project.traffic_db.exists():
        return Folded(samples=0, skipped=0, skipped_ever=0)
    samples = skipped = 0
    with TRAFFIC.open(project) as traffic:
        _roll_up_earlier(traffic)
        for path in paths:
            with hold_segment(path, to_remove=True) as segment:
                if segment:
                    added, left_out = _fold_segment(traffic, segment)
                    samples, skipped = samples + added, skipped + left_out
        _forget_removed(traffic, project)
        (ever,) = traffic.execute("SELECT skipped_lines FROM totals").fetchone()
    return Folded(samples=samples, skipped=skipped, skipped_ever=ever)


def _fold_segment(traffic: sqlite3.Connection, segment: Segment) -> tuple[int, int]:
    """Fold what is new in a segment, and remove it when it is final; samples and lines skipped."""
    name, handle = segment.path.name, segment.stream.fileno()
    if folded_bytes(traffic, name) == os.fstat(handle).st_size and not segment.final:
        return 0, 0
    samples = skipped = 0
    traffic.execute(f"PRAGMA synchronous={'FULL' if segment.final else 'NORMAL'}")
    complete = False
    while not complete:
        with transaction(traffic):
            size = os.fstat(handle).st_size
            start = min(folded_bytes(traffic, name), size)  # less when it was cut short by hand
            batch = read_batch(segment, start, most=_BATCH)
            os.fsync(handle)
            insert_samples(traffic, batch.samples)
            add_to_rollups(traffic, batch.samples)
            traffic.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (name, batch.end))
            traffic.execute("UPDATE totals SET skipped_lines = skipped_lines + ?", (batch.skipped,))
        samples, skipped = samples + len(batch.samples), skipped + batch.skipped
        complete = len(batch.samples) + batch.skipped < _BATCH
    if segment.final:
        with suppress(PermissionError):  # of another user's folder; the row says all is folded
            segment.path.unlink()
    return samples, skipped


def _roll_up_earlier(traffic: sqlite3.Connection) -> None:
    """Roll up what an earlier version folded, in pieces."""
    while has_earlier(traffic):
        with transaction(traffic):
            roll_up_earlier(traffic)


def _forget_removed(traffic: sqlite3.Connection, project: Project) -> None:
    """Delete the rows of segments that were removed; no other will ever have their name."""
    known = traffic.execute("SELECT name FROM segments").fetchall()
    present = {path.name for path in project.traffic_segments}
    for (name,) in known:
        if name not in present:
            traffic.execute("DELETE FROM segments WHERE name = ?", (name,))
