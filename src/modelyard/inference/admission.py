"""Who gets a row of the decoder next: in fair turns, with room and a slot, and nobody starves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from modelyard.core.errors import ModelyardError
from modelyard.inference.fair_line import FairLine
from modelyard.inference.in_flight import InFlight
from modelyard.inference.interfaces import TokenDecoder


@dataclass(frozen=True, slots=True)
class Left:
    """A request that has left the line: with a row, or with an error."""

    answer: InFlight
    error: ModelyardError | None


class _NoSlot(Exception):
    """Every slot is in use by other adapters."""


class _NoRoom(Exception):
    """There is no row for so many keys and values."""


class Admission:
    """The line before the decoder.

    A request that finds no slot for its adapter, or no room for its keys and values, is passed by
    those of other adapters and other organisations. One that was passed for longer than `wait_s` is
    overdue and goes first: for one that needs a slot, the adapter with the fewest running answers
    gets no new ones until a slot is free, and no other adapter gets that; for one that needs room,
    nobody gets any. One whose share of the batch is taken waits for its own kind, and all others
    pass it: nothing is kept for it.
    """

    def __init__(
        self, decoder: TokenDecoder, *, rows: int, wait_s: float, clock: Callable[[], float]
    ) -> None:
        self._decoder = decoder
        self._rows = rows
        self._wait_s = wait_s
        self._clock = clock
        self._line: FairLine[InFlight] = FairLine()
        self._passed: dict[int, tuple[float, InFlight]] = {}
        """Those that were passed, and since when, the oldest first."""

    def __len__(self) -> int:
        return len(self._line)

    def add(self, answer: InFlight) -> None:
        """Put a request into the line."""
        self._line.add(answer)

    def remove(self, answer: InFlight) -> None:
        """Take a request out of the line."""
        self._line.remove(answer)
        self._passed.pop(answer.number, None)

    def charge(self, organisation: str, tokens: int) -> None:
        """Count tokens that are computed for an organisation."""
        self._line.charge(organisation, tokens)

    def admit(self, running: Iterable[InFlight]) -> list[Left]:
        """Give the free rows to those whose turn it is, and a slot to each that needs one."""
        turn = _Turn(list(running), self._rows)
        try:
            for answer in self._overdue():
                if turn.free > 0 and not turn.is_share_taken(answer):
                    self._admit_overdue(answer, turn)
            while turn.free > 0 and self._admit_one(turn):
                pass
        except _NoRoom:  # for one that is overdue
            pass
        return turn.left

    def _overdue(self) -> list[InFlight]:
        since = self._clock() - self._wait_s
        return [
            answer for _, answer in takewhile(lambda each: each[0] < since, self._passed.values())
        ]

    def _admit_overdue(self, answer: InFlight, turn: _Turn) -> None:
        try:
            self._admit(answer, turn)
        except _NoSlot:
            turn.drain_for(answer)

    def _admit_one(self, turn: _Turn) -> bool:
        """Admit the first in the line that can be; whether there was one."""
        for answer in self._line.in_turn():
            if answer.number in turn.seen:
                continue
            if turn.must_wait_a_step(answer) or turn.is_share_taken(answer):
                continue
            turn.seen.add(answer.number)
            try:
                if turn.may_run(answer):
                    self._admit(answer, turn)
                    return True
            except (_NoSlot, _NoRoom):
                pass
            self._passed.setdefault(answer.number, (self._clock(), answer))
        return False

    def _admit(self, answer: InFlight, turn: _Turn) -> None:
        """Give it a slot and a row, or its error. Raises _NoSlot, _NoRoom."""
        error = None
        try:
            self._take_row(answer)
        except (_NoSlot, _NoRoom):
            raise
        except ModelyardError as caught:
            error = caught
        except Exception as caught:  # memory, say: it ends this request, and the others go on
            error = ModelyardError(f"the answer could not begin: {caught!r}", hint="ask again")
            error.__cause__ = caught
        self.remove(answer)
        turn.leave(answer, error)

    def _take_row(self, answer: InFlight) -> None:
        slot = None
        if adapter := answer.request.adapter:
            slot = self._decoder.bank.acquire(adapter)
            if slot is None:
                raise _NoSlot
        row = None
        try:
            row = self._decoder.kv.allocate(answer.most_tokens)
        finally:
            if row is None and slot is not None:
                self._decoder.bank.release(slot)
        if row is None:
            raise _NoRoom
        answer.row, answer.slot = row, slot


class _Turn:
    """One look at the line: what is free, and who may have it."""

    def __init__(self, running: Sequence[InFlight], rows: int) -> None:
        self._used = Counter(answer.digest for answer in running)
        """Running answers by adapter."""
        shares = (answer.request.share for answer in running)
        self._of_share = Counter(share.of for share in shares if share is not None)
        """Running answers by what they have in common."""
        self._busy = bool(running)
        self._filled = False
        self._reserved = False
        self._drained: set[str | None] = set()
        self.free = rows - len(running)
        """Less than none where more were resumed."""
        self.seen: set[int] = set()
        """The numbers of those that had their turn."""
        self.left: list[Left] = []

    def _needs_slot(self, answer: InFlight) -> bool:
        return answer.digest is not None and answer.digest not in self._used

    def must_wait_a_step(self, answer: InFlight) -> bool:
        """Beside running answers, one adapter is put into a slot in a step: they wait meanwhile."""
        return self._busy and self._filled and self._needs_slot(answer)

    def is_share_taken(self, answer: InFlight) -> bool:
        """Whether as many of its kind run as may."""
        share = answer.request.share
        return share is not None and self._of_share[share.of] >= share.most

    def may_run(self, answer: InFlight) -> bool:
        """Whether what it needs is not kept for one that is overdue."""
        if self._needs_slot(answer):
            return not self._reserved
        return answer.digest not in self._drained

    def drain_for(self, answer: InFlight) -> None:
        """Keep the next free slot for this one, and let the least used adapter run dry."""
        self._reserved = True
        others = {
            digest: count
            for digest, count in self._used.items()
            if digest is not None and digest not in self._drained
        }
        if others:
            self._drained.add(min(others, key=lambda digest: others[digest]))

    def leave(self, answer: InFlight, error: ModelyardError | None) -> None:
        self.left.append(Left(answer, error))
        if error is None:
            self._filled |= self._needs_slot(answer)
            self._used[answer.digest] += 1
            if share := answer.request.share:
                self._of_share[share.of] += 1
            self.free -= 1
