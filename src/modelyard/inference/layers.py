"""The pieces of a layer as plain functions of tensors: norms, rotary embedding, attention, gates.

All tensors are [t, ...] over the tokens of one step. Their number of calls is kept small: at a few
tokens a call costs as much as what it computes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, floor: Tensor) -> Tensor:
    """Root-mean-square norm: x / sqrt(mean(x^2) + eps) * weight, in fp32.

    x: fp32 [..., d].  weight: fp32, of the shape of x's end, times sqrt(d).  floor: sqrt(d eps), a
    scalar: the square root is of |x|^2 + d eps, and hypot takes it without two more calls.
    Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.div(x, torch.hypot(size, floor)).mul_(weight)


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of all heads, in place; the halves of a head are the planes' axes.

    x: [t, h, w].  cos, sin: [t, 1, w]; the first half of sin is negative.
    Source: Su et al. 2021, arXiv:2104.09864.
    """
    swapped = x.roll(x.shape[-1] // 2, -1)
    return x.mul_(cos).addcmul_(swapped, sin)


def gated(x: Tensor) -> Tensor:
    """silu(gate) * up of the two halves of x: [t, 2m] to [t, m].

    Source: Shazeer 2020, arXiv:2002.05202.
    """
    gate, up = x.chunk(2, 1)
    return F.silu(gate).mul_(up)


def attend_each(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of one new token in each of n rows.

    q: [n, k, g, w], g query heads for each of k key heads.  k, v: [n k, l, w].
    mask: [n k, 1, l], 0 where a row has a position and minus infinity where not.
    Returns [n, k g w].
    The query heads of a key head stand where a longer query would, so that no key is copied
    (Ainslie et al. 2023, GQA, arXiv:2305.13245). On a CPU two batched products take half the time
    of torch's kernel for long queries.
    """
    rows, keys, groups, width = q.shape
    if q.device.type == "cpu":
        scores = torch.baddbmm(
            mask, q.reshape(rows * keys, groups, width), k.transpose(1, 2), alpha=scale
        )
        return torch.bmm(torch.softmax(scores, -1), v).view(rows, -1)
    k, v = (part.view(rows, keys, -1, width) for part in (k, v))
    own = mask.view(rows, keys, 1, -1)
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=own, scale=scale)
    return seen.reshape(rows, -1)


def attend_chunk(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of c tokens that follow each other in one row.

    q: [c, k, g, w].  k, v: [k, l, w], with the positions of q and all before them.
    mask: [c', l] of at least c rows, to which the queries are filled up: minus infinity where a
    token would see a later one, else 0.  Returns [c, k g w].
    """
    count, groups, rows = q.shape[0], q.shape[2], len(mask)
    whole = count == k.shape[1]
    every_k, every_v = (part.unsqueeze(1).expand(-1, groups, -1, -1) for part in (k, v))
    q = q.permute(1, 2, 0, 3)
    seen = F.scaled_dot_product_attention(
        F.pad(q, (0, 0, 0, rows - count)) if rows > count else q,
        every_k,
        every_v,
        attn_mask=None if whole else mask,
        is_causal=whole,
        scale=scale,
    )
    return seen[:, :, :count].permute(2, 0, 1, 3).reshape(count, -1)


def attend_long_chunk(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The same by bf16 products, on a CPU in half the time for a hundred tokens and more.

    mask: [c', l] of at least c rows, to which the queries are filled up: oneDNN makes a kernel for
    each size, so there are few sizes.
    """
    count, keys, groups, width = q.shape
    rows = len(mask)
    q, k, v = (part.to(torch.bfloat16) for part in (q.permute(1, 2, 0, 3), k, v))
    q = F.pad(q, (0, 0, 0, rows - count)).reshape(keys, groups * rows, width)
    scores = torch.bmm(q, k.transpose(1, 2)).float()
    scores.view(keys, groups, rows, -1).mul_(scale).add_(mask)
    seen = torch.bmm(torch.softmax(scores, -1).to(torch.bfloat16), v)
    return seen.view(keys, groups, rows, width)[:, :, :count].permute(2, 0, 1, 3).reshape(count, -1)
