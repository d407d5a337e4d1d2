"""Leases: seen by others, lapsing by themselves, lost by a holder that stood still."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.backup.leases import PREFIX, describe_lease, hold_lease
from modelyard.stores.store import ObjectStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    found = open_store((tmp_path / "store").as_uri(), make=True)
    assert found is not None
    return found


def test_work_sees_other_work_until_it_ends(store: ObjectStore) -> None:
    with hold_lease(store, "prune") as mine:
        assert mine.others() == []
        with hold_lease(store, "backup") as backup:
            (seen,) = mine.others()
            assert seen.id == backup.id and not seen.lapsed
            assert abs(seen.started_s - mine.now_s()) < 5
            assert describe_lease(store, seen.id).startswith("a backup on ")
            assert [lease.id for lease in backup.others()] == [mine.id]
        assert mine.others() == []
        mine.require()
    assert store.listing(PREFIX) == []


def test_a_lease_is_written_again_while_the_work_goes_on(store: ObjectStore) -> None:
    with (
        hold_lease(store, "prune") as mine,
        hold_lease(store, "backup", heartbeat_s=0.05) as backup,
    ):
        time.sleep(0.5)
        (seen,) = mine.others()
        assert seen.age_s < 0.4 < mine.now_s() - seen.started_s
        backup.require()


def working(store: ObjectStore, does: str) -> subprocess.Popen[str]:
    """Another process that holds a lease, says so, and does that; obstore survives no fork."""
    program = f"""
import os, signal, sys, time
from modelyard.backup.leases import LeaseLost, hold_lease
from modelyard.stores.store import open_store
with hold_lease(open_store(sys.argv[1]), "backup", heartbeat_s=0.05, lapses_after_s=2.0) as lease:
    print("holds", flush=True)
    {does}
"""
    command = [sys.executable, "-c", program, store.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "holds\n"
    return process


def test_the_lease_of_a_killed_process_lapses_by_itself(store: ObjectStore) -> None:
    with (
        working(store, "time.sleep(60)") as process,
        hold_lease(store, "prune", lapses_after_s=1.0) as mine,
    ):
        assert not mine.others()[0].lapsed
        process.kill()
        process.wait()
        while not mine.others()[0].lapsed:
            time.sleep(0.05)
        assert mine.others()[0].age_s > 1.0
        mine.remove([mine.others()[0].id])
        assert mine.others() == []


def test_a_holder_that_stood_still_finds_its_lease_lost_for_good(store: ObjectStore) -> None:
    does = """
    time.sleep(0.6)  # its thread beats again before it asks
    for _ in range(2):
        try:
            lease.require()
        except LeaseLost as error:
            print(error.message)
    """
    with working(store, does) as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=30)
    assert said.count("stood still") == 2


def test_equal_hosts_and_process_ids_are_two_leases(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)
    monkeypatch.setattr("socket.gethostname", lambda: "container")
    with hold_lease(store, "prune") as mine, hold_lease(store, "backup") as first:
        with hold_lease(store, "backup"):
            assert len(mine.others()) == 2
        assert [lease.id for lease in mine.others()] == [first.id]


def test_a_wrong_clock_of_this_machine_does_not_matter(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for years in (-3, 3):
        away = time.time() + years * 365 * 86400
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda away=away: away)
            with hold_lease(store, "prune") as mine, hold_lease(store, "backup"):
                assert not mine.others()[0].lapsed


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b"\xff", b"x" * 10_000])
def test_what_a_lease_says_is_not_trusted(store: ObjectStore, said: bytes) -> None:
    store.overwrite(f"{PREFIX}abc/lease.json", said)
    with hold_lease(store, "prune") as mine:
        assert [lease.id for lease in mine.others()] == ["abc"]
        assert describe_lease(store, "abc") == "other work"
