"""Keys and values of the running answers: rows, in pools of equal capacity, bounded in bytes.

A row belongs to one answer. Callers hold handles; inside its pool a row moves as it suits, so that
the rows that decode lie at the pool's beginning and one step attends to them without a gather.
Places that no answer has written are zero: a row is zeroed when it is given back, and so nothing of
an answer reaches the next one, not even a NaN through a masked place. On Linux its memory goes back
to the system instead, where more than a little waits for the next answers.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from modelyard.core.errors import InvalidInput
from modelyard.inference.interfaces import KvPiece
from modelyard.inference.pages import zeros_in_small_pages
from modelyard.inference.sizes import row_capacity
from modelyard.inference.structure import DecoderShape

_KEPT_BYTES = 64 << 20
"""The memory that rows keep beyond what their answers have written."""


@dataclass(slots=True, eq=False)
class Pool:
    """Rows of one capacity."""

    capacity: int
    """Positions of each row."""
    data: Tensor
    """[layers, 2, rows, k, capacity, w]: keys, then values."""
    handles: list[int | None]
    """Whose each row is."""
    resident: list[int]
    """Up to which position each row takes memory on a CPU."""
    pages: mmap.mmap | None
    """The memory of `data`, where the memory of a row can be given back."""

    def zero(self, row: int, used: int) -> None:
        """Zero a row, of which the first `used` positions were written."""
        self.data[:, :, row, :, :used].zero_()

    def give_back(self, row: int) -> None:
        """Zero a row by giving its memory to the system, which gives zeros for it."""
        assert self.pages is not None
        layers, parts, rows = self.data.shape[:3]
        size = self.data[0, 0, 0].nbytes
        for part in range(layers * parts):
            self.pages.madvise(mmap.MADV_DONTNEED, (part * rows + row) * size, size)
        self.resident[row] = 0


@dataclass(slots=True)
class _Place:
    """Where a handle's row is, and how much of it was written."""

    pool: Pool
    row: int
    used: int = 0


@dataclass(slots=True, eq=False)
class KvCache:
    """Rows of keys and values of one model."""

    shape: DecoderShape
    dtype: torch.dtype
    device: torch.device
    budget_bytes: int
    """The memory that all rows together may take."""
    _pools: dict[int, Pool] = field(default_factory=dict)
    _places: dict[int, _Place] = field(default_factory=dict)
    _next: int = 0

    @property
    def longest(self) -> int:
        """The most positions of a row: the model's context, or what the budget has room for."""
        return min(self.shape.context, self.budget_bytes // self._token_bytes)

    @property
    def size_bytes(self) -> int:
        """The memory that the rows can take; on a CPU only what was written is resident."""
        return sum(pool.data.nbytes for pool in self._pools.values())

    def allocate(self, tokens: int) -> int | None:
        """A row with room for `tokens` positions; None when there is none until one is released.

        Raises InvalidInput when no row can ever hold that many.
        """
        if tokens > self.longest:
            raise InvalidInput(
                f"{tokens:,} tokens are more than the {self.longest:,} that a row can hold",
                hint="shorten the prompt or ask for fewer new tokens",
            )
        capacity = min(row_capacity(tokens), self.longest)
        pool = self._pools.get(capacity)
        if pool is None or None not in pool.handles:
            pool = self._grow(capacity)
        if pool is None:
            return None
        handle, row = self._next, pool.handles.index(None)
        self._next += 1
        pool.handles[row] = handle
        self._places[handle] = _Place(pool, row)
        return handle

    def release(self, row: int) -> None:
        """Zero the row and give it back."""
        place = self._places.pop(row)
        place.pool.handles[place.row] = None
        self._clear(place.pool, place.row, place.used)

    def copy(self, row: int, start: int, tokens: int) -> KvPiece:
        """A copy of `tokens` positions of a row from `start` on, all written before."""
        place, end = self._places[row], start + tokens
        if end > place.used:
            raise ValueError(f"{end} positions of a row that has {place.used}")
        data = place.pool.data[:, :, place.row, :, start:end].clone()
        return KvPiece(tokens, data.nbytes, data)

    def write(self, row: int, start: int, piece: KvPiece) -> None:
        """Write a piece into a row that has `start` positions."""
        place, end = self._places[row], start + piece.tokens
        if start > place.used:
            raise ValueError(f"position {start} of a row that has {place.used}")
        self.written(row, end)
        place.pool.data[:, :, place.row, :, start:end] = piece.data

    def written(self, row: int, end: int) -> None:
        """Say that the positions of a row before `end` are, or are about to be, written."""
        place = self._places[row]
        if end > place.pool.capacity:
            raise ValueError(f"position {end} of a row of {place.pool.capacity}")
        place.used = max(place.used, end)
        place.pool.resident[place.row] = max(place.pool.resident[place.row], end)

    def place(self, row: int) -> tuple[Pool, int]:
        """The pool and the number in it of a row, until the next call that moves rows."""
        place = self._places[row]
        return place.pool, place.row

    def bring_forward(self, rows: Sequence[int]) -> list[tuple[Pool, list[int]]]:
        """Move rows to the beginning of their pools; gives the pools and their rows in order."""
        wanted: dict[int, list[int]] = {}
        for row in rows:
            wanted.setdefault(self._places[row].pool.capacity, []).append(row)
        found = []
        for capacity, members in wanted.items():
            pool = self._pools[capacity]
            outside = [row for row in members if self._places[row].row >= len(members)]
            chosen = set(members)
            inside = (at for at in range(len(members)) if pool.handles[at] not in chosen)
            for row, at in zip(outside, inside, strict=True):
                self._swap(pool, self._places[row].row, at)
            found.append((pool, [row for row in pool.handles[: len(members)] if row is not None]))
        return found

    def _swap(self, pool: Pool, one: int, other: int) -> None:
        pairs = [(pool.handles[at], at) for at in (one, other)]
        used = [self._places[handle].used if handle is not None else 0 for handle, _ in pairs]
        both = pool.data[:, :, :, :, : max(used)]
        for at in (one, other) if used[1] else (other,):
            pool.resident[at] = max(pool.resident[at], *used)
        if used[1]:
            kept = both[:, :, one].clone()
            both[:, :, one] = both[:, :, other]
            both[:, :, other] = kept
        else:
            both[:, :, other] = both[:, :, one]
        for (handle, _), at in zip(pairs, (other, one), strict=True):
            pool.handles[at] = handle
            if handle is not None:
                self._places[handle].row = at
        if not used[1]:
            self._clear(pool, one, used[0])

    def _clear(self, pool: Pool, row: int, used: int) -> None:
        """Zero a row of which nothing is wanted any more.

        Its memory is kept for the next answers, which saves some 20 microseconds a token, unless
        that is more than _KEPT_BYTES: else every row would in time take what its longest answer
        took.
        """
        resident = sum(sum(each.resident) for each in self._pools.values())
        unused = resident - sum(place.used for place in self._places.values())
        if pool.pages is not None and unused * self._token_bytes > _KEPT_BYTES:
            pool.give_back(row)
        else:
            pool.zero(row, used)

    def _grow(self, capacity: int) -> Pool | None:
        """The pool with room for another row; twice as many rows where the budget allows."""
        pool = self._pools.get(capacity)
        has = len(pool.handles) if pool else 0
        row_bytes = capacity * self._token_bytes
        if self.size_bytes + row_bytes > self.budget_bytes:
            self._shrink_others(capacity)
        room = (self.budget_bytes - self.size_bytes) // row_bytes
        if room < 1:
            return None
        return self._resize(capacity, has + min(room, max(1, has)))

    def _shrink_others(self, capacity: int) -> None:
        """Give up the rows at the end of other pools that nobody has."""
        for other in [pool for pool in self._pools.values() if pool.capacity != capacity]:
            taken = [row for row, handle in enumerate(other.handles) if handle is not None]
            kept = taken[-1] + 1 if taken else 0
            if kept < len(other.handles):
                self._resize(other.capacity, kept)

    def _resize(self, capacity: int, rows: int) -> Pool:
        old = self._pools.pop(capacity, None)
        shape = self.shape
        size = (shape.layers, 2, rows, shape.key_heads, capacity, shape.head_width)
        data, pages = _zeros(size, self.dtype, self.device)
        pool = Pool(capacity, data, [None] * rows, [0] * rows, pages)
        if rows:
            self._pools[capacity] = pool
        for place in self._places.values():
            if old is not None and place.pool is old:
                written = old.data[:, :, place.row, :, : place.used]
                pool.data[:, :, place.row, :, : place.used] = written
                pool.handles[place.row] = old.handles[place.row]
                pool.resident[place.row] = place.used
                place.pool = pool
        return pool

    @property
    def _token_bytes(self) -> int:
        shape = self.shape
        return 2 * shape.layers * shape.key_heads * shape.head_width * self.dtype.itemsize


def _zeros(
    size: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, mmap.mmap | None]:
    """Zeros that take memory on a CPU only as they are written.

    Returned with their memory, where a row's can be given back: Linux promises zeros for it, and
    takes whole pages.
    """
    if device.type != "cpu" or not math.prod(size):
        return torch.zeros(size, dtype=dtype, device=device), None
    data, pages = zeros_in_small_pages(size, dtype)
    whole = math.prod(size[3:]) * dtype.itemsize % mmap.PAGESIZE == 0
    return data, pages if sys.platform == "linux" and whole else None
