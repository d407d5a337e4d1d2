"""The store that fails on purpose does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from faulty_store import Fault, MakeFaulty, faults
from modelyard.stores.store import ObjectStore, StoreFailed, open_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    found = open_store((tmp_path / "store").as_uri(), make=True)
    assert found is not None
    return found


def test_an_error_changes_nothing(store: ObjectStore) -> None:
    faulty = Fault("error", 2).make_faulty(store)
    faulty.overwrite("a", b"first")
    with pytest.raises(StoreFailed, match="out of order"):
        faulty.overwrite("a", b"second")
    assert store.read("a", most_bytes=100) == b"first"
    faulty.overwrite("a", b"third")
    assert store.read("a", most_bytes=100) == b"third"


def test_a_short_write_and_a_short_read_are_half_and_say_nothing(store: ObjectStore) -> None:
    Fault("short", 1).make_faulty(store).overwrite("a", b"12345678")
    assert store.read("a", most_bytes=100) == b"1234"
    assert Fault("short", 1).make_faulty(store).read("a", most_bytes=100) == b"12"
    store.overwrite("b", b"x")
    Fault("short", 1).make_faulty(store).delete(["a"])
    assert [entry.key for entry in store.listing()] == ["a", "b"]


def test_a_lost_reply_comes_after_the_work(store: ObjectStore) -> None:
    with pytest.raises(StoreFailed, match="reset by peer"):
        Fault("lost", 1).make_faulty(store).overwrite("a", b"12345678")
    assert store.read("a", most_bytes=100) == b"12345678"
    with pytest.raises(StoreFailed):
        b"".join(Fault("lost", 2).make_faulty(store).download("a"))
    with pytest.raises(StoreFailed):
        Fault("lost", 1).make_faulty(store).delete(["a"])
    assert store.listing() == []


def test_every_call_is_made_to_fail_once(store: ObjectStore) -> None:
    def work(make_faulty: MakeFaulty) -> None:
        faulty = make_faulty(store)
        for number in range(5):
            faulty.overwrite(str(number), b"x")

    kept = []
    for number in faults(work, "error"):
        kept.append(len(store.listing()))
        store.delete([str(number) for number in range(5)])
        assert number == len(kept) - 1
    assert kept == [5, 0, 1, 2, 3, 4]
