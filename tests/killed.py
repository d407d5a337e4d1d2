"""Work in a forked process that is killed, or whose file system fails, at its n-th call.

Counted are Python's audit events of the file system, every fsync, and every SQL statement.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

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


def interruptions(
    work: Callable[[], object], how: Literal["kill", "fail"], *, most: int = 2000
) -> Iterator[int]:
    """Run `work` cut off at call 1, 2, 3 ...; yields after each, until it ends well.

    Whoever iterates checks what was left, and puts the start back.
    """
    for number in range(1, most):
        ended = _run_forked(work, number, how)
        yield number
        if ended:
            return
    raise AssertionError(f"the work still was not done after {most} calls")


def _run_forked(work: Callable[[], object], number: int, how: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads here are idle
        child = os.fork()
    if child == 0:
        calls = _interrupt_call(number, how)
        try:
            work()
            # A failure that was taken care of inside is no reason to stop counting up.
            os._exit(_ENDED if calls[0] < number else _FAILED)
        except Exception:
            if how == "fail":
                os._exit(_FAILED)
            traceback.print_exc()
        finally:
            os._exit(_BROKE)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) in (_ENDED, _FAILED), "the work broke by itself"
    return os.WEXITSTATUS(status) == _ENDED


def _interrupt_call(number: int, how: str) -> list[int]:
    """Arm the interruption; returns the running count of calls."""
    calls = [0]

    def count() -> None:
        calls[0] += 1
        if calls[0] != number:
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
    return calls


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
