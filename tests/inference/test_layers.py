from __future__ import annotations

import pytest
import torch

from modelyard.inference.layers import attend_chunk, attend_long_chunk


@pytest.mark.parametrize("count", [127, 128, 192, 193])
def test_a_long_chunk_attends_as_any_other_whatever_its_length(count: int) -> None:
    torch.manual_seed(count)
    before, keys, groups, width = 30, 2, 3, 16
    rows = -(-count // 64) * 64
    q = torch.randn(count, keys, groups, width)
    k, v = torch.randn(2, keys, before + count, width)
    mask = torch.full((rows, before + count), float("-inf")).triu_(before + 1)
    wanted = attend_chunk(q, k, v, mask, 0.25)
    assert torch.allclose(attend_long_chunk(q, k, v, mask, 0.25).float(), wanted, atol=0.03)
