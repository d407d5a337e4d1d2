"""The adapters of one base: slots that the running batch computes with, and a host tier behind.

Adapters of a similar rank share a *rack*, in which their A and B lie behind each other, a place for
each, for every group of projections of one input. Tokens are gathered by place, so that one batched
product serves all adapters of a rack: each token meets its own adapter's weights only, and a token
without an adapter is left out. Long chunks are computed by themselves.

On a CPU slots hold fp32: for a few tokens torch calls MKL for it, in a quarter of the time that its
bf16 products need for their preparations. The host tier holds the compute type.

The bank belongs to one decoder. `load` and `unload` may be called from any thread.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import torch
from torch import Tensor

from modelyard.adapters.lora import AdapterMismatch
from modelyard.inference.adapter_weights import AdapterWeights, read_adapter
from modelyard.inference.interfaces import LoadedAdapter
from modelyard.inference.pages import zeros_in_large_pages
from modelyard.inference.structure import DecoderShape

GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""The projections of a layer that have one input, and so one product."""

_LEAST_RANK = 8
_FREE_PLACES = 4
"""Places of a rack that stay filled although nothing uses them, so that a few adapters that are
used in turns need no copying."""
_BULK = 128
"""Tokens of one adapter, one after another, from which they are computed by themselves, in the
compute type: fewer are not worth the kernels that oneDNN makes for each number of tokens."""

_ROWS_AT_ONCE = 4
"""Tokens of one adapter by itself are filled up to a multiple: MKL divides them among its threads,
and sums the rows of a part that is no multiple in another order."""

Runs = Sequence[tuple[int | None, int]]
"""Slots of a step's tokens, with how many follow each other in each."""


class Stack(NamedTuple):
    """The adapters in n places of a rack, for one group of k projections in one layer."""

    a: Tensor
    """A^T: [n, i, k r]."""
    b: Tensor
    """B^T, scaled: [n p, r, o / p], of p equally wide parts of the output."""
    parts: int
    """p: k for projections of one width, else more: that of the narrowest goes into all."""
    owners: Tensor | None
    """int64 [p]: the projection that each part belongs to; None where each has one."""


@dataclass(frozen=True, slots=True)
class LoraPass:
    """What a step adds to the products of some of its tokens: adapters in n places of a rack."""

    stacks: Sequence[Sequence[Stack | None]]
    """For each layer and group; None where none of the adapters changes it."""
    tokens: slice | Tensor
    """Which tokens: consecutive ones, or int64 [c]."""
    batches: Tensor | None = None
    """int64 [n b]: the token at each place of the n batches of b; None when they are `tokens`."""
    found: Tensor | None = None
    """int64 [c]: where each of `tokens` is in `batches`."""
    bulk: bool = False
    """Whether they are a long chunk of one adapter, computed in the compute type."""

    def add(self, out: Tensor, x: Tensor, wide: Tensor, layer: int, group: int) -> None:
        """Add what the adapters make of an input to `out`, [t, o] and of the compute type.

        x: [t, i] in the compute type; wide: the same in fp32 or any other type.
        """
        if (stack := self.stacks[layer][group]) is None:
            return
        if self.bulk:
            self._add_bulk(out, x, stack)
            return
        a, b, parts, owners = stack
        places, inputs, _ = a.shape
        rank, width = b.shape[1:]
        batches = self.tokens if self.batches is None else self.batches
        inner = torch.bmm(wide[batches].to(a.dtype).view(places, -1, inputs), a)
        if parts > 1:
            inner = inner.view(places, inner.shape[1], -1, rank)
            if owners is not None:
                inner = inner.index_select(2, owners)
            inner = inner.transpose(1, 2).flatten(0, 1)
        change = torch.bmm(inner, b)
        if parts > 1:
            change = change.view(places, parts, -1, width).transpose(1, 2)
        change = change.reshape(-1, parts * width)
        if self.found is not None:
            change = change.index_select(0, self.found)
        if isinstance(self.tokens, slice):
            out[self.tokens].add_(change)
        else:
            out.index_add_(0, self.tokens, change.to(out.dtype))

    def _add_bulk(self, out: Tensor, x: Tensor, stack: Stack) -> None:
        inner = x[self.tokens] @ stack.a[0].to(x.dtype)
        rank, width = stack.b.shape[1:]
        owners = list(range(stack.parts)) if stack.owners is None else stack.owners.tolist()
        for number, own in enumerate(torch.split(inner, rank, 1)):
            first, count = owners.index(number), owners.count(number)
            b = stack.b[first : first + count].transpose(0, 1).reshape(rank, -1)
            target = out[self.tokens, first * width : (first + count) * width]
            target.addmm_(own, b.to(x.dtype))


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
    """The compute type, in which adapters wait."""
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
    """Adapters whose slots are emptied with their last use."""
    loads: int = 0
    """How often an adapter's files were read."""
    evictions: int = 0
    """How often an adapter had to leave a slot, or the host, for another."""
    _clock: int = 0
    _lock: RLock = field(default_factory=RLock)
    _last: tuple[Runs, list[LoraPass]] | None = None
    """The passes of the last step: the next one often has the same."""

    @property
    def slot_dtype(self) -> torch.dtype:
        """The type of the tensors in the slots, and of what is multiplied with them."""
        return torch.float32 if self.device.type == "cpu" else self.dtype

    def __post_init__(self) -> None:
        self._slots = [_Slot() for _ in range(self.slots)]

    def load(self, folder: Path, *, pin: bool = False) -> LoadedAdapter:
        """Read and check the adapter in `folder`; a pinned one stays on the host.

        Raises AdapterMismatch, UnreadableWeights or AdapterNotCarried.
        """
        weights = read_adapter(folder, self.shape, self.dtype)
        with self._lock:
            self.loads += 1
            self._unloaded.discard(weights.digest)
            if pin:
                self._pinned.add(weights.digest)
            self._keep(weights)
        return LoadedAdapter(folder, weights.digest, weights.size_bytes)

    def fetch(self, adapter: LoadedAdapter) -> None:
        """Have the adapter's tensors in memory, so that `acquire` need not read its files.

        From any thread; steps go on meanwhile. Raises what `acquire` raises.
        """
        with self._lock:
            if adapter.digest in self._host:
                self._host.move_to_end(adapter.digest)
                return
            if self._holding(adapter) is not None:
                return
        weights = self._read_again(adapter)
        with self._lock:
            self._keep(weights)

    def acquire(self, adapter: LoadedAdapter) -> int | None:
        """A slot with this adapter in it, counted as one more use; None when all run others.

        Raises what `load` raises when the files must be read again and are not what they were.
        """
        with self._lock:
            self._unloaded.discard(adapter.digest)
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
                self._unloaded.remove(found.adapter.digest)
                self._empty(slot)

    def unload(self, adapter: LoadedAdapter) -> None:
        """Drop the adapter; its slot is emptied as soon as nothing uses it.

        Who acquires it later has it read again.
        """
        with self._lock:
            self._pinned.discard(adapter.digest)
            self._host.pop(adapter.digest, None)
            number = self._holding(adapter)
            if number is not None and self._slots[number].uses:
                self._unloaded.add(adapter.digest)
            elif number is not None:
                self._empty(number)

    def held(self) -> dict[str, int | None]:
        """The adapters in memory by their digest, with the slot of each that is in one."""
        with self._lock:
            found: dict[str, int | None] = dict.fromkeys(self._host)
            for number, slot in enumerate(self._slots):
                if slot.adapter is not None:
                    found[slot.adapter.digest] = number
            return found

    @property
    def resident_bytes(self) -> int:
        """The memory that slots and waiting adapters take now."""
        with self._lock:
            return sum(rack.size_bytes for rack in self._racks.values()) + self._host_size()

    def passes(self, runs: Runs) -> list[LoraPass]:
        """What a step adds whose tokens are these runs of one slot each, with their lengths."""
        with self._lock:
            if self._last is None or self._last[0] != runs:
                self._last = runs, self._plan(runs)
            return self._last[1]

    def _plan(self, runs: Runs) -> list[LoraPass]:
        found = []
        racks: dict[_Rack, dict[int, list[int]]] = {}
        start = 0
        for number, count in _joined(runs):
            end = start + count
            if number is not None:
                slot = self._slots[number]
                if slot.rack is None:
                    raise ValueError(f"slot {number} is empty")
                if count >= _BULK:
                    stacks = slot.rack.stacks(slot.place, 1)
                    found.append(LoraPass(stacks, slice(start, end), bulk=True))
                else:
                    tokens = racks.setdefault(slot.rack, {}).setdefault(slot.place, [])
                    tokens.extend(range(start, end))
            start = end
        for rack, members in racks.items():
            for places in _batched(members):
                found += [self._pass(rack, {place: members[place] for place in places})]
        return found

    def _pass(self, rack: _Rack, members: Mapping[int, Sequence[int]]) -> LoraPass:
        first, last = min(members), max(members)
        count = last - first + 1
        stacks = rack.stacks(first, count)
        tokens = sorted(token for own in members.values() for token in own)
        size = max(len(own) for own in members.values())
        if count == 1 and size > _ROWS_AT_ONCE:
            size = -(-size // _ROWS_AT_ONCE) * _ROWS_AT_ONCE
        batches = [
            [*own, *([tokens[0]] * (size - len(own)))]
            for own in (members.get(place, ()) for place in range(first, last + 1))
        ]
        flat = [token for batch in batches for token in batch]
        chosen = self._indices(tokens)
        if flat == tokens:
            return LoraPass(stacks, chosen)
        at = {token: place * size + number for place, batch in enumerate(batches)
              for number, token in enumerate(members.get(first + place, ()))}  # fmt: skip
        return LoraPass(
            stacks,
            chosen,
            torch.tensor(flat, device=self.device),
            torch.tensor([at[token] for token in tokens], device=self.device),
        )

    def _indices(self, tokens: Sequence[int]) -> slice | Tensor:
        if tokens[-1] - tokens[0] == len(tokens) - 1:
            return slice(tokens[0], tokens[-1] + 1)
        return torch.tensor(tokens, device=self.device)

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
        rank = max(_LEAST_RANK, 1 << (weights.rank - 1).bit_length())
        number = self._chosen(free, self._racks.get(rank))
        self.evictions += self._slots[number].adapter is not None
        self._empty(number)
        if (rack := self._racks.get(rank)) is None:
            rack = self._racks[rank] = _Rack(self.shape, rank, self.slot_dtype, self.device)
        slot = self._slots[number]
        slot.place = rack.put(weights)
        self._last = None
        slot.adapter, slot.rack = adapter, rack
        return number

    def _chosen(self, free: Sequence[int], rack: _Rack | None) -> int:
        """Which of the slots that are not in use an adapter of a rack gets.

        The least recently used; where the rack would have to grow for that, one that has a place in
        it: a rack has as many places as were in use at once, or a few.
        """
        if rack is not None and rack.is_full and len(rack.taken) >= _FREE_PLACES:
            free = [number for number in free if self._slots[number].rack is rack] or free
        return min(free, key=lambda number: self._slots[number].last_use)

    def _empty(self, number: int) -> None:
        slot = self._slots[number]
        if slot.rack is not None:
            slot.rack.clear(slot.place)
            if not slot.rack.taken:
                del self._racks[slot.rack.rank]
        self._slots[number] = _Slot()
        self._last = None

    def _weights(self, adapter: LoadedAdapter) -> AdapterWeights:
        """The adapter's tensors: from the host, else from its files."""
        if (weights := self._host.get(adapter.digest)) is not None:
            self._host.move_to_end(adapter.digest)
            return weights
        weights = self._read_again(adapter)
        self._keep(weights)
        return weights

    def _read_again(self, adapter: LoadedAdapter) -> AdapterWeights:
        weights = read_adapter(adapter.folder, self.shape, self.dtype)
        if weights.digest != adapter.digest:
            raise AdapterMismatch("has changed since it was loaded", where=str(adapter.folder))
        with self._lock:
            self.loads += 1
        return weights

    def _keep(self, weights: AdapterWeights) -> None:
        self._host[weights.digest] = weights
        self._host.move_to_end(weights.digest)
        for digest in list(self._host):
            if self._host_size() <= self.host_bytes or digest == weights.digest:
                break
            if digest not in self._pinned:
                del self._host[digest]
                self.evictions += 1

    def _host_size(self) -> int:
        return sum(weights.size_bytes for weights in self._host.values())


def _joined(runs: Runs) -> Iterable[tuple[int | None, int]]:
    """The runs, neighbours of one slot as one."""
    for slot, same in groupby(runs, key=lambda run: run[0]):
        yield slot, sum(count for _, count in same)


def _batched(members: Mapping[int, Sequence[int]]) -> Iterable[list[int]]:
    """The places of a rack that are computed in one batch each.

    Together while most of the batch is used: a place that nobody uses is read in vain, and a place
    with many tokens makes every other as long.
    """
    left = sorted(members, key=lambda place: len(members[place]))
    while len(left) > 1:
        tokens = sum(len(members[place]) for place in left)
        places = max(left) - min(left) + 1
        if places <= 3 * len(left) - 2 and places * len(members[left[-1]]) <= 2 * tokens + 8:
            break
        yield [left.pop()]
    yield left


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
        """For each group [layers, places, parts, r, o / parts]: B^T."""
        self._owners = [_owners(shape, names) for names in GROUPS]
        """For each group the projection that each part belongs to, by its number."""
        self._indices = [
            None if owners == list(range(len(names))) else torch.tensor(owners, device=device)
            for owners, names in zip(self._owners, GROUPS, strict=True)
        ]
        self._stacks: dict[tuple[int, int], list[list[Stack | None]]] = {}
        self._grow(1)

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self._a, *self._b))

    @property
    def is_full(self) -> bool:
        """Whether another adapter makes it grow."""
        return len(self.taken) == self._places

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
            for number, name in enumerate(names):
                first, count = self._owners[group].index(number), self._owners[group].count(number)
                for layer in range(self._shape.layers):
                    if (pair := weights.pairs.get((layer, name))) is None:
                        continue
                    rank = len(pair.a)
                    a, b = self._a[group][layer, place], self._b[group][layer, place]
                    targets.append(a[number * self.rank : number * self.rank + rank])
                    targets.append(b[first : first + count, :rank])
                    sources.append(pair.a)
                    sources.append(pair.b.view(rank, count, -1).transpose(0, 1))
                    changed.add((layer, group))
        torch._foreach_copy_(targets, sources)
        self.taken[place] = frozenset(changed)
        self._stacks.clear()
        return place

    def clear(self, place: int) -> None:
        """Give a place back; nothing of the adapter stays in it."""
        self._zero(place)
        del self.taken[place]
        self._stacks.clear()

    def stacks(self, first: int, count: int) -> list[list[Stack | None]]:
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

    def _stack(self, layer: int, group: int, first: int, count: int) -> Stack:
        places = slice(first, first + count)
        a, b = self._a[group][layer, places], self._b[group][layer, places]
        parts = b.shape[1]
        return Stack(a.transpose(1, 2), b.flatten(0, 1), parts, self._indices[group])

    def _zero(self, place: int) -> None:
        for stacked in (*self._a, *self._b):
            stacked[:, place].zero_()

    def _grow(self, places: int) -> None:
        new_a, new_b = [], []  # all of them before anything changes, since memory may be short
        for group, names in enumerate(GROUPS):
            sizes = [self._shape.projection(name) for name in names]
            ranks, inputs = len(names) * self.rank, sizes[0][1]
            parts, outputs = len(self._owners[group]), sum(outputs for outputs, _ in sizes)
            a_size = (self._shape.layers, places, ranks, inputs)
            b_size = (self._shape.layers, places, parts, self.rank, outputs // parts)
            new_a.append(self._zeros(a_size))
            new_b.append(self._zeros(b_size))
        for old, new in ((self._a, new_a), (self._b, new_b)):
            for tensor in new[: len(old)]:  # each old one is given up as soon as it is copied
                tensor[:, : self._places] = old.pop(0)
        self._a, self._b, self._places = new_a, new_b, places
        self._stacks.clear()

    def _zeros(self, size: tuple[int, ...]) -> Tensor:
        if self._device.type == "cpu":
            return zeros_in_large_pages(size, self._dtype)
        return torch.zeros(size, dtype=self._dtype, device=self._device)


def _owners(shape: DecoderShape, names: Sequence[str]) -> list[int]:
    """The projection, by its number, of each part of a group's output, all parts equally wide."""
    widths = [shape.projection(name)[0] for name in names]
    width = math.gcd(*widths)
    return [number for number, own in enumerate(widths) for _ in range(own // width)]
