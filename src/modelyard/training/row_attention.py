"""Attention of a packed batch, row by row, as transformers calls it and as the kernels do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from modelyard.training.kernels import RowAttention
from modelyard.training.packed import PackedBatch

ATTENTION_NAME = "modelyard_rows"
_ROW_ATTENTION_LIMIT = 2048


@dataclass(slots=True)
class RowLayout:
    """Which rows are in the batch that the model computes now; attention modules read it."""

    kernel: str = "auto"
    """`rows`, `sdpa`, or `auto`: rows on a CPU while they are short."""
    batch: PackedBatch | None = None
    """The batch of now."""


def attend_rows(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a packed batch, row by row: the interface that transformers calls.

    query: [1, h, t, d], key and value: [1, k, t, d].  Returns [1, t, h, d].
    """
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    return attend(q, k, v, scaling, module.row_layout)[None], None


AttentionInterface.register(ATTENTION_NAME, attend_rows)


def attend(q: Tensor, k: Tensor, v: Tensor, scaling: float, layout: RowLayout) -> Tensor:
    """q: [t, h, d], k and v: [t, k, d].  Returns [t, h, d]."""
    batch = cast(PackedBatch, layout.batch)
    rows, longest = batch.row_slots.shape
    slots = batch.row_slots.view(-1)
    heads, width = q.shape[1:]
    key_heads = k.shape[1]

    def block(x: Tensor) -> Tensor:
        padded = x.index_select(0, slots) if len(slots) != len(x) or rows > 1 else x
        return padded.view(rows, longest, -1, width).transpose(1, 2)

    q, k, v = block(q), block(k), block(v)
    short = q.device.type == "cpu" and longest <= _ROW_ATTENTION_LIMIT
    if layout.kernel == "rows" or (layout.kernel == "auto" and short):
        grouped = q.reshape(rows, key_heads, heads // key_heads, longest, width)
        seen = cast(Tensor, RowAttention.apply(grouped, k, v, scaling))
        seen = seen.view(rows, heads, longest, width)
    else:
        seen = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, enable_gqa=heads != key_heads
        )
    flat = seen.transpose(1, 2).reshape(rows * longest, heads, width)
    return flat.index_select(0, batch.token_slots)
