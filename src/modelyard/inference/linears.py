"""A frozen linear layer, in the form in which this machine computes it fastest.

Forms, all of the same weights:

- *plain*: `F.linear`; on a GPU, and where nothing else is proven.
- *prepacked*: the weight in oneDNN's own blocked layout, made once. `F.linear` reads the weight row
  by row and brings it into that layout for each product, which is half of the time of a step that
  decodes a few tokens. The operators are private to torch (torch.compile calls them), so they are
  used where they exist, and for a weight with which they give what `F.linear` gives: in bf16 the
  same bits, for any number of rows; in fp32, where `F.linear` is MKL's and sums in another order,
  the same up to rounding.

Which form is used depends on the kind of processor, the weight and the number of rows, never on a
measured time: the same machine gives the same answer, however busy it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Literal["plain", "prepacked"]

_ROUNDING = 1e-5
"""Largest difference of two fp32 sums of one product, as a part of its largest value."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenLinear:
    """One linear layer, or several stacked over their outputs; call it like `F.linear`."""

    outputs: int
    """o."""
    inputs: int
    """i."""
    form: Form
    """How it is computed."""
    _compute: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """x: [t, i] or [..., i], in the weight's type, on its device. Returns [t, o], [..., o]."""
        return self._compute(x)


def pack_linear(weight: Tensor, bias: Tensor | None = None) -> FrozenLinear:
    """The layer `x @ weight.T + bias`.

    weight: [o, i], bf16 or fp32, detached or frozen.  bias: [o] of the same type, or None.
    A prepacked layer does not hold `weight`; a plain one does.
    """
    weight = weight.detach()
    bias = None if bias is None else bias.detach()
    outputs, inputs = weight.shape
    if prepacked := _prepack(weight, bias):
        return FrozenLinear(outputs, inputs, "prepacked", prepacked)
    return FrozenLinear(outputs, inputs, "plain", _plain(weight, bias))


def _plain(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    return lambda x: F.linear(x, weight, bias)


def _prepack(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """The prepacked form, or None where it is missing or does not give what `F.linear` gives."""
    if weight.device.type != "cpu" or not can_prepack(weight.dtype):
        return None
    mkldnn: Any = torch.ops.mkldnn
    packed = mkldnn._reorder_linear_weight(weight)
    linear_pointwise = mkldnn._linear_pointwise.default

    def compute(x: Tensor) -> Tensor:
        result: Tensor = linear_pointwise(x, packed, bias, "none", [], "")
        return result

    return compute if _is_equal(compute, weight, bias) else None


@cache
def can_prepack(dtype: torch.dtype) -> bool:
    """Whether this torch and this CPU have the prepacked form for weights of `dtype`.

    bf16 only where the CPU has instructions for it: oneDNN emulates it elsewhere.
    """
    mkldnn: Any = torch.backends.mkldnn
    if not (mkldnn.is_available() and mkldnn.enabled):
        return False
    if dtype == torch.bfloat16 and not has_bf16_instructions():
        return False
    if dtype not in (torch.bfloat16, torch.float32):
        return False
    weight = torch.eye(16, dtype=dtype)
    mkldnn_ops: Any = torch.ops.mkldnn
    try:
        packed = mkldnn_ops._reorder_linear_weight(weight)
        result = mkldnn_ops._linear_pointwise.default(weight, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):  # absent, or with other arguments
        return False
    return torch.equal(result, weight)


@cache
def has_bf16_instructions() -> bool:
    """Whether the CPU multiplies bf16 itself: AVX512-bf16 or AMX."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _is_equal(compute: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `compute` gives what `F.linear` gives for a few rows."""
    generator = torch.Generator().manual_seed(weight.shape[1])
    x = torch.randn(3, weight.shape[1], generator=generator).to(weight.dtype)
    wanted = F.linear(x, weight, bias)
    found = compute(x)
    if weight.dtype == torch.bfloat16:
        return torch.equal(found, wanted)
    return float((found - wanted).abs().max()) <= _ROUNDING * float(wanted.abs().max())
