"""The tables of traffic.db."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from modelyard.core.database import Database, Values, transaction
from modelyard.core.kept_connections import KeptConnections
from modelyard.core.layout import Project
from modelyard.core.os_errors import CANNOT_WRITE
from modelyard.records.sample import FIELDS, Sample

_MIGRATIONS = (
    """
    CREATE TABLE segments (                   -- of the spool, those that are not removed
        name          TEXT PRIMARY KEY,
        folded_bytes  INTEGER NOT NULL        -- what comes after them is not in `samples` yet
    ) STRICT;
    CREATE TABLE totals (                     -- one row
        skipped_lines  INTEGER NOT NULL       -- of the spool, that were no sample
    ) STRICT;
    INSERT INTO totals VALUES (0);
    CREATE TABLE samples (
        answer_id        TEXT NOT NULL,
        parent_id        TEXT,                -- the answer that this one was needed for
        answered_at_ms   INTEGER NOT NULL,    -- since 1970
        organisation     TEXT,
        domain           TEXT,
        model            TEXT NOT NULL,
        adapter_digest   TEXT,
        environment      TEXT,
        config_revision  INTEGER,
        prompt_tokens    INTEGER,             -- NULL is unknown, here and below
        output_tokens    INTEGER,
        load_s           REAL,
        first_token_s    REAL,
        latency_s        REAL NOT NULL,
        cost_usd         REAL,
        outcome          TEXT NOT NULL        -- answered, failed, interrupted
    ) STRICT;
    CREATE INDEX samples_by_time ON samples (answered_at_ms);
    """,
    """
    ALTER TABLE samples ADD COLUMN kind TEXT NOT NULL DEFAULT 'answer';  -- or call
    ALTER TABLE samples ADD COLUMN profile TEXT;
    ALTER TABLE samples ADD COLUMN language_model TEXT;
    ALTER TABLE samples ADD COLUMN cached_tokens INTEGER;
    ALTER TABLE samples ADD COLUMN cache_write_tokens INTEGER;
    ALTER TABLE samples ADD COLUMN token_source TEXT;  -- counted, reported, estimated
    ALTER TABLE samples ADD COLUMN waited_s REAL;
    ALTER TABLE samples ADD COLUMN calls INTEGER;
    ALTER TABLE samples ADD COLUMN drawn INTEGER;
    ALTER TABLE samples ADD COLUMN agreed INTEGER;
    ALTER TABLE samples ADD COLUMN route TEXT;
    ALTER TABLE samples ADD COLUMN failure TEXT;
    """,
    """
    CREATE TABLE turns (                      -- calls that count against a limit of a minute
        id            INTEGER NOT NULL,       -- of one call, which may have several limits
        scope         TEXT NOT NULL,          -- the limit
        begins_at_ms  INTEGER NOT NULL,       -- since 1970, here and below; may be still to come
        counts_to_ms  INTEGER NOT NULL,
        tokens        INTEGER NOT NULL,
        holds_to_ms   INTEGER NOT NULL,       -- counts as under way until then; 0: it has ended
        PRIMARY KEY (scope, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX turns_that_count ON turns (scope, counts_to_ms, tokens);
    CREATE INDEX turns_under_way ON turns (scope, holds_to_ms);
    CREATE TABLE holds (                      -- no call begins before
        scope       TEXT PRIMARY KEY,
        ends_at_ms  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE breakers (                   -- models that failed last
        name            TEXT PRIMARY KEY,
        failures        INTEGER NOT NULL,     -- in a row
        reason          TEXT NOT NULL,        -- of the last one
        opened_at_ms    INTEGER,              -- NULL: it is still called
        probe_ends_ms   INTEGER               -- until then one call tries it; NULL: none does
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE rollups (                    -- the answers of an hour that have these in common
        hour            INTEGER NOT NULL,     -- since 1970
        environment     TEXT,
        organisation    TEXT,
        domain          TEXT,
        profile         TEXT,
        language_model  TEXT,
        model           TEXT NOT NULL,
        outcome         TEXT NOT NULL,
        requests        INTEGER NOT NULL,
        costs           INTEGER NOT NULL,     -- of how many the cost is known
        cost_usd        REAL NOT NULL,        -- the sum of these, and of their squares
        cost_squared    REAL NOT NULL,
        token_counts    INTEGER NOT NULL,     -- of how many the tokens are known
        prompt_tokens   INTEGER NOT NULL,     -- the sum of these
        output_tokens   INTEGER NOT NULL,
        latencies       BLOB NOT NULL         -- as monitoring/histogram.py packs them
    ) STRICT;
    CREATE INDEX rollups_by_hour ON rollups (hour);
    CREATE INDEX samples_by_answer ON samples (answer_id) WHERE kind = 'answer';
    CREATE TABLE rollup_backlog (             -- one row: samples that are in no roll-up yet
        after_rowid  INTEGER NOT NULL,
        last_rowid   INTEGER NOT NULL
    ) STRICT;
    INSERT INTO rollup_backlog SELECT 0, coalesce(max(rowid), 0) FROM samples;
    """,
    """
    CREATE TABLE alerts (                     -- of each threshold that was judged
        environment  TEXT NOT NULL,
        model        TEXT NOT NULL,           -- '': all
        measure      TEXT NOT NULL,
        threshold    REAL NOT NULL,           -- at the last judgement
        since_ms     INTEGER,                 -- since 1970; since when judgements say otherwise
        is_on        INTEGER NOT NULL,
        is_told      INTEGER NOT NULL,        -- whether the last thing told is that it is on
        PRIMARY KEY (environment, model, measure)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE alert_events (               -- alerts that began or ended, the last of them
        number       INTEGER PRIMARY KEY AUTOINCREMENT,
        environment  TEXT NOT NULL,
        model        TEXT NOT NULL,           -- '': all
        measure      TEXT NOT NULL,
        is_on        INTEGER NOT NULL,        -- began; else ended
        text         TEXT NOT NULL,           -- in one line
        document     TEXT NOT NULL            -- JSON, as it is delivered
    ) STRICT;
    CREATE TABLE alert_channels (             -- who is told of them
        channel      TEXT NOT NULL,           -- '': whoever reads what is printed
        environment  TEXT NOT NULL,
        model        TEXT NOT NULL,
        told_to      INTEGER NOT NULL,        -- the last event that was delivered
        PRIMARY KEY (channel, environment, model)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE judged_alerts (              -- as `alerts` was; what was not told begins again
        environment  TEXT NOT NULL,
        model        TEXT NOT NULL,
        measure      TEXT NOT NULL,
        threshold    REAL NOT NULL,
        since_ms     INTEGER,
        is_on        INTEGER NOT NULL,
        PRIMARY KEY (environment, model, measure)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO judged_alerts SELECT environment, model, measure, threshold,
        CASE WHEN is_on = is_told THEN since_ms END, is_told FROM alerts;
    DROP TABLE alerts;
    ALTER TABLE judged_alerts RENAME TO alerts;
    CREATE TABLE retention (                  -- of samples
        environment    TEXT PRIMARY KEY,      -- '': of all
        exact_from_ms  INTEGER NOT NULL,      -- a whole hour; before it samples are missing
        applied_at_ms  INTEGER NOT NULL       -- when it was last looked at
    ) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE samples ADD COLUMN variant TEXT;  -- of an A/B test, NAME/a or NAME/b
    ALTER TABLE rollups ADD COLUMN variant TEXT;
    """,
)

TRAFFIC = Database(
    name="traffic",
    what="records of answers",
    place=lambda project: project.traffic_db,
    synchronous="NORMAL",
    migrations=_MIGRATIONS,
    shrinks=True,
    if_damaged="restore it from a backup, or move it away: a new one is made, without the answers "
    "so far, and nothing else depends on it",
)

_READING, _CHANGING = KeptConnections(TRAFFIC), KeptConnections(TRAFFIC)
_values = attrgetter(*FIELDS)
_T = TypeVar("_T")


def read_traffic(project: Project, query: str, values: Values = ()) -> list[sqlite3.Row]:
    """The rows of a query, on a connection that stays open; none when nothing was recorded yet.

    Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
    """
    return _READING.read(project, query, values)


def change_traffic(project: Project) -> AbstractContextManager[sqlite3.Connection]:
    """A transaction on a connection that stays open; for what happens with every answer.

    Raises ModelyardError when the file is damaged, or cannot be written.
    """
    return _CHANGING.change(project)


_of_this_process: dict[Path, sqlite3.Connection] = {}
_of_this_process_lock = threading.Lock()


def count_traffic(project: Project, count: Callable[[sqlite3.Connection], _T]) -> _T:
    """What `count` returns, from a transaction on traffic.db as `change_traffic` gives it.

    Where that cannot be written, for want of access or space, the transaction is on an empty
    database in the memory of this process: what is counted then holds within this process.
    Raises ModelyardError when the file is damaged.
    """
    try:
        with change_traffic(project) as traffic:
            return count(traffic)
    except CANNOT_WRITE:
        with _of_this_process_lock:
            memory = _of_this_process.get(project.root)
            if memory is None:
                memory = _of_this_process[project.root] = TRAFFIC.in_memory(project)
            with transaction(memory):
                return count(memory)


def insert_samples(
    traffic: sqlite3.Connection, samples: Iterable[Sample], *, into: str = "samples"
) -> None:
    """Add samples to a table that has their columns."""
    places = ", ".join("?" * len(FIELDS))
    insert = f"INSERT INTO {into} ({', '.join(FIELDS)}) VALUES ({places})"
    traffic.executemany(insert, map(_values, samples))


def folded_bytes(traffic: sqlite3.Connection, segment: str) -> int:
    """How much of a segment is in `samples`."""
    query = "SELECT folded_bytes FROM segments WHERE name = ?"
    row = traffic.execute(query, (segment,)).fetchone()
    return row[0] if row else 0
