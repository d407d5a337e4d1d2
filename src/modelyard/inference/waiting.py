"""How the threads of this process wait for each other on a machine that others use too.

After each parallel operation OpenMP's threads spin for some milliseconds, so that the next one
begins at once. Where other processes want the cores too, a thread that spins takes the time of the
thread it waits for, and everything is many times slower. GNU's libgomp spins for microseconds only
while it has more threads than there are CPUs, so a second team of threads that only sleeps turns
the spinning off, and its end turns it on again. In training as many threads compute as before.

A step of the engine is too short for threads that sleep: while others want the cores it is computed
by as many threads as there are cores that this process gets. Its bits do not depend on their number
(docs/performance.md says what was measured).

Source: libgomp's manual, GOMP_SPINCOUNT.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread

import torch

_CONTENDED = 0.6
"""Seconds a second that the threads together wait for a core; from here on spinning costs more than
it gives. One busy process beside as many threads as cores gives 0.9."""
_CONTENDED_FEWER = 0.2
"""The same of fewer threads than may compute. One beside two busy processes on two cores: 0.33."""
_FIRST_TRIAL_S, _LONGEST_TRIAL_S = 2.0, 20.0
_PROVEN_S = 5.0
"""Spinning that went well for so long was no failed trial."""
_INTERVAL_S = 0.5
_GRAIN = 32_768
"""Numbers that torch gives a thread at least."""
OWN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables of OpenMP by which a user says how threads wait."""

Readings = dict[int, float]
"""Seconds that each thread has waited for a core since it began, by its id."""


@dataclass(slots=True)
class WaitPolicy:
    """Says when threads may spin, from how long they waited for a core.

    They stop as soon as they wait much. While they sleep, the wait says less about what spinning
    would give, so when it is short it is tried again: after two seconds, and after twice as long
    each time that the trial fails.
    """

    spinning: bool = True
    """Whether threads spin now."""
    _waited: float = 0.0
    _decided_s: float = 0.0
    _trial_after_s: float = _FIRST_TRIAL_S

    def read(self, waited: float, *, now_s: float, fewer: bool = False) -> bool:
        """Whether threads may spin from now on.

        waited: seconds a second that they waited for a core lately, all together.
        now_s: a clock that never goes back.  fewer: whether fewer threads computed than may.
        """
        self._waited += (waited - self._waited) / 2  # one burst of other work is no load
        contended = self._waited >= (_CONTENDED_FEWER if fewer else _CONTENDED)
        passed_s = now_s - self._decided_s
        if self.spinning and contended:
            failed = passed_s < _PROVEN_S
            longer_s = min(2 * self._trial_after_s, _LONGEST_TRIAL_S)
            self._trial_after_s = longer_s if failed else _FIRST_TRIAL_S
            self.spinning, self._decided_s = False, now_s
        elif not self.spinning and not contended and passed_s >= self._trial_after_s:
            self.spinning, self._decided_s = True, now_s
        return self.spinning


class SleepingTeam:
    """A team of OpenMP's threads that only sleeps: while it is there, no thread spins for long."""

    def __init__(self, threads: int, cpus: int) -> None:
        """`threads` compute, on a machine that lets this process use `cpus`."""
        self._size = max(2, cpus - threads + 2)
        self._threads = threads
        self._gathered, self._dismissed = Event(), Event()
        self._leader = Thread(target=self._sleep, name="sleeping-team", daemon=True)
        self._leader.start()
        self._gathered.wait()

    def _sleep(self) -> None:
        # Each thread of Python leads a team of its own, which ends with it.
        if self._size != self._threads:
            torch.set_num_threads(self._size)
        torch.zeros(self._size * _GRAIN).add_(1)
        if self._size != self._threads:
            torch.set_num_threads(self._threads)  # also the default of threads to come
        self._gathered.set()
        self._dismissed.wait()

    def dismiss(self) -> None:
        """End it; its threads are gone on return."""
        self._dismissed.set()
        self._leader.join()


def share_cores() -> None:
    """From now on let this process's threads spin only while nobody else wants the cores.

    Call it after the number of torch's threads is set; further calls change nothing. Nothing is
    watched where there is one thread, where OpenMP is not libgomp, where the kernel does not
    tell how long threads wait for a core, or where one of OWN_SETTINGS is set.
    """
    global _watching
    with _lock:
        threads = torch.get_num_threads()
        if _watching or threads == 1 or any(name in os.environ for name in OWN_SETTINGS):
            return
        if not _has_libgomp() or not read_waits():
            return
        _watching = True
        cpus = len(os.sched_getaffinity(0))
        Thread(target=_watch, args=(threads, cpus), name="share-cores", daemon=True).start()


@contextmanager
def fitting_threads() -> Iterator[None]:
    """Compute on as many threads as there are cores that this process gets beside others now."""
    global _fewer
    threads = torch.get_num_threads()
    if _fitting is None or _fitting >= threads:
        yield
        return
    _fewer = True
    torch.set_num_threads(_fitting)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_lock = Lock()
_watching = False
_fitting: int | None = None
"""How many threads have a core to themselves while others want the cores; None: all."""
_fewer = False
"""Whether fewer threads than may computed since the last reading."""


def _watch(threads: int, cpus: int) -> None:
    global _fitting, _fewer
    policy = WaitPolicy(_decided_s=time.monotonic())
    team: SleepingTeam | None = None
    before, before_s = read_waits(), time.monotonic()
    while True:
        time.sleep(_INTERVAL_S)
        now, now_s = read_waits(), time.monotonic()
        waited = waited_between(before, now) / (now_s - before_s)
        spinning = policy.read(waited, now_s=now_s, fewer=_fewer)
        before, before_s, _fewer = now, now_s, False
        if team is None and not spinning:
            team = SleepingTeam(threads, cpus)
            _fitting = max(1, round(threads - waited))
        elif team is not None and spinning:
            team.dismiss()
            team, _fitting = None, None


def read_waits() -> Readings:
    """How long each thread of this process has waited for a core; empty where that is not known.

    Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
    """
    found = {}
    try:
        tasks = list(Path("/proc/self/task").iterdir())
    except OSError:
        return {}
    for task in tasks:
        try:
            waited_ns = (task / "schedstat").read_text().split()[1]
        except (OSError, IndexError):  # it ended, or this kernel does not count
            continue
        found[int(task.name)] = int(waited_ns) / 1e9
    return found


def waited_between(before: Readings, now: Readings) -> float:
    """Seconds that the threads of `now` waited since `before`; new ones count from their start."""
    return sum(waited_s - before.get(thread, 0.0) for thread, waited_s in now.items())


def _has_libgomp() -> bool:
    try:
        return "libgomp" in Path("/proc/self/maps").read_text()
    except OSError:
        return False
