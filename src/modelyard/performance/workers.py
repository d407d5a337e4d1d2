"""Jobs in a few threads at once; one that hangs is given up, and the others go on."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")

_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class _Ended(Generic[R]):
    """What came of one job."""

    worker: int
    result: R | BaseException


class Workers(Generic[J, R]):
    """Does jobs in threads that end with the process, whatever they are in.

    do: does one job.
    longest_s: after how many seconds a job hangs, so that nobody waits for it any more.
    give_up: the result of one that hangs, of when it began as `time.perf_counter` says it.
    """

    def __init__(
        self,
        do: Callable[[J], R],
        *,
        longest_s: Callable[[J], float],
        give_up: Callable[[J, float], R],
    ) -> None:
        self._do, self._longest_s, self._give_up = do, longest_s, give_up

    def results(self, jobs: Sequence[J], *, at_once: int) -> Iterator[R]:
        """The results as they come. An iterator that is closed begins no further job.

        Raises what a job raises.
        """
        waiting, ended = deque(jobs), queue.SimpleQueue[_Ended[R]]()
        running: dict[int, tuple[J, float]] = {}
        lock = threading.Lock()
        numbers = iter(range(len(jobs) + at_once + 1))

        def work(worker: int) -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    job = waiting.popleft()
                    running[worker] = job, time.perf_counter()
                result: R | BaseException
                try:
                    result = self._do(job)
                except BaseException as error:
                    result = error
                with lock:
                    if running.pop(worker, None) is None:
                        return  # it was given up
                    if isinstance(result, BaseException):
                        waiting.clear()
                ended.put(_Ended(worker, result))

        def start() -> None:
            number = next(numbers)
            name = f"modelyard-test-{number}"
            threading.Thread(target=work, args=(number,), name=name, daemon=True).start()

        try:
            for _ in range(min(at_once, len(jobs))):
                start()
            left = len(jobs)
            while left:
                try:
                    found = ended.get(timeout=_LOOK_EVERY_S)
                except queue.Empty:
                    with lock:
                        hanging = [
                            (worker, *each)
                            for worker, each in running.items()
                            if time.perf_counter() - each[1] > self._longest_s(each[0])
                        ]
                        for worker, *_ in hanging:
                            del running[worker]
                    for _, job, began_s in hanging:
                        start()
                        left -= 1
                        yield self._give_up(job, began_s)
                    continue
                left -= 1
                if isinstance(found.result, BaseException):
                    raise found.result
                yield found.result
        finally:
            with lock:
                waiting.clear()
