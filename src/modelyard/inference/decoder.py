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
from modelyard.inference.kv_cache import KvCache
from modelyard.inference.layers import attend_chunk, attend_each, gated, rms_norm, rotate
from modelyard.inference.linears import FrozenLinear, pack_linear
from modelyard.inference.structure import DecoderParts, DecoderShape, LayerParts

Linear = Callable[[Tensor], Tensor]
"""A frozen linear layer, x: [t, i] to [t, o]."""

_ATTENDED_STEP = 64
"""Decoding rows attend to a multiple of this many positions."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer as the decoder computes it."""

    attention_norm: Tensor
    qkv: Linear
    head_norms: Tensor | None
    """[h + k, w]: the norm's weight for each query and key head."""
    o: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class _Each:
    """Rows of one pool that decode one token each: the first `count` tokens from `start` on."""

    start: int
    count: int
    data: Tensor
    """[layers, 2, count, k, attended, w]."""
    mask: Tensor
    """[count, 1, 1, attended]."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Tokens of one row that follow each other."""

    start: int
    count: int
    data: Tensor
    """[layers, 2, k, attended, w]."""
    mask: Tensor | None
    """[count, attended]; None when the chunk begins its row."""


@dataclass(frozen=True, slots=True)
class _Writes:
    """Where the keys and values of a step's tokens go in one pool."""

    tokens: slice | Tensor
    """Which of the step's tokens."""
    data: Tensor
    """The pool's [layers, 2, rows, k, capacity, w]."""
    index: tuple[Tensor, Tensor, Tensor, Tensor]
    """Which part, row, head and position, so that [t, 2, k, w] are written at once."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step computes, worked out before its first product."""

    tokens: Tensor
    """int64 [t]."""
    cos: Tensor
    """[t, 1, w]."""
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
        self.kv = KvCache(shape, self.dtype, self.device, kv_bytes)
        self.bank = LoraBank(shape, self.dtype, self.device, slots, host_bytes)
        self._embedding = parts.embedding
        self._layers = [build_layer(layer, shape, grid) for layer in parts.layers]
        self._norm = parts.norm
        self._head = frozen_linear([parts.head])
        self._cos, self._sin = angles(parts.rotary, shape.context, self.dtype, self.device)
        self._part = torch.arange(2, device=self.device).view(1, 2, 1)
        self._head_numbers = torch.arange(shape.key_heads, device=self.device).view(1, 1, -1)

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
        x = F.embedding(step.tokens, self._embedding)
        for number, layer in enumerate(self._layers):
            self._attend(x, number, layer, step)
            inner = rms_norm(x, layer.mlp_norm, self.shape.eps)
            both = _product(layer.gate_up, inner, step.passes, number, 2)
            x.add_(_product(layer.down, gated(both), step.passes, number, 3))
        wanted = rms_norm(x.index_select(0, step.wanted), self._norm, self.shape.eps)
        return self._head(wanted).float()

    def _attend(self, x: Tensor, number: int, layer: Layer, step: _Step) -> None:
        """Add to x [t, d] what attention makes of it."""
        shape = self.shape
        count, keys, width = len(x), shape.key_heads, shape.head_width
        inner = rms_norm(x, layer.attention_norm, shape.eps)
        every = _product(layer.qkv, inner, step.passes, number, 0).view(count, -1, width)
        turned = every[:, : shape.heads + keys]
        if layer.head_norms is not None:
            turned = rms_norm(turned, layer.head_norms, shape.eps)
        turned = rotate(turned, step.cos, step.sin)
        q = turned[:, : shape.heads].view(count, keys, -1, width)
        every[:, shape.heads : shape.heads + keys] = turned[:, shape.heads :]
        new = every[:, shape.heads :].view(count, 2, keys, width)
        for writes in step.writes:
            writes.data[number].index_put_(writes.index, new[writes.tokens])
        seen = []
        for part in step.parts:
            k, v = part.data[number]
            own = q[part.start : part.start + part.count]
            if isinstance(part, _Each):
                seen.append(attend_each(own, k, v, part.mask, shape.scale))
            else:
                seen.append(attend_chunk(own, k, v, part.mask, shape.scale))
        found = seen[0] if len(seen) == 1 else torch.cat(seen)
        x.add_(_product(layer.o, found, step.passes, number, 1))

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
            ends = [by_row[row].start + 1 for row in rows]
            attended = min(-(-max(ends) // _ATTENDED_STEP) * _ATTENDED_STEP, pool.capacity)
            places = torch.arange(attended) >= torch.tensor(ends).unsqueeze(1)
            data = pool.data[:, :, : len(rows), :, :attended]
            hidden = self._mask(places).view(len(rows), 1, 1, attended)
            parts.append(_Each(first[rows[0]], len(rows), data, hidden))
        for segment in chunks:
            count, end = len(segment.tokens), segment.start + len(segment.tokens)
            pool, row = self.kv.place(segment.row)
            later = torch.ones(count, end, dtype=torch.bool).triu_(segment.start + 1)
            mask = self._mask(later) if segment.start else None
            parts.append(_Chunk(first[segment.row], count, pool.data[:, :, row, :, :end], mask))

        positions = [segment.start + n for segment in ordered for n in range(len(segment.tokens))]
        at_position = torch.tensor(positions, device=self.device)
        tokens = [token for segment in ordered for token in segment.tokens]
        slots = [segment.slot for segment in ordered for _ in segment.tokens]
        wanted = [place for segment in segments for place in _wanted(segment, first[segment.row])]
        return _Step(
            tokens=torch.tensor(tokens, device=self.device),
            cos=self._cos.index_select(0, at_position).unsqueeze(1),
            sin=self._sin.index_select(0, at_position).unsqueeze(1),
            writes=self._writes(ordered, at_position),
            parts=parts,
            passes=self.bank.passes(slots),
            wanted=torch.tensor(wanted, dtype=torch.int64, device=self.device),
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
            index = (
                self._part,
                rows[own].view(-1, 1, 1),
                self._head_numbers,
                positions[own].view(-1, 1, 1),
            )
            writes.append(_Writes(own, pool.data, index))
        return writes

    def _mask(self, hidden: Tensor) -> Tensor:
        """Minus infinity where `hidden`, else 0, in the compute type."""
        mask = torch.zeros(hidden.shape, dtype=self.dtype).masked_fill_(hidden, float("-inf"))
        return mask.to(self.device)


def _product(
    linear: Linear, x: Tensor, passes: Sequence[LoraPass], layer: int, group: int
) -> Tensor:
    out = linear(x)
    for lora in passes:
        lora.add(out, x, layer, group)
    return out


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
        norms = torch.cat([queries.expand(shape.heads, -1), keys.expand(shape.key_heads, -1)])
    return Layer(
        attention_norm=parts.attention_norm,
        qkv=qkv,
        head_norms=norms,
        o=o,
        mlp_norm=parts.mlp_norm,
        gate_up=gate_up,
        down=down,
    )


def frozen_linear(modules: Sequence[Any], grid: Grid | None = None) -> Linear:
    """Linear modules of one input as one; quantised ones are called as they are."""
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
    return pack_linear(weights[0] if len(weights) == 1 else torch.cat(weights), bias, grid=grid)


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
