"""The adapters of one base: slots that the running batch computes with, and a host tier behind.

Adapters of a similar rank share a *rack*: for each group of projections of one input, the A of all
its slots lie side by side and the B below each other, so that one product serves every adapter of
the batch. A mask, made once a step, keeps each token to its own slot. A token without an adapter,
or of another rack, is masked everywhere; a step without adapters computes nothing here.

The bank belongs to one decoder. `load` and `unload` may be called from any thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import torch
from torch import Tensor

from modelyard.adapters.lora import AdapterMismatch
from modelyard.core.errors import InvalidInput
from modelyard.inference.adapter_weights import AdapterWeights, read_adapter
from modelyard.inference.interfaces import LoadedAdapter
from modelyard.inference.structure import DecoderShape

GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""The projections of a layer that have one input, and so one product."""

_LEAST_RANK = 8


class LoraPass(NamedTuple):
    """What a step adds to its products for the adapters of one rack."""

    stacks: Sequence[Sequence[tuple[Tensor, Tensor] | None]]
    """For each layer and group: A^T [i, n k r] and B^T [n k r, o] of n slots, k projections;
    None where none of the slots adapts the group."""
    mask: Tensor | None
    """bool [t, n, 1]: True where a token does not use a slot; None when all use the only one."""

    def add(self, out: Tensor, x: Tensor, layer: int, group: int) -> None:
        """Add to `out` [t, o] what the adapters make of `x` [t, i]."""
        stack = self.stacks[layer][group]
        if stack is None:
            return
        a, b = stack
        inner = x @ a
        if self.mask is not None:
            # Filled and not multiplied: an overflow in one adapter's A must not reach other rows.
            inner.view(*self.mask.shape[:2], -1).masked_fill_(self.mask, 0.0)
        out.addmm_(inner, b)


@dataclass(slots=True)
class _Slot:
    """One of the bank's slots, and what is in it."""

    adapter: LoadedAdapter | None = None
    uses: int = 0
    last_use: int = 0
    rack: _Rack | None = None
    place: int = 0


@dataclass(slots=True, eq=False)
class LoraBank:
    """Slots for adapters of a base of this shape, and the adapters that wait on the host."""

    shape: DecoderShape
    dtype: torch.dtype
    """The compute type, in which adapters are held."""
    device: torch.device
    slots: int = 16
    """How many adapters one step can mix."""
    host_bytes: int = 2 << 30
    """The memory that waiting adapters may take; the least recently used are dropped."""
    _slots: list[_Slot] = field(init=False)
    _racks: dict[int, _Rack] = field(default_factory=dict)
    _host: OrderedDict[str, AdapterWeights] = field(default_factory=OrderedDict)
    _pinned: set[str] = field(default_factory=set)
    _unloaded: set[str] = field(default_factory=set)
    _clock: int = 0
    _lock: RLock = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self._slots = [_Slot() for _ in range(self.slots)]

    def load(self, folder: Path, *, pin: bool = False) -> LoadedAdapter:
        """Read and check the adapter in `folder`; a pinned one stays on the host.

        Raises AdapterMismatch, UnreadableWeights or AdapterNotCarried.
        """
        weights = read_adapter(folder, self.shape, self.dtype)
        with self._lock:
            self._unloaded.discard(weights.digest)
            if pin:
                self._pinned.add(weights.digest)
            self._keep(weights)
        return LoadedAdapter(folder, weights.digest, weights.size_bytes)

    def acquire(self, adapter: LoadedAdapter) -> int | None:
        """A slot with this adapter in it, counted as one more use; None when all run others.

        Raises what `load` raises when the files must be read again and are not what they were.
        """
        with self._lock:
            if adapter.digest in self._unloaded:
                raise InvalidInput("the adapter was unloaded", where=str(adapter.folder))
            number = self._place(adapter)
            if number is not None:
                self._clock += 1
                self._slots[number].uses += 1
                self._slots[number].last_use = self._clock
            return number

    def release(self, slot: int) -> None:
        """End one use of a slot."""
        with self._lock:
            found = self._slots[slot]
            if not found.uses:
                raise ValueError(f"slot {slot} is not in use")
            found.uses -= 1
            if not found.uses and found.adapter and found.adapter.digest in self._unloaded:
                self._empty(slot)

    def unload(self, adapter: LoadedAdapter) -> None:
        """Drop the adapter; its slot is emptied as soon as nothing uses it."""
        with self._lock:
            self._unloaded.add(adapter.digest)
            self._pinned.discard(adapter.digest)
            self._host.pop(adapter.digest, None)
            number = self._holding(adapter)
            if number is not None and not self._slots[number].uses:
                self._empty(number)

    @property
    def resident_bytes(self) -> int:
        """The memory that slots and waiting adapters take now."""
        with self._lock:
            return sum(rack.size_bytes for rack in self._racks.values()) + self._host_size()

    def passes(self, slots: Sequence[int | None]) -> list[LoraPass]:
        """What a step adds whose tokens use these slots, one entry for each token."""
        racks: dict[_Rack, list[int]] = {}
        with self._lock:
            for number in {slot for slot in slots if slot is not None}:
                rack = self._slots[number].rack
                if rack is None:
                    raise ValueError(f"slot {number} is empty")
                racks.setdefault(rack, []).append(number)
            return [self._pass(rack, numbers, slots) for rack, numbers in racks.items()]

    def _pass(self, rack: _Rack, numbers: list[int], slots: Sequence[int | None]) -> LoraPass:
        places = {number: self._slots[number].place for number in numbers}
        first, count = _block(places.values())
        stacks = rack.stacks(first, count)
        if count == 1 and all(slot in places for slot in slots):
            return LoraPass(stacks, None)
        own = torch.tensor([-1 if slot is None else places.get(slot, -1) for slot in slots])
        mask = own.unsqueeze(1) != torch.arange(first, first + count)
        return LoraPass(stacks, mask.unsqueeze_(2).to(self.device))

    def _holding(self, adapter: LoadedAdapter) -> int | None:
        held = (slot.adapter.digest if slot.adapter else None for slot in self._slots)
        return next(
            (number for number, digest in enumerate(held) if digest == adapter.digest), None
        )

    def _place(self, adapter: LoadedAdapter) -> int | None:
        if (number := self._holding(adapter)) is not None:
            return number
        free = [number for number, slot in enumerate(self._slots) if not slot.uses]
        if not free:
            return None
        weights = self._weights(adapter)
        number = min(free, key=lambda number: self._slots[number].last_use)
        self._empty(number)
        rank = max(_LEAST_RANK, 1 << (weights.rank - 1).bit_length())
        rack = self._racks.setdefault(rank, _Rack(self.shape, rank, self.dtype, self.device))
        slot = self._slots[number]
        slot.place = rack.put(weights)
        slot.adapter, slot.rack = adapter, rack
        return number

    def _empty(self, number: int) -> None:
        slot = self._slots[number]
        if slot.rack is not None:
            slot.rack.clear(slot.place)
            if not slot.rack.taken:
                del self._racks[slot.rack.rank]
        self._slots[number] = _Slot()

    def _weights(self, adapter: LoadedAdapter) -> AdapterWeights:
        """The adapter's tensors: from the host, else from its files."""
        if (weights := self._host.get(adapter.digest)) is not None:
            self._host.move_to_end(adapter.digest)
            return weights
        weights = read_adapter(adapter.folder, self.shape, self.dtype)
        if weights.digest != adapter.digest:
            raise AdapterMismatch("has changed since it was loaded", where=str(adapter.folder))
        self._keep(weights)
        return weights

    def _keep(self, weights: AdapterWeights) -> None:
        self._host[weights.digest] = weights
        self._host.move_to_end(weights.digest)
        for digest in list(self._host):
            if self._host_size() <= self.host_bytes or digest == weights.digest:
                break
            if digest not in self._pinned:
                del self._host[digest]

    def _host_size(self) -> int:
        return sum(weights.size_bytes for weights in self._host.values())


def _block(places: Iterable[int]) -> tuple[int, int]:
    """The smallest aligned block of 1, 2, 4 ... places around some: its first place and its size.

    Few sizes, so that few shapes of product occur: oneDNN prepares a kernel for each.
    """
    every = sorted(places)
    first, last = every[0], every[-1]
    size = 1
    while first // size != last // size:
        size *= 2
    return first // size * size, size


class _Rack:
    """The stacked A and B of slots of one rank; it grows by doubling."""

    def __init__(
        self, shape: DecoderShape, rank: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rank = rank
        self.taken: dict[int, frozenset[tuple[int, int]]] = {}
        """The places in use, and the layers and groups that the adapter in each changes."""
        self._shape = shape
        self._dtype, self._device = dtype, device
        self._places = 0
        self._a: list[Tensor] = []
        """For each group [layers, places, k r, i]."""
        self._b: list[Tensor] = []
        """For each group [layers, places, k r, o]: B^T, block by block for the k projections."""
        self._stacks: dict[tuple[int, int], list[list[tuple[Tensor, Tensor] | None]]] = {}
        self._grow(1)

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self._a, *self._b))

    def put(self, weights: AdapterWeights) -> int:
        """Copy an adapter into a free place, which was zeroed as a whole; gives the place."""
        place = next((at for at in range(self._places) if at not in self.taken), self._places)
        if place == self._places:
            self._grow(2 * self._places)
        self._zero(place)
        targets: list[Tensor] = []
        sources: list[Tensor] = []
        changed = set()
        for group, names in enumerate(GROUPS):
            start = 0
            for number, name in enumerate(names):
                outputs, _ = self._shape.projection(name)
                for layer in range(self._shape.layers):
                    if (pair := weights.pairs.get((layer, name))) is None:
                        continue
                    rows = slice(number * self.rank, number * self.rank + len(pair.a))
                    targets.append(self._a[group][layer, place, rows])
                    targets.append(self._b[group][layer, place, rows, start : start + outputs])
                    sources.extend(pair)
                    changed.add((layer, group))
                start += outputs
        torch._foreach_copy_(targets, sources)
        self.taken[place] = frozenset(changed)
        self._stacks.clear()
        return place

    def clear(self, place: int) -> None:
        """Give a place back; nothing of the adapter stays in it."""
        self._zero(place)
        del self.taken[place]
        self._stacks.clear()

    def stacks(self, first: int, count: int) -> list[list[tuple[Tensor, Tensor] | None]]:
        """What `LoraPass.stacks` is for `count` places from `first` on."""
        if (first, count) not in self._stacks:
            changed = frozenset[tuple[int, int]]().union(
                *(self.taken.get(place, frozenset()) for place in range(first, first + count))
            )
            self._stacks[first, count] = [
                [
                    self._stack(layer, group, first, count) if (layer, group) in changed else None
                    for group in range(len(GROUPS))
                ]
                for layer in range(self._shape.layers)
            ]
        return self._stacks[first, count]

    def _stack(self, layer: int, group: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        places = slice(first, first + count)
        a, b = self._a[group][layer, places], self._b[group][layer, places]
        return a.flatten(0, 1).t(), b.flatten(0, 1)

    def _zero(self, place: int) -> None:
        for stacked in (*self._a, *self._b):
            stacked[:, place].zero_()

    def _grow(self, places: int) -> None:
        old_a, old_b = self._a, self._b
        self._a, self._b = [], []
        for group, names in enumerate(GROUPS):
            size = (self._shape.layers, places, len(names) * self.rank)
            sizes = [self._shape.projection(name) for name in names]
            a = torch.zeros(*size, sizes[0][1], dtype=self._dtype, device=self._device)
            outputs = sum(outputs for outputs, _ in sizes)
            b = torch.zeros(*size, outputs, dtype=self._dtype, device=self._device)
            if old_a:
                a[:, : self._places] = old_a[group]
                b[:, : self._places] = old_b[group]
            self._a.append(a)
            self._b.append(b)
        self._places = places
        self._stacks.clear()
