"""Rows laid end to end as tensors, with the indices that keep them apart.

In everything but attention a packed batch is one long row. For attention the rows are gathered into
a padded block and scattered back, so that no row sees another and the cost is that of short rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modelyard.chatdata.tokenizing import TokenRow


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """One batch of t tokens from b rows, the longest of l tokens, with n tokens to learn."""

    input_ids: torch.Tensor
    """int64 [1, t]: the rows, one after the other."""
    position_ids: torch.Tensor
    """int64 [1, t]: positions, from 0 again in each row."""
    predictors: torch.Tensor
    """int64 [n]: places in the batch whose next token is learned."""
    labels: torch.Tensor
    """int64 [n]: those next tokens."""
    label_rows: torch.Tensor
    """int64 [n]: the row (0 to b - 1) that each label belongs to."""
    row_slots: torch.Tensor
    """int64 [b, l]: for each slot of the padded block, the place of its token in the batch."""
    token_slots: torch.Tensor
    """int64 [t]: for each token, its slot in the flattened padded block."""

    @property
    def tokens(self) -> int:
        return self.input_ids.shape[1]

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        return PackedBatch(
            *(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__)
        )


def pack_rows(rows: Sequence[TokenRow]) -> PackedBatch:
    """Lay rows end to end. A row's first token is never a label: nothing precedes it."""
    lengths = np.array([len(row.input_ids) for row in rows])
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    longest = int(lengths.max())
    ids = np.concatenate([row.input_ids for row in rows]).astype(np.int64)
    positions = np.concatenate([np.arange(length) for length in lengths])
    row_of_token = np.repeat(np.arange(len(rows)), lengths)
    learned = np.concatenate([row.trained for row in rows]) & (positions > 0)
    places = np.flatnonzero(learned)
    # Slots past a row's end repeat its last token; causal attention never looks at them.
    slots = starts[:, None] + np.minimum(np.arange(longest)[None, :], lengths[:, None] - 1)
    arrays = (
        ids[None],
        positions[None],
        places - 1,
        ids[places],
        row_of_token[places],
        slots,
        row_of_token * longest + positions,
    )
    return PackedBatch(*(torch.from_numpy(np.ascontiguousarray(one)) for one in arrays))
