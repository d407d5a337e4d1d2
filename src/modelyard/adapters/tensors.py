"""The types and shapes of an adapter's tensors, as they are checked and shown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelyard.weights.files import TensorEntry


class Float(NamedTuple):
    """The bit layout of a floating-point type."""

    size_bytes: int
    magnitude: int
    exponent: int


FLOATS = {
    "F32": Float(4, 0x7FFFFFFF, 0x7F800000),
    "F16": Float(2, 0x7FFF, 0x7C00),
    "BF16": Float(2, 0x7FFF, 0x7F80),
}


def tensor_bits(data: npt.NDArray[np.uint8], entry: TensorEntry) -> npt.NDArray[np.unsignedinteger]:
    """A tensor's numbers as unsigned integers of their size; numpy has no bfloat16."""
    return data[entry.start : entry.end].view(f"<u{FLOATS[entry.dtype].size_bytes}")


def is_finite(data: npt.NDArray[np.uint8], entry: TensorEntry) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    exponent = FLOATS[entry.dtype].exponent
    return not bool(((tensor_bits(data, entry) & exponent) == exponent).any())


def shown_shape(shape: tuple[int, ...] | None) -> str:
    """A shape as `[2, 3]`; of a tensor that is not there, `absent`."""
    return "absent" if shape is None else f"[{', '.join(str(size) for size in shape)}]"
