"""The grid of a base that comes from a GGUF file: its packed integers, beside its bf16 weights.

A GGUF of type Q4_0 or Q4_1 cuts each row of a weight into blocks of 32 and stores, for each block,
32 integers q of four bits, a scale d and, in Q4_1, a minimum m, both in fp16:

    Q4_1: w = d·q + m        Q4_0: w = d·(q - 8)

All of the base's weights are on this grid, so computing from the integers is the same model at a
quarter of the bytes. A converted base keeps the blocks in `model.grid`: safetensors' format, one
tensor for each weight, uint8 [o, i/32, bytes of a block], called like the weight, its rows in the
order of the weight's; the metadata says the type of each. The name keeps it apart from weights that
other programs load by `*.safetensors`. A base without the file, or without a weight in it, is
computed from its bf16 weights alone.
Source: llama.cpp, ggml-common.h (block_q4_0, block_q4_1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.weights.files import GRID_NAME, UnreadableWeights

BLOCK_WEIGHTS = 32
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20}


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The blocks of one weight."""

    kind: str
    """`Q4_0` or `Q4_1`."""
    data: npt.NDArray[np.uint8]
    """uint8 [o, i/32, BLOCK_BYTES[kind]]."""


def load_grid(folder: Path) -> dict[str, Blocks]:
    """The blocks of a base's weights by name; none when its folder has no such file.

    Raises UnreadableWeights when the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / GRID_NAME
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            kinds = file.metadata() or {}
            found = {name: Blocks(kind, file.get_tensor(name)) for name, kind in kinds.items()}
    except (SafetensorError, OSError, KeyError) as error:
        raise UnreadableWeights("is not a readable grid", where=str(path)) from error
    for name, blocks in found.items():
        size = BLOCK_BYTES.get(blocks.kind)
        if blocks.data.dtype != np.uint8 or blocks.data.ndim != 3 or blocks.data.shape[2] != size:
            raise UnreadableWeights(
                f"holds other blocks than {blocks.kind}: {name}", where=str(path)
            )
    return found


def write_grid(folder: Path, blocks: Mapping[str, Blocks]) -> None:
    """Write the blocks of a base's weights into its folder; no file when there are none."""
    from safetensors.numpy import save_file

    if blocks:
        save_file(
            {name: each.data for name, each in blocks.items()},
            folder / GRID_NAME,
            metadata={name: each.kind for name, each in blocks.items()},
        )
