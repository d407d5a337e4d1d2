"""Marks of packs that are to go."""

from __future__ import annotations

from pathlib import Path

import pytest

from faulty_store import Fault
from modelyard.backup.pending import (
    PREFIX,
    DamagedMark,
    complete_mark,
    pending_packs,
    read_marks,
    remove_marks,
    write_mark,
)
from modelyard.stores.store import ObjectStore, StoreFailed, open_store

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    found = open_store((tmp_path / "store").as_uri(), make=True)
    assert found is not None
    return found


def test_marked_packs_are_pending_until_the_mark_is_removed(store: ObjectStore) -> None:
    assert pending_packs(store) == frozenset()
    first = write_mark(store, [TWO, ONE])
    write_mark(store, [THREE])
    assert pending_packs(store) == {ONE, TWO, THREE}
    remove_marks(store, [first])
    assert pending_packs(store) == {THREE}


def test_a_mark_knows_the_leases_once_it_is_complete(store: ObjectStore) -> None:
    write_mark(store, [ONE])
    (mark,) = read_marks(store)
    assert mark.leases is None and mark.packs == {ONE}
    complete_mark(store, mark.id, mark.packs, [])
    (mark,) = read_marks(store)
    assert mark.leases == frozenset()
    complete_mark(store, mark.id, mark.packs, ["a", "b"])
    assert read_marks(store)[0].leases == {"a", "b"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"packs": ["../x"], "leases": []}',
        b'{"packs": 3, "leases": 3}',
        b'{"packs": [1], "leases": null}',
        b'{"packs": [], "leases": [3]}',
    ],
)
def test_a_damaged_mark_is_said_and_never_taken_for_none(store: ObjectStore, data: bytes) -> None:
    store.overwrite(f"{PREFIX}{'a' * 32}", data)
    with pytest.raises(DamagedMark) as refused:
        pending_packs(store)
    assert "a" * 32 in (refused.value.where or "")


def test_a_mark_that_was_written_in_part_is_none(store: ObjectStore) -> None:
    for call in (1, 2):
        with pytest.raises(StoreFailed, match="read back"):
            write_mark(Fault("short", call).make_faulty(store), [ONE])
        assert read_marks(store) == []
