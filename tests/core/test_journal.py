"""A link and its rows: the old move or the new one, whenever a process dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from killed import SOAK, fork, interruptions
from modelyard.core.files import exclusive_lock
from modelyard.core.journal import Journal
from modelyard.core.layout import Project
from modelyard.core.state import open_state

JOURNAL = Journal(
    table="pointer_moves",
    owner="adapter",
    order="sequence",
    points_to="to_version",
    link=Project.trained_link,
    target=Project.adapter_version,
)
SEEN = 20 * SOAK
"""Moves that a reader sees while links move."""


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """Two links, both at version 1."""
    project = Project(tmp_path / "project")
    for adapter in ("demo", "other"):
        move(project, adapter, 1)
    return project


def move(place: Project, adapter: str, number: int) -> None:
    """Move the link of an adapter, as every caller does."""
    with (
        exclusive_lock(place.lock("adapter", adapter), what=adapter, wait_s=60),
        open_state(place) as state,
    ):
        JOURNAL.recover(place, state, adapter)
        row = {"adapter": adapter, "action": "promote", "from_version": None,
               "to_version": number, "reason": None, "moved_at": "then"}  # fmt: skip
        JOURNAL.move(place, state, row)


def newest(place: Project, adapter: str = "demo") -> int | None:
    found = JOURNAL.newest(place, adapter, "reason")
    return found["to_version"] if found else None


def rows(place: Project) -> list[tuple[str, int, int]]:
    with open_state(place) as state:
        query = "SELECT adapter, to_version, settled FROM pointer_moves ORDER BY sequence"
        return [tuple(row) for row in state.execute(query)]


def test_a_row_and_its_link_move_together(place: Project) -> None:
    assert newest(place) == 1
    move(place, "demo", 2)
    assert (newest(place), newest(place, "other")) == (2, 1)
    assert JOURNAL.leads_to(place, "demo", 2)
    assert rows(place) == [("demo", 1, 1), ("other", 1, 1), ("demo", 2, 1)]
    assert newest(place, "nobody") is None


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_move_cut_off_at_any_call_holds_as_the_link_says_and_is_recovered(
    place: Project, how: Literal["kill", "fail"]
) -> None:
    old = pending = 0
    for call in interruptions(lambda: move(place, "demo", 2), how):
        held = newest(place)
        assert held in (1, 2), call
        assert JOURNAL.leads_to(place, "demo", held), call
        before = [row for row in rows(place) if row[0] == "demo"]
        old += held == 1
        pending += not before[-1][2]
        with open_state(place) as state:
            completed = JOURNAL.recover(place, state, "demo")
        assert newest(place) == held, call
        after = [row for row in rows(place) if row[0] == "demo"]
        assert all(settled for _, _, settled in after), call
        assert after[-1][1] == held, call
        assert (completed is not None) == (held == 2 and not before[-1][2]), call
        assert newest(place, "other") == 1
        move(place, "demo", 1)
    assert old
    assert pending
    assert call > 8


def test_a_link_that_was_moved_by_hand_confirms_no_row(place: Project) -> None:
    with open_state(place) as state:
        state.execute("UPDATE pointer_moves SET settled = 0 WHERE adapter = 'demo'")
    link = place.trained_link("demo")
    link.unlink()
    assert newest(place) is None
    link.symlink_to("../versions/other/1")
    assert newest(place) is None
    link.unlink()
    link.mkdir()
    assert newest(place) is None
    with open_state(place) as state:
        assert JOURNAL.recover(place, state, "demo") is None
    assert rows(place) == [("other", 1, 1)]


def test_a_reader_never_goes_back_while_links_move(place: Project, tmp_path: Path) -> None:
    stop = tmp_path / "stop"

    def climb() -> None:
        number = 1
        while not stop.exists():
            number += 1
            move(place, "demo", number)

    writer, seen, reads = fork(climb), [1], 0
    while len(seen) <= SEEN:
        held = newest(place)
        assert held is not None
        assert held >= seen[-1]
        reads += 1
        if held > seen[-1]:
            seen.append(held)
    stop.touch()
    assert os.waitpid(writer, 0)[1] == 0
    assert newest(place) == len(rows(place)) - 1
    print(f"{reads} reads among {seen[-1]} moves")
