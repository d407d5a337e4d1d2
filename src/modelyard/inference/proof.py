"""Whether the decoder computes what transformers and PEFT compute, found out on real rows at load.

Each row goes through the decoder as answers do: a part of it as a chunk, the rest token by token,
all rows in the same steps. The untouched model sees each row whole. What differs by more than the
compute type explains is not used: `open_decoder` gives the untouched model behind the same
interface, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelyard.inference.decoder import Decoder
from modelyard.inference.four_bit import BaseGrid
from modelyard.inference.interfaces import Segment, TokenDecoder
from modelyard.inference.sizes import PROVEN_ROWS, PROVEN_TOKENS
from modelyard.inference.stock import StockDecoder
from modelyard.inference.structure import Unrecognised, recognise

Rows = Sequence[Sequence[int]]

_DECODED = 8
"""How many of a row's tokens come one by one."""
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.08, torch.float16: 0.08}
"""Largest relative difference of logits in the 2-norm, their mean taken out.

Two bf16 paths of SmolLM2-135M (30 layers) differ by 0.027, each from fp32 by as much. Sines of the
other sign give 0.68, scores times 1.1 give 0.12; two fp32 paths differ by 3e-6.
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """How far the decoder's logits are from those of transformers, on real rows."""

    difference: float
    """Relative difference of the logits in the 2-norm, NaN when there is one."""
    tolerance: float
    """What the compute type allows."""

    @property
    def holds(self) -> bool:
        return self.difference <= self.tolerance  # false for NaN

    def __str__(self) -> str:
        return f"logits differ by {self.difference:.2g}, and {self.tolerance:g} is allowed"


def open_decoder(
    model: Any,
    rows: Rows,
    *,
    note: Callable[[str], None],
    grid: BaseGrid | None = None,
    kv_bytes: int = 2 << 30,
    slots: int = 16,
    host_bytes: int = 2 << 30,
) -> TokenDecoder:
    """A decoder of a transformers model: the fast one where it is proven, else the model itself.

    rows: token ids of real conversations, of which a few are computed.  note: is told why the fast
    one, or the grid, is not used.  grid: the base's own, see `Decoder`.  kv_bytes, host_bytes: what
    keys and values, and waiting adapters, may take.
    """
    try:
        decoder = Decoder(
            recognise(model), grid=grid, kv_bytes=kv_bytes, slots=slots, host_bytes=host_bytes
        )
        proof = prove_base(decoder, model, rows)
        if proof.holds:
            if decoder.no_grid:
                note(f"the grid of the base's weights is not used: {decoder.no_grid}")
            return decoder
        reason = str(proof)
    except Unrecognised as error:
        reason = error.message
    note(f"answers are computed by transformers, which is slower: {reason}")
    return StockDecoder(model, kv_bytes=kv_bytes, slots=slots)


def prove_base(decoder: Decoder, model: Any, rows: Rows) -> Proof:
    """Compare the logits of the bare base with those of the transformers model it was made of."""
    sample = _sample(rows)
    logits = _Distance()
    for row, found in zip(sample, _decoded_logits(decoder, sample, None), strict=False):
        logits.add(_centred(found), _centred(_stock_logits(model, row)))
    return Proof(logits.relative, _TOLERANCE[_rounding(decoder)])


def prove_adapter(decoder: Decoder, model: Any, folder: Path, rows: Rows) -> Proof:
    """Compare the logits with an adapter, and what it changes, with those of PEFT.

    The change is compared too: logits alone would be near enough if a small adapter were left out.
    Raises what the banks' `load` and `acquire` raise.
    """
    sample = _sample(rows)
    adapter = decoder.bank.load(folder)
    slot = decoder.bank.acquire(adapter)
    if slot is None:
        raise RuntimeError("no slot is free for the proof of an adapter")
    try:
        bare = _decoded_logits(decoder, sample, None)
        found = _decoded_logits(decoder, sample, slot)
    finally:
        decoder.bank.release(slot)
    wanted_bare = [_stock_logits(model, row) for row in sample[: len(bare)]]
    stock = StockDecoder(model, slots=1).bank
    adapted = stock.model_of(stock.acquire(stock.load(folder)))
    logits, change, noise = _Distance(), _Distance(), _Distance()
    for number, row in enumerate(sample[: len(found)]):  # row by row: a vocabulary may be large
        wanted = _stock_logits(adapted, row)
        logits.add(_centred(found[number]), _centred(wanted))
        change.add(found[number] - bare[number], wanted - wanted_bare[number])
        noise.add(bare[number], wanted_bare[number])
    # Of a change that is not larger than the rounding of the base nothing can be said.
    rounding = 2 * noise.absolute
    relative = max(0.0, change.absolute - rounding) / change.size if change.size > rounding else 0.0
    return Proof(max(logits.relative, relative), _TOLERANCE[_rounding(decoder)])


def _sample(rows: Rows) -> list[list[int]]:
    long = [list(row[:PROVEN_TOKENS]) for row in rows if len(row) > _DECODED + 1]
    if not long:
        raise ValueError(f"no row of more than {_DECODED + 1} tokens to prove a decoder on")
    return long[:PROVEN_ROWS]


@torch.inference_mode()
def _stock_logits(model: Any, row: Sequence[int]) -> Tensor:
    ids = torch.tensor([list(row)], device=model.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits[0].float().cpu()


def _decoded_logits(decoder: Decoder, rows: Rows, slot: int | None) -> list[Tensor]:
    """[n, v] of each row: a prompt in two chunks, then token by token, with the other rows."""
    handles = [decoder.kv.allocate(len(row)) for row in rows]
    held = [handle for handle in handles if handle is not None]
    try:
        found: list[list[Tensor]] = [[] for _ in held]
        ends = [len(row) - _DECODED for row in rows[: len(held)]]
        edges = [[0, end // 2, *range(end, end + _DECODED + 1)] for end in ends]
        for number in range(_DECODED + 2):
            segments = []
            for handle, row, edge in zip(held, rows, edges, strict=False):
                start, end = edge[number : number + 2]
                if end > start:
                    segments.append(Segment(handle, row[start:end], start, slot, "all"))
            logits = decoder.step(segments).cpu()
            sizes = [len(segment.tokens) for segment in segments]
            parts = dict(zip((s.row for s in segments), torch.split(logits, sizes), strict=True))
            for at, handle in enumerate(held):
                if handle in parts:
                    found[at].append(parts[handle])
    finally:
        for handle in held:
            decoder.kv.release(handle)
    return [torch.cat(parts) for parts in found]


def _rounding(decoder: Decoder) -> torch.dtype:
    """The type that a decoder's products are rounded to."""
    return torch.bfloat16 if decoder.four_bit else decoder.dtype


def _centred(logits: Tensor) -> Tensor:
    """[n, v] without the mean of each token's logits, which no probability depends on."""
    return logits - logits.mean(-1, keepdim=True)


@dataclass(slots=True)
class _Distance:
    """The 2-norms of what was wanted and of its difference from what was found, added up."""

    _difference: float = 0.0
    _wanted: float = 0.0

    def add(self, found: Tensor, wanted: Tensor) -> None:
        """Both [n, v]."""
        self._wanted += _squares(wanted)
        self._difference += _squares(found - wanted)

    @property
    def absolute(self) -> float:
        return math.sqrt(self._difference)

    @property
    def size(self) -> float:
        return math.sqrt(self._wanted)

    @property
    def relative(self) -> float:
        return self.absolute / max(self.size, 1e-12)


def _squares(logits: Tensor) -> float:
    """The sum of squares of [n, v]."""
    return float(torch.linalg.vector_norm(logits, dim=-1).double().square().sum())
