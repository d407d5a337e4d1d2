from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.core.files import LockHeld, exclusive_lock

HOLD = """
import sys, time
from pathlib import Path
from modelyard.core.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), what="adapter demo"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "adapter-demo.lock"


@pytest.fixture
def hold(lock: Path) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    """Start a process that holds the lock for so many seconds."""
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(lock), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_holder_is_told_who_has_it_since_when(lock: Path, hold: Callable) -> None:
    holder = hold(60)
    said = f"adapter demo is in use by process {holder.pid} since 2"
    with pytest.raises(LockHeld, match=said), exclusive_lock(lock, what="adapter demo"):
        pass


def test_the_second_holder_waits_as_long_as_it_was_told(lock: Path, hold: Callable) -> None:
    hold(0.5)
    with exclusive_lock(lock, what="adapter demo", wait_s=10):
        pass
    hold(60)
    began = time.monotonic()
    with pytest.raises(LockHeld), exclusive_lock(lock, what="adapter demo", wait_s=0.3):
        pass
    assert 0.3 <= time.monotonic() - began < 5


def test_a_killed_holder_never_blocks(lock: Path, hold: Callable) -> None:
    holder = hold(60)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive_lock(lock, what="adapter demo"):
        pass


def test_a_worker_forked_by_a_killed_holder_does_not_keep_its_lock(lock: Path) -> None:
    # In one write: two processes write to one pipe here.
    forked = 'import os; os.write(1, f"{os.fork()}\\n".encode()); time.sleep'
    script = HOLD.replace("time.sleep", forked)
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(lock), "60"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    lines = {holder.stdout.readline().strip() for _ in range(3)}
    (worker,) = (int(line) for line in lines - {"held", "0"})
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    try:
        with exclusive_lock(lock, what="adapter demo", wait_s=5):
            os.kill(worker, 0)
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.stdout.close()


def test_a_forked_worker_does_not_let_go_of_its_parents_lock(lock: Path) -> None:
    with exclusive_lock(lock, what="adapter demo"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            worker = os.fork()
        if worker == 0:
            os._exit(0)
        os.waitpid(worker, 0)
        with pytest.raises(LockHeld), exclusive_lock(lock, what="adapter demo"):
            pass


def test_the_lock_is_let_go_when_the_work_fails(lock: Path) -> None:
    with pytest.raises(KeyError), exclusive_lock(lock, what="adapter demo"):
        raise KeyError
    with exclusive_lock(lock, what="adapter demo"):
        pass


def test_a_lock_file_nobody_can_read_still_says_something(lock: Path, hold: Callable) -> None:
    hold(60)
    lock.write_text("not json")
    said = "in use by another process"
    with pytest.raises(LockHeld, match=said), exclusive_lock(lock, what="adapter demo"):
        pass


def test_sixteen_processes_never_hold_it_together(tmp_path: Path, lock: Path) -> None:
    script = """
import sys
from pathlib import Path
from modelyard.core.files import exclusive_lock
lock, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with exclusive_lock(lock, what="counter", wait_s=60):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", script, str(lock), str(counter)]
    processes = [subprocess.Popen(command) for _ in range(16)]
    assert [process.wait() for process in processes] == [0] * 16
    assert counter.read_text() == "320"
