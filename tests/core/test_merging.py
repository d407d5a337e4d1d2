"""What a restored copy of state.db changes of the one that is there, and what it never may."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.database import transaction
from modelyard.core.layout import Project
from modelyard.core.merging import JoinedRows, Merge, merge_copy
from modelyard.core.state import STATE_MERGES, open_state


@pytest.fixture
def there(tmp_path: Path) -> Project:
    return Project(tmp_path / "there")


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    return Project(tmp_path / "copy")


def insert(project: Project, table: str, **row: Any) -> None:
    with open_state(project) as connection:
        columns, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", row)


def rows(project: Project, query: str) -> list[tuple[Any, ...]]:
    with open_state(project) as connection:
        return [tuple(row) for row in connection.execute(query)]


def merge(
    there: Project,
    copy: Project,
    *,
    owners: Mapping[str, Collection[str]] | None = None,
    everything: bool = True,
    develops: bool = False,
    gone: str | None = None,
) -> None:
    with open_state(copy), open_state(there) as connection:
        connection.execute("ATTACH ? AS restored", (str(copy.state_db),))
        with transaction(connection):
            merge_copy(
                connection,
                STATE_MERGES,
                owners=owners or {},
                everything=everything,
                develops=develops,
                is_gone=lambda row: row["org"] is not None and row["org"] == gone,
            )


def move(project: Project, adapter: str, number: int, **more: Any) -> None:
    row = {"action": "promote", "moved_at": "2026-11-01T00:00:00Z", "settled": 1}
    insert(project, "pointer_moves", adapter=adapter, to_version=number, **row, **more)


def feedback(project: Project, text: str, org: str | None = None, **more: Any) -> None:
    at = "2026-11-01T00:00:00Z"
    insert(project, "feedback", recorded_at=at, prompt=text, answer="Yes.", org=org, **more)


def spend(project: Project, day: str, nano_usd: int, unknown: int = 0) -> None:
    row = {"environment": "production", "organisation": "", "day": day}
    insert(project, "spending", **row, nano_usd=nano_usd, unknown=unknown)


def reserve(project: Project, answer_id: str) -> None:
    row = {"environment": "production", "organisation": "", "day": "2026-11-30"}
    insert(project, "reservations", answer_id=answer_id, nano_usd=5, lapses_at_ms=9, **row)


def test_every_table_of_the_state_declares_how_it_is_merged(there: Project) -> None:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    assert {name for (name,) in rows(there, query)} == set(STATE_MERGES)


def test_columns_that_a_declaration_names_exist(there: Project) -> None:
    for table, rule in STATE_MERGES.items():
        named = {rule.number} if rule.number else set()
        named |= {*rule.key, *rule.higher} if isinstance(rule, JoinedRows) else {rule.owner}
        assert named <= {row[1] for row in rows(there, f"PRAGMA table_info({table})")}, table


def test_the_history_of_an_adapter_is_that_of_the_copy_and_others_keep_theirs(
    there: Project, copy: Project
) -> None:
    move(there, "demo", 1)
    move(there, "demo", 2)
    move(there, "younger", 1)
    move(copy, "demo", 1)
    merge(there, copy)
    assert rows(there, "SELECT adapter, to_version FROM pointer_moves ORDER BY sequence") == [
        ("demo", 1),
        ("younger", 1),
    ]


def test_moves_get_new_numbers_where_those_of_the_copy_are_taken(
    there: Project, copy: Project
) -> None:
    move(there, "younger", 7)
    for number in (1, 2, 3):
        move(copy, "demo", number)
    merge(there, copy)
    query = "SELECT to_version FROM pointer_moves WHERE adapter = 'demo' ORDER BY sequence"
    assert rows(there, query) == [(1,), (2,), (3,)]
    assert rows(there, "SELECT sequence FROM pointer_moves WHERE adapter = 'younger'") == [(1,)]


def test_only_the_rows_of_named_owners_are_replaced_where_not_everything_is_restored(
    there: Project, copy: Project
) -> None:
    for project, number in ((there, 2), (copy, 1)):
        move(project, "demo", number)
        move(project, "other", number)
    feedback(copy, "Old")
    merge(there, copy, owners={"adapter": ["demo"]}, everything=False)
    query = "SELECT adapter, to_version FROM pointer_moves ORDER BY adapter"
    assert rows(there, query) == [("demo", 1), ("other", 2)]
    assert rows(there, "SELECT * FROM feedback") == []


def test_spending_keeps_the_higher_figure_of_each_day(there: Project, copy: Project) -> None:
    spend(there, "2026-11-28", 10, unknown=3)
    spend(copy, "2026-11-28", 20, unknown=1)
    spend(there, "2026-11-29", 50)
    spend(copy, "2026-11-29", 40)
    spend(copy, "2026-11-27", 1)
    spend(there, "2026-11-30", 2)
    merge(there, copy)
    assert rows(there, "SELECT day, nano_usd, unknown FROM spending ORDER BY day") == [
        ("2026-11-27", 1, 0),
        ("2026-11-28", 20, 3),
        ("2026-11-29", 50, 0),
        ("2026-11-30", 2, 0),
    ]


def test_a_reservation_that_was_settled_since_is_not_made_again(
    there: Project, copy: Project
) -> None:
    reserve(copy, "settled")
    reserve(there, "under way")
    merge(there, copy, develops=True)
    assert rows(there, "SELECT id, answer_id FROM reservations") == [(1, "under way")]


def test_reservations_of_a_state_that_was_lost_count_again(there: Project, copy: Project) -> None:
    reserve(copy, "of the lost state")
    reserve(there, "under way")
    merge(there, copy)
    assert rows(there, "SELECT id, answer_id FROM reservations ORDER BY id") == [
        (1, "under way"),
        (2, "of the lost state"),
    ]


def test_feedback_of_both_stays_and_of_the_forgotten_none_comes_back(
    there: Project, copy: Project
) -> None:
    feedback(there, "New", org="acme")
    feedback(there, "Both", used_in="demo-data")
    feedback(copy, "Old", org="acme")
    feedback(copy, "Both")
    feedback(copy, "Gone", org="marigold")
    merge(there, copy, gone="marigold")
    assert rows(there, "SELECT id, prompt, used_in FROM feedback ORDER BY id") == [
        (1, "New", None),
        (2, "Both", "demo-data"),
        (3, "Old", None),
    ]


def test_merging_again_changes_nothing(there: Project, copy: Project) -> None:
    for project in (there, copy):
        move(project, "demo", 1)
        feedback(project, f"Of {project.root.name}")
        spend(project, "2026-11-30", 4)
        reserve(project, project.root.name)
    merge(there, copy)
    before = {table: rows(there, f"SELECT * FROM {table}") for table in STATE_MERGES}
    merge(there, copy)
    assert before == {table: rows(there, f"SELECT * FROM {table}") for table in STATE_MERGES}


KEYS: Mapping[str, Merge] = {"keys": JoinedRows(key=("id",), lower=("revoked_at",))}


@pytest.fixture
def keys() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("ATTACH ':memory:' AS restored")
        for schema in ("main", "restored"):
            connection.execute(f"CREATE TABLE {schema}.keys (id TEXT PRIMARY KEY, revoked_at TEXT)")
        yield connection


def test_a_table_can_declare_that_what_was_revoked_stays_revoked(keys: sqlite3.Connection) -> None:
    now = [
        ("only here", None),
        ("revoked since", "2026-11-30"),
        ("not known to be revoked", None),
        ("revoked before its overlap was over", "2026-11-29"),
    ]
    then = [
        ("only there", None),
        ("revoked since", None),
        ("not known to be revoked", "2026-11-1"),
        ("revoked before its overlap was over", "2026-12-30"),
    ]
    keys.executemany("INSERT INTO main.keys VALUES (?, ?)", now)
    keys.executemany("INSERT INTO restored.keys VALUES (?, ?)", then)
    merge_copy(keys, KEYS, owners={}, everything=True, develops=False, is_gone=lambda row: False)
    assert keys.execute("SELECT * FROM main.keys ORDER BY id").fetchall() == [
        ("not known to be revoked", "2026-11-1"),
        ("only here", None),
        ("only there", None),
        ("revoked before its overlap was over", "2026-11-29"),
        ("revoked since", "2026-11-30"),
    ]
