"""A store of which the n-th call fails: with an error, half done, or done with its reply lost.

    for number in faults(work, "lost"):
        ...                           # what was left; then put the start back

`work` gets a function that makes any store faulty. Counted are the calls to obstore, and each piece
of an object that comes from it. Threads may share a faulty store; which of their calls is the n-th
is then up to chance.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from obstore.exceptions import GenericError

from killed import SOAK
from modelyard.core.errors import ModelyardError
from modelyard.stores.store import ObjectStore

How = Literal["error", "short", "lost"]
"""`error`: nothing happens. `short`: half of what is written or read arrives, and no error says so.
`lost`: it is done, and the connection is lost before the reply; of what is read, half arrives."""
MakeFaulty = Callable[[ObjectStore], ObjectStore]

_NEVER = 1 << 60
_CALLS = ("get", "get_range", "head", "put", "list", "list_with_delimiter", "delete")


@dataclass(slots=True)
class Fault:
    """When a call fails, and how."""

    how: How
    at: int
    calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_now(self) -> bool:
        """Count a call; whether it is the one that fails."""
        with self._lock:
            self.calls += 1
            return self.calls == self.at

    def make_faulty(self, store: ObjectStore) -> ObjectStore:
        """The same store, with this fault."""
        return replace(store, client=cast(Any, _FaultyClient(store.client, self)))


def faults(work: Callable[[MakeFaulty], object], how: How, *, each: int = 1) -> Iterator[int]:
    """Run `work` with a fault at call 1, 2, 3 ... of those that it makes when nothing fails.

    It runs whole first, which yields 0. A run may end well all the same, or raise ModelyardError;
    anything else is raised here. each: one call of so many is tried, in `make soak` ten times more.
    """
    whole = Fault(how, _NEVER)
    work(whole.make_faulty)
    yield 0
    each = max(1, each // SOAK)
    chance = random.Random(how)
    numbers = sorted(
        {
            min(first + chance.randrange(each), whole.calls)
            for first in range(1, whole.calls + 1, each)
        }
    )
    for number in numbers:
        fault = Fault(how, number)
        try:
            work(fault.make_faulty)
        except ModelyardError:
            pass
        except ExceptionGroup as several:
            if several.split(ModelyardError)[1] is not None:
                raise
        yield number
    print(f"a fault ({how}) at {len(numbers)} of {whole.calls} calls")


class _FaultyClient:
    """The client of a store, whose n-th call fails."""

    def __init__(self, client: Any, fault: Fault) -> None:
        self._client, self._fault = client, fault

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in _CALLS:
            return call

        def faulty(*arguments: Any, **options: Any) -> Any:
            if not self._fault.is_now():
                found = call(*arguments, **options)
                return _FaultyObject(found, self._fault) if name == "get" else found
            if self._fault.how == "error":
                raise GenericError("Generic store error: the server is out of order")
            if self._fault.how == "short":
                return _short(name, call, arguments, options)
            call(*arguments, **options)
            raise GenericError("Generic store error: connection reset by peer")

        return faulty


def _short(name: str, call: Any, arguments: tuple[Any, ...], options: Any) -> Any:
    """Do half of it."""
    if name == "put":
        key, data = arguments
        whole = data if isinstance(data, bytes) else b"".join(data)
        return call(key, whole[: len(whole) // 2], **options)
    if name == "delete":
        keys = arguments[0] if isinstance(arguments[0], list) else [arguments[0]]
        return call(keys[: len(keys) // 2]) if len(keys) > 1 else None
    found = call(*arguments, **options)
    if name == "get":
        return _HalfObject(found)
    return found[: len(found) // 2] if name == "get_range" else found


class _FaultyObject:
    """An object on its way here, of which each piece counts."""

    def __init__(self, found: Any, fault: Fault) -> None:
        self.meta, self._found, self._fault = found.meta, found, fault

    def bytes(self) -> Any:
        return self._found.bytes()

    def stream(self, **options: Any) -> Iterator[Any]:
        for chunk in self._found.stream(**options):
            if self._fault.is_now():
                if self._fault.how == "short":
                    return
                raise GenericError("Generic store error: connection reset by peer")
            yield chunk


class _HalfObject:
    """An object of which half arrives."""

    def __init__(self, found: Any) -> None:
        self.meta = found.meta
        data = bytes(found.bytes())
        self._data = data[: len(data) // 2]

    def bytes(self) -> Any:
        return self._data

    def stream(self, **options: Any) -> Iterator[Any]:
        yield self._data
