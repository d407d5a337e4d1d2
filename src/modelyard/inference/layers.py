"""The pieces of a layer as plain functions of tensors: norms, rotary embedding, attention, gates.

All tensors are [t, ...] over the tokens of one step, in the compute type (bf16 or fp32).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm, statistics in fp32.

    x: [..., d].  weight: [d], or of a shape that x has at its end.  Returns the shape of x.
    Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """
    return norm_parts(x, weight, eps)[0]


def norm_parts(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """What `rms_norm` gives, and the inverse of the root mean square: fp32 [..., 1]."""
    wide = x.float()
    inverse = torch.rsqrt(torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps))
    inverse = inverse.unsqueeze_(-1)
    return (wide * inverse).to(x.dtype).mul_(weight), inverse


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of all heads at once; the two halves of a head are the plane.

    x: [t, h, w].  cos, sin: [t, 1, w]; the first half of sin is negative.  Returns [t, h, w].
    Source: Su et al. 2021, arXiv:2104.09864.
    """
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, -1), sin)


def gated(x: Tensor) -> Tensor:
    """silu(gate) * up of the two halves of x: [t, 2m] to [t, m].

    Source: Shazeer 2020, arXiv:2002.05202.
    """
    gate, up = x.chunk(2, 1)
    return F.silu(gate).mul_(up)


def attend_each(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of one new token in each of n rows.

    q: [n, k, g, w], g query heads for each of k key heads.  k, v: [n, k, l, w].
    mask: [n, 1, 1, l], 0 where a row has a position and minus infinity where not.
    Returns [n, k g w].
    The query heads of a key head stand where a longer query would, so that no key is copied.
    Source: Ainslie et al. 2023, GQA, arXiv:2305.13245.
    """
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return seen.reshape(len(q), -1)


def attend_chunk(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attention of n tokens that follow each other in one row.

    q: [n, k, g, w].  k, v: [k, l, w], the last n positions those of q.  mask: [n, l], minus
    infinity where a token would see a later one, or None when n = l.  Returns [n, k g w].
    """
    groups = q.shape[2]
    every_k, every_v = (part.unsqueeze(1).expand(-1, groups, -1, -1) for part in (k, v))
    seen = F.scaled_dot_product_attention(
        q.permute(1, 2, 0, 3), every_k, every_v, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return seen.permute(2, 0, 1, 3).reshape(len(q), -1)
