"""Rows laid end to end as tensors, with the indices that keep them apart.

In everything but attention a packed batch is one long row. For attention the rows are gathered into
a padded block and scattered back, so that no row sees another and the cost is that of short rows.
Rows that begin alike can share the places of their common beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.training.batches import place_tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedBatch:
    """One batch of t places from b rows, the longest of l tokens, with n tokens to learn."""

    input_ids: torch.Tensor
    """int64 [1, t]: the token of each place."""
    position_ids: torch.Tensor
    """int64 [1, t]: its position in its row, from 0."""
    predictors: torch.Tensor
    """int64 [n]: places whose next token is learned; a shared place may stand here often."""
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
    learned = np.flatnonzero(np.concatenate([row.trained for row in rows]) & (every_position > 0))
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
        predictors=torch.from_numpy(every_place[learned - 1]),
        labels=torch.from_numpy(every_id[learned].astype(np.int64)),
        row_slots=torch.from_numpy(row_slots),
        token_slots=torch.from_numpy(slots),
        row_tokens=len(every_id),
    )
