"""How much the engine computes and keeps at once. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TOKENS_TOGETHER = 1024
"""Tokens of rows whose losses are computed together; a longer row is computed alone."""
LOGITS_TOGETHER = 512
"""Places of one row whose logits exist at a time."""
LOSSES_TOGETHER = 128
"""Those of them whose losses are computed at a time, in copies of the logits."""
LEAST_SHARED = 8
"""Tokens from which a common beginning of rows is computed once and copied."""
ANSWERS_TOGETHER = 32
"""Answers that are computed at once."""
PROVEN_ROWS, PROVEN_TOKENS = 3, 48
"""Rows, and tokens of each at most, on which the engine is compared with transformers."""
_LEAST_CAPACITY = 256


def row_capacity(tokens: int) -> int:
    """Positions of the cache row for so many tokens: few sizes, so that rows can be used again."""
    capacity = _LEAST_CAPACITY
    while capacity < tokens:
        capacity *= 2
    return capacity


def common_length(beginnings: Sequence[npt.NDArray[np.int32]]) -> int:
    """How many tokens all of these begin with."""
    import numpy as np

    length = min(len(each) for each in beginnings)
    for each in beginnings:
        differs = np.flatnonzero(each[:length] != beginnings[0][:length])
        length = int(differs[0]) if len(differs) else length
    return length
