"""Rows laid end to end as tensors, with the indices that keep them apart.

In everything but attention a packed batch is one long row. For attention the rows are gathered into
a padded block and scattered back, so that no row sees another and the cost is that of short rows.
Rows that begin alike can share the places of their common beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.training.batches import place_tokens
from modelyard.training.kernels import RowAttention
from modelyard.training.live_tensors import ROW_ATTENTION_LIMIT


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedBatch:
    """One batch of t places from b rows, the longest of l tokens, with n trained tokens."""

    input_ids: torch.Tensor
    """int64 [1, t]: the token of each place."""
    position_ids: torch.Tensor
    """int64 [1, t]: its position in its row, from 0."""
    predictors: torch.Tensor
    """int64 [n]: places whose next token is trained; a shared place may occur often."""
    labels: torch.Tensor
    """int64 [n]: those next tokens."""
    row_slots: torch.Tensor
    """int64 [b, l]: for each slot of the padded block, the place of its token."""
    token_slots: torch.Tensor
    """int64 [t]: for each place, a slot of it in the flattened padded block."""
    row_tokens: int
    """Tokens of all rows together, shared ones counted in each."""

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


def pack_rows(rows: Sequence[TokenRow], *, share: bool = False) -> PackedBatch:
    """Lay rows into one batch, equal beginnings once if `share` (see `place_tokens`).

    A row's first token is never a label: nothing precedes it.
    """
    places = place_tokens(rows, share=share)
    lengths = np.array([len(row.input_ids) for row in rows])
    longest = int(lengths.max())
    every_place = np.concatenate(places)
    every_id = np.concatenate([row.input_ids for row in rows])
    every_position = np.concatenate([np.arange(length) for length in lengths])
    every_slot = np.repeat(np.arange(len(rows)), lengths) * longest + every_position
    trained = np.flatnonzero(np.concatenate([row.trained for row in rows]) & (every_position > 0))
    # Where rows share a place, what they write is the same.
    ids, positions, slots = np.zeros((3, every_place.max() + 1), dtype=np.int64)
    ids[every_place] = every_id
    positions[every_place] = every_position
    slots[every_place] = every_slot
    # Slots past a row's end repeat its last token; causal attention never looks at them.
    row_slots = np.stack(
        [np.pad(place, (0, longest - len(place)), mode="edge") for place in places]
    )
    return PackedBatch(
        input_ids=torch.from_numpy(ids[None]),
        position_ids=torch.from_numpy(positions[None]),
        predictors=torch.from_numpy(every_place[trained - 1]),
        labels=torch.from_numpy(every_id[trained].astype(np.int64)),
        row_slots=torch.from_numpy(row_slots),
        token_slots=torch.from_numpy(slots),
        row_tokens=len(every_id),
    )


ATTENTION_NAME = "modelyard_rows"


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
    q, k, v = (heads[0].transpose(0, 1) for heads in (query, key, value))
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
    short = q.device.type == "cpu" and longest <= ROW_ATTENTION_LIMIT
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
