"""Products with a weight that lies on a grid of four bits, computed from the grid's integers.

torch's kernel for the CPU takes, for each group of 32 weights, a scale s and a zero z in bf16 and
computes with w = s·(q - 8) + z; a GGUF's w = d·q + m is s = d, z = m + 8·d. It multiplies in fp32
and takes and gives bf16, so against the bf16 weights only the rounding differs: d and z to bf16
here, each w there. Its operators are private to torch: used where they exist, and for a weight on
which they are proven.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelyard.weights.grid import BLOCK_WEIGHTS, Blocks, load_grid

_CENTRE = 8
"""The integer that the kernel takes for zero; also that of Q4_0."""
_OUTPUTS_AT_ONCE = 16
"""The kernel wants a multiple of this many outputs."""


class GridNotUsed(Exception):
    """A weight is not computed from its grid; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A weight as integers on a grid: `scale · levels + offset` for each group of 32 in a row."""

    levels: Tensor
    """uint8 [o, i], 0 to 15."""
    scale: Tensor
    """fp32 [o, i/32]."""
    offset: Tensor
    """fp32 [o, i/32]: the value of level 0."""

    def values(self) -> Tensor:
        """The weight, fp32 [o, i], computed as GGUF readers do: product first, then sum."""
        groups = self.levels.view(*self.scale.shape, BLOCK_WEIGHTS)
        return (groups * self.scale.unsqueeze(2) + self.offset.unsqueeze(2)).flatten(1)

    def is_grid_of(self, weight: Tensor) -> bool:
        """Whether the values, rounded to bf16, are `weight` in every place."""
        return self.levels.shape == weight.shape and torch.equal(
            self.values().to(torch.bfloat16), weight.to(torch.bfloat16)
        )


@dataclass(frozen=True, slots=True, eq=False)
class BaseGrid:
    """The grids of a base's weights, as its folder keeps them."""

    _blocks: Mapping[str, Blocks]

    @classmethod
    def load(cls, folder: Path) -> BaseGrid:
        """Raises UnreadableWeights when the file is damaged. A base without one has no grids."""
        return cls(load_grid(folder))

    def stacked(self, names: Sequence[str]) -> Grid | None:
        """The grid of these weights below each other, such as q, k and v; None unless all have one.

        names: parameters, such as `model.layers.0.self_attn.q_proj.weight`.
        """
        if not all(name in self._blocks for name in names):
            return None
        grids = [_unpack(self._blocks[name]) for name in names]
        return Grid(
            torch.cat([grid.levels for grid in grids]),
            torch.cat([grid.scale for grid in grids]),
            torch.cat([grid.offset for grid in grids]),
        )


def _unpack(blocks: Blocks) -> Grid:
    """The low nibbles of a block's 16 bytes are its first 16 integers, the high ones the others."""
    data = torch.from_numpy(blocks.data)
    packed = data[..., -BLOCK_WEIGHTS // 2 :]
    levels = torch.cat([packed & 15, packed >> 4], dim=2).flatten(1)
    header = data[..., : -BLOCK_WEIGHTS // 2].contiguous().view(torch.float16).float()
    scale = header[..., 0]
    offset = header[..., 1] if blocks.kind == "Q4_1" else -_CENTRE * scale
    return Grid(levels, scale, offset)


def pack_four_bit(
    grid: Grid, weight: Tensor, bias: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """The function x [t, i] -> [t, o] of a grid that is `weight`'s.

    weight: [o, i], bias: [o], on the CPU; x has the type of both. In fp32 x is rounded to bf16.
    Raises GridNotUsed when the grid is another's, or nothing here computes with it.
    """
    outputs = len(weight)
    if outputs % _OUTPUTS_AT_ONCE:
        raise GridNotUsed(f"{outputs} outputs are no multiple of {_OUTPUTS_AT_ONCE}")
    if not grid.is_grid_of(weight):
        raise GridNotUsed("the integers kept beside the weights give other weights")
    scale_and_zero = torch.stack([grid.scale, grid.offset + _CENTRE * grid.scale], dim=2)
    scale_and_zero = scale_and_zero.transpose(0, 1).to(torch.bfloat16).contiguous()
    operators: Any = torch.ops.aten
    try:
        packed = operators._convert_weight_to_int4pack_for_cpu(grid.levels.int(), 2)
        multiply = operators._weight_int4pack_mm_for_cpu.default
    except (AttributeError, RuntimeError, TypeError) as error:
        raise GridNotUsed(f"this torch has no kernel for it: {error}") from error

    def compute(x: Tensor) -> Tensor:
        rows = x.to(torch.bfloat16).contiguous()
        result: Tensor = multiply(rows, packed, BLOCK_WEIGHTS, scale_and_zero)
        return result.to(x.dtype) if bias is None else (result + bias).to(x.dtype)

    return compute
