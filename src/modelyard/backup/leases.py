"""Leases: who is at work in a repository, known without trusting any clock but the store's.

    leases/<random id>/lease.json    who it is; written once, when the work begins
    leases/<random id>/heartbeat     written again every minute, by a thread, while the work goes on

A lease never keeps anybody out: it is read by `prune`, which deletes nothing that a backup under
way may rely on. There is no `unlock`. A lease whose holder died lapses by itself once it was not
written for half an hour, and the next prune removes it.

Clocks: ages are differences of times that the store gave to objects, the observer's own heartbeat
included, so the clocks of the machines do not matter. A holder that stood still for longer (a
suspended laptop, a paused container) sees the gap between two of its own heartbeats in the same
times; its lease is lost for good, and `require` raises, as a prune may have counted it as dead.
Identity is 128 random bits: host and process id, which containers share, are only shown.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.stores.store import ObjectStore, StoreFailed

Work = Literal["backup", "copy", "prune"]

PREFIX = "leases/"
HEARTBEAT_S = 60.0
"""Seconds from one heartbeat to the next."""
LAPSES_AFTER_S = 1800.0
"""Seconds by the store's clock without a heartbeat after which a holder counts as dead."""

_RETRY_S = 5.0
_MOST_BYTES = 4096


class LeaseLost(ModelyardError):
    """The work stood still for so long that others may count it as dead."""


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A lease as another process sees it."""

    id: str
    """Its random name."""
    started_s: float
    """When it was written first, by the clock of the store."""
    age_s: float
    """How long ago it was written last."""
    lapsed: bool
    """Whether its holder counts as dead."""


@dataclass(slots=True)
class Lease:
    """The lease of work in this process."""

    store: ObjectStore
    work: Work
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    lapses_after_s: float = LAPSES_AFTER_S
    _written_s: float | None = None
    _lost: bool = False
    _left: bool = False
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def require(self) -> None:
        """Raise LeaseLost unless the lease never lapsed; to be called before what must not be lost.

        Two requests. Raises StoreFailed when the store cannot be reached.
        """
        self.now_s()
        if self._lost:
            raise LeaseLost(
                f"the {self.work} stood still for more than {self.lapses_after_s / 60:,.0f} "
                "minutes, and others may have counted it as dead",
                where=self.store.url,
                hint="run the same command again; what was stored so far is found again",
            )

    def leave(self) -> None:
        """Let it lapse instead of removing it, so that others see that its work was cut off."""
        self._left = True

    def now_s(self) -> float:
        """The time by the clock of the store; writes a heartbeat to learn it."""
        with self._writing:
            key = f"{PREFIX}{self.id}/heartbeat"
            self.store.overwrite(key, b"")
            times = [entry.modified_s for entry in self.store.listing(f"{PREFIX}{self.id}/")]
            now_s = max(times)
            before_s = min(times) if self._written_s is None else self._written_s
            self._lost = self._lost or now_s - before_s > self.lapses_after_s / 2
            self._written_s = now_s
            return now_s

    def others(self) -> list[SeenLease]:
        """Every other lease in the repository, the oldest first."""
        seen = seen_leases(self.store, self.now_s(), lapses_after_s=self.lapses_after_s)
        return [lease for lease in seen if lease.id != self.id]

    def remove(self, ids: Sequence[str]) -> None:
        """Remove leases: one's own, or lapsed ones."""
        names = ("heartbeat", "lease.json")
        self.store.delete([f"{PREFIX}{id}/{name}" for id in ids for name in names])

    def _beat(self, stop: threading.Event, every_s: float) -> None:
        pause_s = every_s
        while not stop.wait(pause_s):
            try:
                self.now_s()
                pause_s = every_s
            except StoreFailed:  # `require` finds out whether it was for too long
                pause_s = min(_RETRY_S, every_s)


@contextmanager
def hold_lease(
    store: ObjectStore,
    work: Work,
    *,
    heartbeat_s: float = HEARTBEAT_S,
    lapses_after_s: float = LAPSES_AFTER_S,
) -> Iterator[Lease]:
    """A lease for as long as the block runs; a thread writes its heartbeats.

    Raises StoreFailed when it cannot be written. One that cannot be removed at the end lapses.
    """
    lease = Lease(store, work, lapses_after_s=lapses_after_s)
    who = {"work": work, "host": socket.gethostname(), "pid": os.getpid(), "started_at": utc_now()}
    store.create(f"{PREFIX}{lease.id}/lease.json", json.dumps(who).encode())
    stop = threading.Event()
    beating = threading.Thread(target=lease._beat, args=(stop, heartbeat_s), daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        stop.set()
        beating.join(timeout=_RETRY_S)  # not for as long as a store is silent
        if not lease._left:
            with suppress(StoreFailed):
                lease.remove([lease.id])


def seen_leases(
    store: ObjectStore, now_s: float, *, lapses_after_s: float = LAPSES_AFTER_S
) -> list[SeenLease]:
    """Every lease in the repository, the oldest first; `now_s` is by the clock of the store."""
    times = defaultdict(list)
    for entry in store.listing(PREFIX):
        times[entry.key.removeprefix(PREFIX).partition("/")[0]].append(entry.modified_s)
    seen = [
        SeenLease(id, min(at), now_s - max(at), now_s - max(at) > lapses_after_s)
        for id, at in times.items()
    ]
    return sorted(seen, key=lambda lease: lease.started_s)


def describe_lease(store: ObjectStore, id: str) -> str:
    """Who holds a lease, as it says itself: `a backup on HOST since TIME`; not trusted."""
    try:
        data = store.read(f"{PREFIX}{id}/lease.json", most_bytes=_MOST_BYTES)
        who = parse_json(data or b"")
        return f"a {who['work']} on {who['host']} since {who['started_at']}"
    except (InvalidJson, StoreFailed, KeyError, TypeError):
        return "other work"
