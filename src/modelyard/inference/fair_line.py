"""The line of requests that wait for a row, in an order that is fair to organisations.

Fair means in tokens: an organisation is charged for the tokens that are computed for it, of prompts
and of answers, and the one that was charged least is next. Source: the virtual token counter of
Sheng et al., Fairness in Serving Large Language Models, OSDI 2024, algorithm 2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_REMEMBERED = 1024


class Waiter(Protocol):
    """A request in the line."""

    @property
    def number(self) -> int:
        """Its place in the order of arrival; unique."""

    @property
    def organisation(self) -> str: ...

    @property
    def digest(self) -> str | None:
        """Of its adapter; None for the bare base."""


W = TypeVar("W", bound=Waiter)


class FairLine(Generic[W]):
    """Requests by organisation, and within one by adapter, each in the order of arrival.

    One organisation never stands in the way of another, and of its own requests one whose adapter
    finds no slot does not stand in the way of those with other adapters.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str | None, OrderedDict[int, W]]] = {}
        self._charged: dict[str, int] = {}
        """The tokens each organisation was charged for, beginning where others stood."""
        self._last = ""
        """The organisation that was the last to have requests here."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiter: W) -> None:
        """Put a request at its organisation's end.

        An organisation that had none waiting begins with no less than the one charged least of
        those that have, or than the last that had: it brings no credit for when it was away.
        """
        organisation = waiter.organisation
        if organisation not in self._waiting:
            floor = self._floor()
            self._charged[organisation] = max(self._charged.get(organisation, 0), floor)
            self._forget(floor)
            self._waiting[organisation] = {}
        same = self._waiting[organisation].setdefault(waiter.digest, OrderedDict())
        same[waiter.number] = waiter
        self._count += 1

    def remove(self, waiter: W) -> None:
        """Take a request out, which is admitted or no longer wanted."""
        by_digest = self._waiting[waiter.organisation]
        del by_digest[waiter.digest][waiter.number]
        self._count -= 1
        if not by_digest[waiter.digest]:
            del by_digest[waiter.digest]
        if not by_digest:
            self._last = waiter.organisation
            del self._waiting[waiter.organisation]

    def charge(self, organisation: str, tokens: int) -> None:
        """Count tokens that are computed for an organisation."""
        if organisation not in self._charged:
            self._charged[organisation] = self._floor()
        self._charged[organisation] += tokens

    def in_turn(self) -> Iterator[W]:
        """Who may be next: the first of each organisation and adapter, in the fair order.

        Anything that changes the line ends the iteration.
        """
        for organisation in sorted(
            self._waiting, key=lambda name: (self._charged[name], self._first_number(name))
        ):
            heads = [next(iter(same.values())) for same in self._waiting[organisation].values()]
            yield from sorted(heads, key=lambda waiter: waiter.number)

    def _floor(self) -> int:
        if not self._waiting:
            return self._charged.get(self._last, 0)
        return min(self._charged[name] for name in self._waiting)

    def _forget(self, floor: int) -> None:
        """Forget organisations that would begin at the floor anyway, when there are many."""
        if len(self._charged) > _REMEMBERED + 2 * len(self._waiting):
            self._charged = {
                name: tokens
                for name, tokens in self._charged.items()
                if tokens > floor or name in self._waiting
            }

    def _first_number(self, organisation: str) -> int:
        return min(next(iter(same)) for same in self._waiting[organisation].values())
