"""Work on many items in several processes at once: forked, so that nothing is loaded twice.

Only for a process without other threads, such as a command that has just begun: what a thread holds
when the process is forked is held for ever in the copy.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_shares(work: Callable[[Sequence[T]], R], items: Sequence[T], *, processes: int) -> list[R]:
    """What `work` makes of each share of the items: every n-th for each of n processes, in order.

    What it returns comes from the other processes, and nothing else that it does. The share of a
    process that fails or is killed is done here, so that its error is raised here as well.
    """
    shares = [items[first::processes] for first in range(processes)]
    children = [_start(work, share) for share in shares]
    running = dict(children)
    results: list[R] = []
    try:
        for (child, pipe), share in zip(children, shares, strict=True):
            with os.fdopen(pipe, "rb") as stream:
                said = stream.read()
            del running[child]
            _, status = os.waitpid(child, 0)
            results.append(pickle.loads(said) if status == 0 else work(share))
    finally:
        for child, pipe in running.items():
            os.close(pipe)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return results


def _start(work: Callable[[Sequence[T]], R], share: Sequence[T]) -> tuple[int, int]:
    """A process that does a share, and the pipe that its pickled result comes through."""
    here, there = os.pipe()
    child = os.fork()
    if child:
        os.close(there)
        return child, here
    ended = 1
    gc.disable()  # the process ends before it needs the room
    try:
        os.close(here)
        with os.fdopen(there, "wb") as stream:
            pickle.dump(work(share), stream, pickle.HIGHEST_PROTOCOL)
        ended = 0
    finally:
        os._exit(ended)
