"""Work in a forked process that is killed, or whose file system fails, at its n-th call.

Counted are Python's audit events of the file system, every fsync, and every SQL statement.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import signal
import sqlite3
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

_COUNTED = {
    "open",
    "os.chmod",
    "os.listdir",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.scandir",
    "os.symlink",
    "os.truncate",
    "fcntl.flock",
    "sqlite3.connect",
}
_ENDED, _FAILED, _BROKE = 0, 7, 1
_COUNT = struct.Struct("q")

_SPREAD = 8
"""About how many calls of a long job `make test` cuts off."""

# `make soak` multiplies by ten: see docs/reliability.md.
SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))


def interruptions(
    work: Callable[[], object], how: Literal["kill", "fail"], *, most: int = 2000
) -> Iterator[int]:
    """Run `work` cut off at call 1, 2, 3 ...; yields each number after it, until it ends well.

    It runs whole first, to count its calls; that yields 0. `make soak` cuts it off at every call,
    `make test` where `_cut_at` says. Whoever iterates checks what was left, and puts the start
    back.
    """
    calls = _run_forked(work, most, how).calls
    assert calls < most, f"the work still was not done after {most} calls"
    yield 0
    cuts = _cut_at(calls, how)
    for number in cuts:
        _run_forked(work, number, how)
        yield number
    ended = False
    for number in range(calls + 1, most):  # files left by one run can add calls to the next
        ended = _run_forked(work, number, how).well
        yield number
        if ended:
            break
    assert ended, f"the work still was not done after {most} calls"
    print(f"cut off ({how}) at {len(cuts)} of {calls} calls")


def _cut_at(calls: int, how: str) -> list[int]:
    """Every call in `make soak`; else the first and last two, and `_SPREAD` that lie between.

    The choice is always the same for one count of calls, and another for "kill" than for "fail".
    """
    if SOAK >= 10:
        return list(range(1, calls + 1))
    each = max(10 // SOAK, calls // (_SPREAD * SOAK))
    chance = random.Random(how)
    spread = {first + chance.randrange(each) for first in range(1, calls + 1, each)}
    ends = {1, 2, calls - 1, calls}
    return sorted(number for number in spread | ends if 1 <= number <= calls)


class _Run(NamedTuple):
    """How a run in a forked process ended, and the calls that it made."""

    well: bool
    calls: int


def _run_forked(work: Callable[[], object], number: int, how: str) -> _Run:
    with mmap.mmap(-1, _COUNT.size) as shared:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads here are idle
            child = os.fork()
        if child == 0:
            _interrupt_call(number, how, shared)
            try:
                work()
                # A failure that the work handled does not end the counting.
                os._exit(_ENDED if _count_of(shared) < number else _FAILED)
            except Exception:
                if how == "fail" and _count_of(shared) >= number:
                    os._exit(_FAILED)
                traceback.print_exc()
            finally:
                os._exit(_BROKE)
        status = os.waitpid(child, 0)[1]
        calls = _count_of(shared)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return _Run(False, calls)
    assert os.WEXITSTATUS(status) in (_ENDED, _FAILED), "the work broke by itself"
    return _Run(os.WEXITSTATUS(status) == _ENDED, calls)


def _count_of(shared: mmap.mmap) -> int:
    return int(_COUNT.unpack_from(shared)[0])


def _interrupt_call(number: int, how: str, shared: mmap.mmap) -> None:
    """Arm the interruption; `shared` holds the running count of calls."""

    def count() -> None:
        calls = _count_of(shared) + 1
        _COUNT.pack_into(shared, 0, calls)
        if calls != number:
            return
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _COUNTED:
            count()

    class CountedConnection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            count()
            return super().execute(*arguments)

    fsync, connect = os.fsync, sqlite3.connect

    def counted_fsync(handle: int) -> None:
        count()
        fsync(handle)

    os.fsync = counted_fsync
    sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=CountedConnection, **kwargs)
    sys.addaudithook(hook)


def fork(work: Callable[[], object]) -> int:
    """Run `work` in a forked process; returns its id. It exits with 0, or 1 after an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads here are idle
        child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(_ENDED)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(_BROKE)


def run_whole(work: Callable[[], object]) -> None:
    """Run `work` in a forked process, undisturbed; it must end well."""
    assert os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1]) == _ENDED


def kill_after(work: Callable[[], object], seconds: float) -> bool:
    """Run `work` in a forked process and SIGKILL it after that long; whether it was still at it."""
    child = fork(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == _ENDED, "the work broke by itself"
    return False
