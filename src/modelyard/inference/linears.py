"""A frozen linear layer, in the form in which this machine computes it fastest.

Forms, all of the same weights:

- *plain*: `F.linear`; on a GPU, and where nothing else is proven.
- *prepacked*: the weight in oneDNN's own blocked layout, made once. `F.linear` reads the weight row
  by row and brings it into that layout for each product, which is half of the time of a step that
  decodes a few tokens. The operators are private to torch (torch.compile calls them), so they are
  used where they exist, and for a weight with which they give what `F.linear` gives: in bf16 the
  same bits; in fp32, where `F.linear` is MKL's and sums in another order, the same up to rounding.
  A single row, which oneDNN sums in another order for wide inputs, is computed twice there, as two.
- *four-bit*, beside one of these and for few rows: from the integers of the base's own grid
  (four_bit.py), where a step reads a quarter of the bytes. Unpacking them costs each row the same,
  so above a few rows the other form is faster.

Which form is used depends on the kind of processor, the weight and the number of rows, never on a
measured time: the same machine gives the same answer, however busy it is. Losses and gates want one
path for any number of rows, also one that other machines share: they pack without a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from modelyard.inference.four_bit import Grid, GridNotUsed, pack_four_bit
from modelyard.inference.pages import gather_in_large_pages

Form = Literal["plain", "prepacked"]

Compute = Callable[[Tensor], Tensor]

_FP32_ROUNDING = 1e-5
"""Largest difference of two fp32 sums of one product, as a part of its largest value."""
_RESULTS_ALONE = 100_000
"""Results that are compared to tell whether a row alone is computed as among others."""
_FOUR_BIT_ROUNDING = 0.02
"""The same for products with four bits and with bf16, which rounds each weight to 0.004 of it; a
wrong order of integers or of groups gives about 1."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenLinear:
    """One linear layer, or several stacked over their outputs; call it with rows."""

    outputs: int
    """o."""
    inputs: int
    """i."""
    form: Form
    """How many rows are computed, and few without a grid."""
    four_bit_rows: int
    """The most rows that are computed from the grid's integers; 0 when none are."""
    no_grid: str | None
    """Why a grid that would be faster is not used."""
    _many: Compute
    _few: Compute

    def __call__(self, x: Tensor) -> Tensor:
        """x: [t, i] in the weight's type, on its device. Returns [t, o]."""
        return self._few(x) if len(x) <= self.four_bit_rows else self._many(x)


def pack_linear(
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    grid: Grid | None = None,
    large_pages: bool = False,
) -> FrozenLinear:
    """The layer `x @ weight.T + bias`.

    weight: [o, i], bf16 or fp32, detached or frozen.  bias: [o] of the same type, or None.
    grid: that of the weight, if it has one; used where it is the weight's, and faster.
    large_pages: whether a prepacked weight is worth the time to move it into large pages.
    A prepacked layer does not hold `weight`; a plain one does.
    """
    weight = weight.detach()
    bias = None if bias is None else bias.detach()
    outputs, inputs = weight.shape
    prepacked = _prepack(weight, bias, large_pages=large_pages)
    form: Form = "prepacked" if prepacked else "plain"
    many = prepacked or _plain(weight, bias)
    rows = four_bit_rows(weight.dtype) if grid and weight.device.type == "cpu" else 0
    if grid is None or not rows:
        return FrozenLinear(outputs, inputs, form, 0, None, many, many)
    try:
        few = _four_bit(grid, weight, bias)
    except GridNotUsed as reason:
        return FrozenLinear(outputs, inputs, form, 0, str(reason), many, many)
    return FrozenLinear(outputs, inputs, form, rows, None, many, few)


def _plain(weight: Tensor, bias: Tensor | None) -> Compute:
    return lambda x: F.linear(x, weight, bias)


def _prepack(weight: Tensor, bias: Tensor | None, *, large_pages: bool) -> Compute | None:
    """The prepacked form, or None where it is missing or does not give what `F.linear` gives."""
    if weight.device.type != "cpu" or not can_prepack(weight.dtype):
        return None
    mkldnn: Any = torch.ops.mkldnn
    packed = mkldnn._reorder_linear_weight(weight)
    if large_pages:
        with suppress(AttributeError, RuntimeError):  # a torch that does not say where it lies
            gather_in_large_pages(mkldnn.data_ptr(packed), mkldnn._nbytes(packed))
    linear_pointwise = mkldnn._linear_pointwise.default

    def compute(x: Tensor) -> Tensor:
        result: Tensor = linear_pointwise(x, packed, bias, "none", [], "")
        return result

    def compute_pairs(x: Tensor) -> Tensor:
        return compute(x) if len(x) > 1 else compute(torch.cat([x, x]))[:1]

    exact = 0.0 if weight.dtype == torch.bfloat16 else _FP32_ROUNDING
    if not _is_close(compute, weight, bias, exact):
        return None
    return compute if _is_same_alone(compute, weight) else compute_pairs


def _four_bit(grid: Grid, weight: Tensor, bias: Tensor | None) -> Compute:
    """The four-bit form. Raises GridNotUsed where it does not give what the weight gives."""
    compute = pack_four_bit(grid, weight, bias)
    if not _is_close(compute, weight, bias, _FOUR_BIT_ROUNDING):
        raise GridNotUsed("the kernel for four bits gives other products here")
    return compute


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
    able = _cpu_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


_FOUR_BIT_ROWS = 8
"""Measured with `python -m benchmarks.linears` on AVX512-bf16 and as AVX2, and before on AMX: all
layers of the embedded base take 3 ms at one row where prepacked bf16 takes 7, about 6 where it
takes 8 at eight rows, and at sixteen more everywhere. In fp32 on AVX2: 7 and 14, 13 and 19, 24 and
25."""


@cache
def four_bit_rows(dtype: torch.dtype) -> int:
    """The most rows for which the four-bit kernel is the fastest form of layers of `dtype` here.

    None in fp32 where the CPU has bf16 instructions: it was asked for there for its digits, and the
    kernel rounds rows to bf16. None without AVX2, where the kernel is slow or unmeasured.
    """
    if dtype == torch.float32 and has_bf16_instructions():
        return 0
    return _FOUR_BIT_ROWS if _cpu_capabilities().get("avx2") else 0


def _cpu_capabilities() -> Mapping[str, Any]:
    """What torch says about this CPU; nothing where it is too old to say."""
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


def _is_close(compute: Compute, weight: Tensor, bias: Tensor | None, tolerance: float) -> bool:
    """Whether a few rows give what `F.linear` gives, up to a part of the largest value."""
    generator = torch.Generator().manual_seed(weight.shape[1])
    x = torch.randn(3, weight.shape[1], generator=generator).to(weight.dtype)
    wanted = F.linear(x, weight, bias).float()
    difference = (compute(x).float() - wanted).abs().max()
    return float(difference) <= tolerance * float(wanted.abs().max())


_same_alone: dict[tuple[torch.Size, torch.dtype, int], bool] = {}
"""What `_is_same_alone` found, by size, type and number of threads: all that it depends on."""


def _is_same_alone(compute: Compute, weight: Tensor) -> bool:
    """Whether a row gets the same bits alone as among others; oneDNN may sum one in another order.

    It does for some sizes, which shows in one of 7,000 results in bf16.
    """
    key = weight.shape, weight.dtype, torch.get_num_threads()
    if key not in _same_alone:
        outputs, inputs = weight.shape
        generator = torch.Generator().manual_seed(inputs)
        x = torch.randn(2 + _RESULTS_ALONE // outputs, inputs, generator=generator)
        x = x.to(weight.dtype)
        _same_alone[key] = torch.equal(compute(x), torch.cat([compute(row[None]) for row in x]))
    return _same_alone[key]
