"""One step of a base with a bank of adapters: decoding rows and chunks of prompts together.

Everything but attention sees the tokens of all rows as one [t, d]. Projections of one input are one
product. Decoding rows attend together, with their query heads where a longer query would stand;
each chunk attends to its own row. Masks, angles and places are made once a step. docs/engine.md
has the shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelyard.inference.bank import GROUPS, LoraBank, LoraPass
from modelyard.inference.four_bit import BaseGrid, Grid
from modelyard.inference.interfaces import Segment
from modelyard.inference.kv_cache import KvCache, Pool
from modelyard.inference.layers import (
    attend_chunk,
    attend_each,
    attend_long_chunk,
    gated,
    rms_norm,
    rotate_,
)
from modelyard.inference.linears import FrozenLinear, pack_linear
from modelyard.inference.structure import DecoderParts, DecoderShape, LayerParts
from modelyard.inference.waiting import fitting_threads

Linear = Callable[[Tensor], Tensor]
"""A frozen linear layer, x: [t, i] to [t, o]."""

_ATTENDED_STEP = 8
"""Decoding rows attend to a multiple of this many positions."""
_LONG, _LONG_STEP, _SHORT_STEP, _LONG_SCORES = 128, 64, 16, 1 << 21
"""Positions from which, and scores up to which, a chunk on a CPU attends by bf16 products, in sizes
that are multiples of the second."""
_KEYS_STEP, _QUERIES_BLOCK, _LEAST_QUERIES = 16, 32, 4
"""A shorter chunk on a CPU attends to a multiple of the first, with no fewer queries than the third
in any of torch's blocks of the second: with other sizes torch sums in another order, and the bits
of a token would depend on where its chunk begins and ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A root-mean-square norm; see `rms_norm`."""

    weight: Tensor
    floor: Tensor

    @classmethod
    def of(cls, weight: Tensor, eps: float) -> Norm:
        """weight: as the model has it, over the last dimension."""
        width = weight.shape[-1]
        floor = torch.tensor(width * eps, device=weight.device).sqrt()
        return cls(weight.detach().float() * width**0.5, floor)

    def __call__(self, x: Tensor) -> Tensor:
        """x: fp32 [..., d] or [t, h, w]. Returns fp32."""
        return rms_norm(x, self.weight, self.floor)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer as the decoder computes it."""

    attention_norm: Norm
    qkv: Linear
    head_norms: Norm | None
    """Of [t, h + k, w]: every query and key head."""
    o: Linear
    mlp_norm: Norm
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class _Each:
    """Rows of one pool that decode one token each."""

    tokens: slice
    k: Sequence[Tensor]
    """For each layer [n k, attended, w]."""
    v: Sequence[Tensor]
    mask: Tensor
    """[n k, 1, attended]."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Tokens of one row that follow each other."""

    tokens: slice
    k: Sequence[Tensor]
    """For each layer [k, attended, w]."""
    v: Sequence[Tensor]
    mask: Tensor
    """[c', attended], for at least c queries."""
    long: bool


@dataclass(frozen=True, slots=True)
class _Writes:
    """Where the keys and values of some of a step's tokens go in one pool."""

    tokens: slice | Tensor
    places: Tensor
    """int64 [c 2 k]: the place of each key and value in the pool, as [places, w]."""
    layers: Sequence[Tensor]
    """The pool as [places, w] in each layer."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step computes, worked out before its first product."""

    tokens: Tensor
    """int64 [t]."""
    cos: Tensor
    """[t, 1, w], of the cache's type."""
    sin: Tensor
    writes: list[_Writes]
    parts: list[_Each | _Chunk]
    """How the tokens attend, in their order."""
    passes: list[LoraPass]
    wanted: Tensor
    """int64: the tokens whose logits are asked for, in the order of the segments."""


class Decoder:
    """A recognised base in memory, its cache and its bank. One thread at a time calls `step`."""

    def __init__(
        self,
        parts: DecoderParts,
        *,
        grid: BaseGrid | None = None,
        kv_bytes: int = 2 << 30,
        slots: int = 16,
        host_bytes: int = 2 << 30,
    ) -> None:
        """Copy what is needed of the model, whose modules may be dropped afterwards.

        grid: the base's own, from which few rows are computed where that is faster; None computes
        any number of rows from the weights.
        kv_bytes, host_bytes: the memory that keys and values, and waiting adapters, may take.
        """
        self.shape = shape = parts.shape
        self.dtype, self.device = parts.embedding.dtype, parts.embedding.device
        # On a CPU a few rows attend fastest in fp32, whatever the weights are.
        kv_dtype = torch.float32 if self.device.type == "cpu" else self.dtype
        self.kv = KvCache(shape, kv_dtype, self.device, kv_bytes)
        self.bank = LoraBank(shape, self.dtype, self.device, slots, host_bytes)
        self._embedding = parts.embedding
        self.vocabulary = len(parts.embedding)
        self._layers = [build_layer(layer, shape, grid) for layer in parts.layers]
        self._norm = Norm.of(parts.norm, shape.eps)
        self._head = frozen_linear([parts.head], large_pages=True)
        self._cos, self._sin = angles(parts.rotary, shape.context, kv_dtype, self.device)

    @property
    def four_bit(self) -> bool:
        """Whether few rows are computed from the grid, which rounds them to bf16."""
        return any(linear.four_bit_rows for linear in self._packed())

    @property
    def no_grid(self) -> str | None:
        """Why a grid that would be faster is not used for some layer; None when there is none."""
        return next((linear.no_grid for linear in self._packed() if linear.no_grid), None)

    def _packed(self) -> list[FrozenLinear]:
        every = [(layer.qkv, layer.o, layer.gate_up, layer.down) for layer in self._layers]
        return [each for four in every for each in four if isinstance(each, FrozenLinear)]

    @torch.inference_mode()
    def step(self, segments: Sequence[Segment]) -> Tensor:
        """Compute the segments together, no two of the same row; see `TokenDecoder.step`."""
        step = self._plan(segments)
        with fitting_threads():
            return self._compute(step)

    def _compute(self, step: _Step) -> Tensor:
        x = F.embedding(step.tokens, self._embedding).float()
        for number, layer in enumerate(self._layers):
            inner = layer.attention_norm(x)
            every = self._product(layer.qkv, inner, step, number, 0)
            seen = self._attend(every, number, layer, step)
            x.add_(self._product(layer.o, seen, step, number, 1))
            both = self._product(layer.gate_up, layer.mlp_norm(x), step, number, 2)
            x.add_(self._product(layer.down, gated(both), step, number, 3))
        wanted = self._norm(x.index_select(0, step.wanted))
        return self._head(wanted.to(self.dtype)).float()

    def _product(self, linear: Linear, x: Tensor, step: _Step, layer: int, group: int) -> Tensor:
        """A product of all tokens in the compute type, with what their adapters add to it."""
        own = x.to(self.dtype)
        out = linear(own)
        for lora in step.passes:
            lora.add(out, own, x, layer, group)
        return out

    def _attend(self, every: Tensor, number: int, layer: Layer, step: _Step) -> Tensor:
        """Attention of all tokens to their rows; every: [t, (h + 2k) w]. Returns [t, h w]."""
        shape = self.shape
        count, heads, keys, width = len(every), shape.heads, shape.key_heads, shape.head_width
        every = every.to(self.kv.dtype).view(count, -1, width)
        turned = every[:, : heads + keys]
        if layer.head_norms is not None:
            turned.copy_(layer.head_norms(turned.float()))
        rotate_(turned, step.cos, step.sin)
        new = every[:, heads:]
        for writes in step.writes:
            places = writes.layers[number]
            places.index_copy_(0, writes.places, new[writes.tokens].reshape(-1, width))
        q = every[:, :heads].view(count, keys, -1, width)
        seen = []
        for part in step.parts:
            k, v, own = part.k[number], part.v[number], q[part.tokens]
            if isinstance(part, _Each):
                seen.append(attend_each(own, k, v, part.mask, shape.scale))
            else:
                attend = attend_long_chunk if part.long else attend_chunk
                seen.append(attend(own, k, v, part.mask, shape.scale).to(every.dtype))
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def _plan(self, segments: Sequence[Segment]) -> _Step:
        """Order the tokens: decoding rows as their pools have them, then chunks."""
        by_row = {segment.row: segment for segment in segments}
        if len(by_row) != len(segments):
            raise ValueError("two segments of one row in one step")
        for segment in segments:
            self.kv.written(segment.row, segment.start + len(segment.tokens))
        chunks = [segment for segment in segments if len(segment.tokens) > 1]
        each = self.kv.bring_forward([s.row for s in segments if len(s.tokens) == 1])
        ordered = [by_row[row] for _, rows in each for row in rows] + chunks
        first = {}
        at = 0
        for segment in ordered:
            first[segment.row] = at
            at += len(segment.tokens)

        parts: list[_Each | _Chunk] = []
        for pool, rows in each:
            start = first[rows[0]]
            parts.append(self._each(pool, [by_row[row].start + 1 for row in rows], start))
        parts += [self._chunk(segment, first[segment.row]) for segment in chunks]

        positions = [segment.start + n for segment in ordered for n in range(len(segment.tokens))]
        at_position = torch.tensor(positions, device=self.device)
        tokens = [token for segment in ordered for token in segment.tokens]
        runs = [(segment.slot, len(segment.tokens)) for segment in ordered]
        wanted = [place for segment in segments for place in _wanted(segment, first[segment.row])]
        return _Step(
            tokens=torch.tensor(tokens, device=self.device),
            cos=self._cos.index_select(0, at_position).unsqueeze(1),
            sin=self._sin.index_select(0, at_position).unsqueeze(1),
            writes=self._writes(ordered, at_position),
            parts=parts,
            passes=self.bank.passes(runs),
            wanted=torch.tensor(wanted, dtype=torch.int64, device=self.device),
        )

    def _each(self, pool: Pool, ends: Sequence[int], start: int) -> _Each:
        """The rows at the beginning of a pool, which have `ends` positions with the new one."""
        count, keys = len(ends), self.shape.key_heads
        attended = min(-(-max(ends) // _ATTENDED_STEP) * _ATTENDED_STEP, pool.capacity)
        hidden = torch.arange(attended) >= torch.tensor(ends).repeat_interleave(keys).unsqueeze(1)
        data = pool.data[:, :, :count].flatten(2, 3)[:, :, :, :attended]
        k, v = data.unbind(1)
        mask = self._mask(hidden).unsqueeze(1)
        return _Each(slice(start, start + count), k.unbind(0), v.unbind(0), mask)

    def _chunk(self, segment: Segment, start: int) -> _Chunk:
        count, end = len(segment.tokens), segment.start + len(segment.tokens)
        pool, row = self.kv.place(segment.row)
        rows, attended = count, end
        long = self.dtype == torch.bfloat16 and self.device.type == "cpu" and end >= _LONG
        if long and self.shape.heads * count * end <= _LONG_SCORES:
            step = _LONG_STEP if count > _LONG_STEP else _SHORT_STEP
            rows = -(-count // step) * step
            attended = min(-(-end // _LONG_STEP) * _LONG_STEP, pool.capacity)
        else:
            long = False
            if self.device.type == "cpu":
                attended = min(-(-end // _KEYS_STEP) * _KEYS_STEP, pool.capacity)
                rows += max(0, _LEAST_QUERIES - (rows - 1) % _QUERIES_BLOCK - 1)
        later = torch.ones(rows, attended, dtype=torch.bool).triu_(segment.start + 1)
        k, v = pool.data[:, :, row, :, :attended].unbind(1)
        return _Chunk(
            slice(start, start + count), k.unbind(0), v.unbind(0), self._mask(later), long
        )

    def _writes(self, ordered: Sequence[Segment], positions: Tensor) -> list[_Writes]:
        places = [self.kv.place(segment.row) for segment in ordered for _ in segment.tokens]
        rows = torch.tensor([row for _, row in places], device=self.device)
        pools = {pool.capacity: pool for pool, _ in places}
        writes = []
        for capacity, pool in pools.items():
            own: slice | Tensor = slice(None)
            if len(pools) > 1:
                numbers = [at for at, (other, _) in enumerate(places) if other.capacity == capacity]
                own = torch.tensor(numbers, device=self.device)
            # A pool's layer is [2, rows, k, capacity, w].
            parts = torch.arange(2, device=self.device).view(1, 2, 1) * len(pool.handles)
            heads = torch.arange(self.shape.key_heads, device=self.device)
            row = (parts + rows[own].view(-1, 1, 1)) * len(heads) + heads
            at = row * capacity + positions[own].view(-1, 1, 1)
            layers = pool.data.view(self.shape.layers, -1, self.shape.head_width).unbind(0)
            writes.append(_Writes(own, at.view(-1), layers))
        return writes

    def _mask(self, hidden: Tensor) -> Tensor:
        """Minus infinity where `hidden`, else 0, in the cache's type."""
        mask = torch.zeros(hidden.shape, dtype=self.kv.dtype).masked_fill_(hidden, float("-inf"))
        return mask.to(self.device)


def _wanted(segment: Segment, first: int) -> range:
    last = first + len(segment.tokens)
    return range({"none": last, "last": last - 1, "all": first}[segment.logits], last)


def build_layer(parts: LayerParts, shape: DecoderShape, grid: BaseGrid | None = None) -> Layer:
    """A layer with its projections stacked by their input."""
    qkv, o, gate_up, down = (
        frozen_linear(
            [parts.projections[name] for name in names],
            grid.stacked([parts.weights[name] for name in names]) if grid else None,
        )
        for names in GROUPS
    )
    norms = None
    if parts.head_norms is not None:
        queries, keys = parts.head_norms
        every = torch.cat([queries.expand(shape.heads, -1), keys.expand(shape.key_heads, -1)])
        norms = Norm.of(every, shape.eps)
    return Layer(
        attention_norm=Norm.of(parts.attention_norm, shape.eps),
        qkv=qkv,
        head_norms=norms,
        o=o,
        mlp_norm=Norm.of(parts.mlp_norm, shape.eps),
        gate_up=gate_up,
        down=down,
    )


def frozen_linear(
    modules: Sequence[Any], grid: Grid | None = None, *, large_pages: bool = False
) -> Linear:
    """Linear modules of one input as one; quantised ones are called as they are.

    grid, large_pages: as `pack_linear` takes them.
    """
    if any(type(module) is not nn.Linear for module in modules):
        if len(modules) == 1:
            return modules[0]  # type: ignore[no-any-return]
        return lambda x: torch.cat([module(x) for module in modules], -1)
    biases = [module.bias for module in modules]
    if any(bias is not None for bias in biases):
        biases = [
            module.weight.new_zeros(len(module.weight)) if bias is None else bias
            for module, bias in zip(modules, biases, strict=True)
        ]
    bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
    weights = [module.weight.detach() for module in modules]
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    return pack_linear(weight, bias, grid=grid, large_pages=large_pages)


def angles(
    rotary: Any, context: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """cos and sin of every position, as `rotate` takes them: [context, w] each, in `dtype`."""
    positions = torch.arange(context, device=device).unsqueeze(0)
    with torch.inference_mode():
        cos, sin = rotary(torch.zeros(1, 1, 1, dtype=dtype, device=device), positions)
    sin = sin[0].clone()
    sin[:, : sin.shape[1] // 2].neg_()
    return cos[0].clone(), sin
