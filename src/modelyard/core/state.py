"""The project's local state: one SQLite file, state.db, and connections that stay open.

What must be consistent under a crash is a row here or one rename on the disk; nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager

from modelyard.core.database import Database, Values
from modelyard.core.kept_connections import KeptConnections
from modelyard.core.layout import Project
from modelyard.core.merging import JoinedRows, Merge, ReplacedRows

_MIGRATIONS = (
    """
    CREATE TABLE pointer_moves (
        sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
        adapter       TEXT NOT NULL,
        action        TEXT NOT NULL,          -- promote, rollback
        from_version  INTEGER,                -- NULL: nothing was in use before
        to_version    INTEGER NOT NULL,
        reason        TEXT,
        moved_at      TEXT NOT NULL,
        settled       INTEGER NOT NULL        -- 0 until the link has moved
    ) STRICT;
    CREATE INDEX pointer_moves_by_adapter ON pointer_moves (adapter, sequence);
    """,
    """
    CREATE TABLE pins (
        adapter    TEXT NOT NULL,
        version    INTEGER NOT NULL,
        reason     TEXT,
        pinned_at  TEXT NOT NULL,
        PRIMARY KEY (adapter, version)
    ) STRICT;
    """,
    """
    CREATE TABLE feedback (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        recorded_at  TEXT NOT NULL,           -- UTC
        org          TEXT,                    -- NULL: of no organisation
        adapter      TEXT,                    -- what answered: NAME or NAME@VERSION
        prompt       TEXT NOT NULL,
        answer       TEXT NOT NULL,
        rating       TEXT,                    -- good, bad
        correction   TEXT,
        used_in      TEXT                     -- the dataset that it belongs to; NULL: none yet
    ) STRICT;
    CREATE INDEX feedback_by_prompt ON feedback (prompt);
    CREATE INDEX feedback_by_use ON feedback (used_in);
    """,
    """
    CREATE TABLE config_contents (
        digest   TEXT PRIMARY KEY,            -- SHA-256 of the content with its keys sorted
        content  TEXT NOT NULL                -- JSON, keys in the order in which they were written
    ) STRICT;
    CREATE TABLE config_revisions (
        environment    TEXT NOT NULL,
        revision       INTEGER NOT NULL,      -- from 1, without gaps
        action         TEXT NOT NULL,         -- deploy, switch, undo, rollback
        created_at     TEXT NOT NULL,         -- UTC
        made_by        TEXT NOT NULL,
        reason         TEXT,
        from_revision  INTEGER,               -- undo, rollback: the revision they go back to
        snapshot       TEXT NOT NULL,         -- JSON: digests by config, profiles by domain
        digest         TEXT NOT NULL,         -- SHA-256 of the snapshot
        files          TEXT NOT NULL,         -- JSON: SHA-256 of each file written, by its path
        settled        INTEGER NOT NULL,      -- 0 until the link of the environment has moved
        PRIMARY KEY (environment, revision)
    ) STRICT;
    """,
    """
    CREATE TABLE spending (                    -- what answers cost, by day, and is settled
        environment   TEXT NOT NULL,
        organisation  TEXT NOT NULL,           -- '': of all together, those of none included
        day           TEXT NOT NULL,           -- UTC, such as 2026-11-30
        nano_usd      INTEGER NOT NULL,        -- 10^-9 US dollars
        unknown       INTEGER NOT NULL,        -- how often a cost was not known, and is not in it
        PRIMARY KEY (environment, organisation, day)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE reservations (                -- the highest cost of answers that are under way
        id            INTEGER PRIMARY KEY,
        environment   TEXT NOT NULL,
        organisation  TEXT NOT NULL,           -- '': of none
        day           TEXT NOT NULL,           -- when it was made, and what it counts for
        answer_id     TEXT NOT NULL,
        nano_usd      INTEGER,                 -- NULL: not known
        lapses_at_ms  INTEGER NOT NULL         -- since 1970; from then on it is spent
    ) STRICT;
    """,
    """
    CREATE TABLE feedback_on_answers (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        recorded_at  TEXT NOT NULL,           -- UTC
        org          TEXT,                    -- NULL: of no organisation
        adapter      TEXT,                    -- what answered: NAME or NAME@VERSION
        answer_id    TEXT,                    -- the answer; NULL: known by its text only
        statement    INTEGER,                 -- which statement in it, from 1; NULL: all of it
        prompt       TEXT,                    -- NULL, here and below: not given
        answer       TEXT,
        rating       TEXT,                    -- good, bad
        correction   TEXT,
        used_in      TEXT                     -- the dataset that it belongs to; NULL: none yet
    ) STRICT;
    INSERT INTO feedback_on_answers
        (id, recorded_at, org, adapter, prompt, answer, rating, correction, used_in)
        SELECT id, recorded_at, org, adapter, prompt, answer, rating, correction, used_in
        FROM feedback;
    DROP TABLE feedback;
    ALTER TABLE feedback_on_answers RENAME TO feedback;
    CREATE INDEX feedback_by_prompt ON feedback (prompt);
    CREATE INDEX feedback_by_answer ON feedback (answer_id);
    CREATE INDEX feedback_by_use ON feedback (used_in);
    """,
    """
    CREATE TABLE test_runs (                   -- performance tests; the file of each has the rest
        number       INTEGER PRIMARY KEY,      -- from 1
        suite        TEXT NOT NULL,
        environment  TEXT NOT NULL,
        target       TEXT NOT NULL,            -- profile:NAME, domain:NAME, a model, primary
        started_at   TEXT NOT NULL,            -- UTC
        complete     INTEGER NOT NULL,         -- 0: interrupted
        verdict      TEXT NOT NULL,            -- pass, breach, cannot_tell
        right        INTEGER NOT NULL,
        scored       INTEGER NOT NULL,
        sha256       TEXT NOT NULL             -- of its file
    ) STRICT;
    """,
    """
    CREATE TABLE backup_runs (                 -- backups, drills, and restores over the project
        id          TEXT PRIMARY KEY,          -- random
        kind        TEXT NOT NULL,             -- backup, drill, restore
        repository  TEXT NOT NULL,             -- its address
        snapshot    TEXT NOT NULL,             -- its name
        ended_at    TEXT NOT NULL,             -- UTC
        made_by     TEXT NOT NULL,             -- the user of the machine
        ok          INTEGER NOT NULL           -- 0: something was left out, or found wrong
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE forgotten (                   -- what no restore over the project brings back
        digest        TEXT PRIMARY KEY,        -- SHA-256 of 'organisation NAME' or 'adapter NAME'
        forgotten_at  TEXT NOT NULL            -- UTC; what was recorded later is not meant
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- NULL: an earlier version kept the run, or nothing was scored.
    ALTER TABLE test_runs ADD COLUMN accuracy REAL;       -- weighted
    ALTER TABLE test_runs ADD COLUMN accuracy_low REAL;   -- of its interval, over questions
    ALTER TABLE test_runs ADD COLUMN accuracy_high REAL;
    """,
    """
    CREATE TABLE recorded_figures (            -- of versions whose cards have none
        adapter      TEXT NOT NULL,
        version      INTEGER NOT NULL,
        manifest     TEXT NOT NULL,            -- SHA-256 of its MANIFEST.json
        org          TEXT,                     -- NULL: of no organisation
        dataset      TEXT NOT NULL,            -- whose evaluation rows were used
        recorded_at  TEXT NOT NULL,            -- UTC
        figures      TEXT NOT NULL,            -- JSON
        PRIMARY KEY (adapter, version, manifest, dataset, recorded_at, figures)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE api_keys (
        id                   TEXT PRIMARY KEY,
        organisation         TEXT NOT NULL,
        name                 TEXT,             -- what it is for
        scopes               TEXT NOT NULL,    -- with blanks between them
        created_at           TEXT NOT NULL,    -- UTC
        expires_at           TEXT,             -- NULL: never
        revoked_at           TEXT,             -- may lie ahead
        requests_per_minute  INTEGER,          -- NULL here and below: no limit of its own
        per_month_nano_usd   INTEGER,          -- 10^-9 US dollars
        salt                 TEXT NOT NULL,
        hash                 TEXT NOT NULL     -- SHA-256 of salt and secret
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE key_spending (                -- the same as in spending, by API key
        key_id    TEXT NOT NULL,
        day       TEXT NOT NULL,               -- UTC
        nano_usd  INTEGER NOT NULL,
        unknown   INTEGER NOT NULL,
        PRIMARY KEY (key_id, day)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE reservations ADD COLUMN key_id TEXT;  -- NULL: of no key
    """,
    """
    ALTER TABLE feedback ADD COLUMN texts TEXT;  -- random; the file with its prompt, answer and
                                                 -- correction; NULL: they are in the row
    """,
)

STATE_MERGES: Mapping[str, Merge] = {
    "pointer_moves": ReplacedRows(owner="adapter", number="sequence"),
    "pins": ReplacedRows(owner="adapter"),
    "recorded_figures": JoinedRows(
        key=("adapter", "version", "manifest", "dataset", "recorded_at", "figures"),
        can_be_gone=True,
        owner="adapter",
    ),
    "feedback": JoinedRows(
        key=(
            *("recorded_at", "org", "adapter", "answer_id", "statement"),
            *("prompt", "answer", "rating", "correction", "texts"),
        ),
        higher=("used_in",),  # no row is used in two datasets
        number="id",
        can_be_gone=True,
    ),
    "config_contents": JoinedRows(key=("digest",)),
    "config_revisions": ReplacedRows(owner="environment"),
    "spending": JoinedRows(
        key=("environment", "organisation", "day"), higher=("nano_usd", "unknown")
    ),
    "key_spending": JoinedRows(key=("key_id", "day"), higher=("nano_usd", "unknown")),
    "reservations": JoinedRows(
        key=("environment", "organisation", "day", "answer_id"), number="id", passing=True
    ),
    "test_runs": JoinedRows(key=("number",)),
    "backup_runs": JoinedRows(key=("id",)),
    "forgotten": JoinedRows(key=("digest",), higher=("forgotten_at",)),
    "api_keys": JoinedRows(key=("id",), lower=("revoked_at",)),  # what was revoked stays so
}
"""How the rows of each table are brought together when a backup is restored over the project."""

_STATE = Database(
    name="state",
    what="project's state",
    place=lambda project: project.state_db,
    synchronous="FULL",
    migrations=_MIGRATIONS,
    if_damaged="restore it from a backup, or move it away and deploy the configs again: "
    "no version or link depends on it",
)


def open_state(project: Project) -> AbstractContextManager[sqlite3.Connection]:
    """A connection to the project's state.db, created and migrated if need be.

    Autocommit mode: use `with transaction(connection):` for a change.
    Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
    """
    return _STATE.open(project)


def open_unwritable_state(
    project: Project,
) -> AbstractContextManager[sqlite3.Connection | None]:
    """A connection to read from on a disk that is full or read-only; None where none can be."""
    return _STATE.connect_unwritable(project)


def state_errors(project: Project) -> AbstractContextManager[None]:
    """Turn SQLite's failures with state.db into errors that say what to do."""
    return _STATE.errors(project)


_READING, _CHANGING = KeptConnections(_STATE), KeptConnections(_STATE)


def read_state(project: Project, query: str, values: Values = ()) -> list[sqlite3.Row]:
    """The rows of a query; none when nothing was recorded yet.

    Raises ModelyardError when the file is damaged, or was written by a newer modelyard.
    """
    return _READING.read(project, query, values)


def change_state(
    project: Project, *, sync: bool = True
) -> AbstractContextManager[sqlite3.Connection]:
    """A transaction on a connection that stays open; for what happens with every answer.

    sync: whether it survives a power cut as soon as the block is left; without, a later one that
    does takes it along. Raises what `open_state` raises.
    """
    return _CHANGING.change(project, sync=sync)


def delete_state(project: Project, query: str, values: Values) -> int:
    """Delete rows so that what they held is nowhere in the file; returns how many.

    Raises ModelyardError as `Database.delete_for_good` does.
    """
    return _STATE.delete_for_good(project, (query, values))
