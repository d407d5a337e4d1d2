"""The arithmetic of a LoRA training step, written for a frozen base.

Each function is the forward and the backward of one piece, by hand: the base's weights get no
gradient, nothing is saved that is cheap to compute again, and the steps between matrix products are
few. Adapter weights stay in fp32 (they are their own master copy) and are cast where they are used.
All tensors are [tokens, features] of packed rows, in the compute type (bf16 or fp32).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from modelyard.inference.layers import gated
from modelyard.training.live_tensors import SCORES_PER_BLOCK


class LoraProjections(Function):
    """Projections of one input that stand side by side: y = x W^T + s (x A^T) B^T for each.

    x: [t, i].  weight: [o, i], the stacked base weights, o the sum of `widths`; bias: [o] or None.
    a: [k r, i], the stacked A, and b: [o, k r], the B laid out block-diagonally and multiplied by
    s, both in the type of x.  adapters: the fp32 weights they were cast from, k times A [r, i],
    then k times B [o_k, r]: they get the gradients.  Returns [t, o].
    Few products of fair size are faster than many thin ones, and the zeros of b cost less than the
    calls they save. Source: Hu et al. 2021, arXiv:2106.09685.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        widths: tuple[int, ...],
        *adapters: Tensor,
    ) -> Tensor:
        inner = x @ a.t()
        ctx.save_for_backward(x, weight, a, b, inner)
        ctx.scaling, ctx.widths = scaling, widths
        return F.linear(x, weight, bias).addmm_(inner, b.t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, a, b, inner = ctx.saved_tensors
        count, rank = len(ctx.widths), len(a) // len(ctx.widths)
        grad_inner = grad @ b
        grad_a = (grad_inner.t() @ x).float()
        every_b = (inner.t() @ grad).float().mul_(ctx.scaling).split_with_sizes(ctx.widths, 1)
        grad_b = [
            block[place * rank : (place + 1) * rank].t() for place, block in enumerate(every_b)
        ]
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_inner, a)
        return grad_x, None, None, None, None, None, None, *grad_a.chunk(count), *grad_b


class RmsNorm(Function):
    """Root-mean-square norm with a frozen weight, statistics in fp32.

    x: [..., d], weight: [d].  Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(
            torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps)
        ).unsqueeze_(-1)
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, inverse = ctx.saved_tensors
        wide = (grad * weight).float()
        unit = x.float().mul_(inverse)
        along = torch.linalg.vecdot(wide, unit).div_(x.shape[-1]).unsqueeze_(-1)
        return wide.sub_(unit.mul_(along)).mul_(inverse).to(grad.dtype), None, None


class SwiGlu(Function):
    """silu(gate) * up of the two halves of `x`: [t, 2m] to [t, m].

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return gated(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor]:
        (x,) = ctx.saved_tensors
        gate, up = x.chunk(2, 1)
        grad_x = torch.empty_like(x)
        grad_gate, grad_up = grad_x.chunk(2, 1)
        torch.mul(grad, F.silu(gate), out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return (grad_x,)


class Rotary(Function):
    """Rotary position embedding of all heads at once.

    x: [t, h, d].  cos, sin: [t, 1, d / 2].  Source: Su et al. 2021, arXiv:2104.09864.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, sin, -1.0), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, direction: float) -> Tensor:
    left, right = x.chunk(2, -1)
    turned = torch.empty_like(x)
    turned_left, turned_right = turned.chunk(2, -1)
    torch.mul(left, cos, out=turned_left).addcmul_(right, sin, value=-direction)
    torch.mul(right, cos, out=turned_right).addcmul_(left, sin, value=direction)
    return turned


class RowAttention(Function):
    """Causal attention of short rows as batched matrix products.

    q: [b, k, g, l, d] (k key heads, g query heads for each), k and v: [b, k, l, d].
    Returns [b, k, g, l, d]. Probabilities are kept while they are small beside q (l <= 4 d), else
    computed again. Of long rows the scores of a few key heads exist at a time. Torch's CPU kernel
    takes 49 ms for one backward of bf16 attention over 16 rows of about 65 tokens (2.13, one core):
    more than all matrix products of the layer.
    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        b, heads, groups, length, width = q.shape
        q = q.reshape(b * heads, groups * length, width)
        k = k.reshape(b * heads, length, width)
        v = v.reshape(b * heads, length, width)
        seen = torch.empty_like(q)
        kept = []
        for block in _score_blocks(b * heads, groups * length * length):
            chance = _probabilities(q[block], k[block], scale)
            torch.bmm(chance, v[block], out=seen[block])
            if length <= 4 * width:
                kept.append(chance)
            del chance  # or it would live beside the next one's scores
        ctx.save_for_backward(q, k, v, *kept)
        ctx.scale, ctx.shape = scale, (b, heads, groups, length, width)
        return seen.view(ctx.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        q, k, v, *kept = ctx.saved_tensors
        b, heads, groups, length, width = ctx.shape
        grad = grad.reshape(q.shape)
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
        blocks = _score_blocks(b * heads, groups * length * length)
        for number, block in enumerate(blocks):
            chance = kept[number] if kept else _probabilities(q[block], k[block], ctx.scale)
            torch.bmm(chance.transpose(1, 2), grad[block], out=grad_v[block])
            pull = torch.bmm(grad[block], v[block].transpose(1, 2))
            # The gradient of softmax: p * (dp - sum(p * dp)).
            pull = pull.sub_((pull * chance).sum(-1, keepdim=True)).mul_(chance).mul_(ctx.scale)
            torch.bmm(pull, k[block], out=grad_q[block])
            torch.bmm(pull.transpose(1, 2), q[block], out=grad_k[block])
            del chance, pull
        return (
            grad_q.view(ctx.shape),
            grad_k.view(b, heads, length, width),
            grad_v.view(b, heads, length, width),
            None,
        )


def _score_blocks(count: int, scores: int) -> list[slice]:
    """Slices of `count` key heads of rows, each with so many `scores`, to be computed in turn."""
    size = max(1, SCORES_PER_BLOCK // scores)
    return [slice(start, start + size) for start in range(0, count, size)]


def _probabilities(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Softmax of the scores with the future hidden: [b k, g l, l] in the type of q."""
    scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(scale)
    length = k.shape[1]
    scores.view(-1, length, length).add_(_future(length, q.device))
    return torch.softmax(scores, -1).to(q.dtype)


@lru_cache(maxsize=1)  # the layers of a batch ask in turn, and a long one is 16 MB
def _future(length: int, device: torch.device) -> Tensor:
    """[l, l]: minus infinity where a token would see a later one, else 0."""
    return torch.full((length, length), float("-inf"), device=device).triu_(1)


class LabelLoss(Function):
    """Sum of the cross-entropy at the labels, without ever holding all logits.

    hidden: [n, d] where a label follows, weight: [v, d] (frozen), labels: [n].  Returns a scalar.
    The gradient of `hidden` is computed in the same pass, block by block, since the base's output
    layer needs none. Source: Wijmans et al. 2024, Cut Your Losses, arXiv:2411.09009.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, rows_per_block: int
    ) -> Tensor:
        wants_grad = ctx.needs_input_grad[0]
        grad = torch.empty_like(hidden) if wants_grad else None
        losses = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(labels), rows_per_block):
            block = slice(start, start + rows_per_block)
            chosen = labels[block, None]
            logits = (hidden[block] @ weight.t()).float()
            log_sum = torch.logsumexp(logits, -1, keepdim=True)
            losses[block] = (log_sum - logits.gather(1, chosen)).squeeze(1)
            if grad is not None:
                chance = logits.sub_(log_sum).exp_()
                chance.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=chance.dtype))
                torch.mm(chance.to(hidden.dtype), weight, out=grad[block])
        if grad is not None:
            ctx.save_for_backward(grad)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Any, ...]:
        (grad,) = ctx.saved_tensors
        return grad * grad_loss.to(grad.dtype), None, None, None
