"""Marks of packs that are to go."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

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


class Interrupted:
    """A client of a store: something else happens before each object that it reads."""

    def __init__(self, client: Any, other: Callable[[], object]) -> None:
        self._client, self._other = client, other

    def __getattr__(self, name: str) -> Any:
        if name == "get":
            self._other()
        return getattr(self._client, name)


def beside(store: ObjectStore, other: Callable[[], object]) -> ObjectStore:
    return replace(store, client=cast(Any, Interrupted(store.client, other)))


def test_two_prunes_that_complete_a_mark_at_once_agree(store: ObjectStore) -> None:
    def complete() -> None:
        (mark,) = read_marks(store)
        complete_mark(store, mark.id, mark.packs, ["b"])

    id = write_mark(beside(store, complete), [ONE, TWO])
    complete_mark(beside(store, complete), id, [TWO, ONE], ["a"])
    (mark,) = read_marks(store)
    assert (mark.packs, mark.leases) == ({ONE, TWO}, {"b"})


@pytest.mark.parametrize("leases", ["null", "[3]"])
@pytest.mark.parametrize("packs", [[ONE], [TWO]])
def test_what_no_prune_completed_is_no_mark(
    store: ObjectStore, leases: str, packs: list[str]
) -> None:
    id = write_mark(store, [ONE])
    said = f'{{"packs": {json.dumps(packs)}, "leases": {leases}}}'.encode()
    with pytest.raises(StoreFailed, match="read back"):
        complete_mark(
            beside(store, lambda: store.overwrite(f"{PREFIX}{id}", said)), id, [ONE], ["a"]
        )
    assert read_marks(store) == []
