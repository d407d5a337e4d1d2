"""The numbers of a LoRA adapter as numpy arrays, module by module, with the scale of each.

Reads what `check.py` has found whole. Needs no torch, and does not know what is done with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.adapters.check import CONFIG_NAME, WEIGHTS_NAME, LoraConfig, load_lora_config
from modelyard.weights.fingerprint import TensorEntry, read_tensor_entries

Matrix = npt.NDArray[np.float32]

_PART = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_NUMPY = {"F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """What a LoRA adapter adds to one linear module: scale · B · A."""

    name: str
    """The module's name in the base, such as `model.layers.0.self_attn.q_proj`."""
    a: Matrix
    """float32 [r, inputs]."""
    b: Matrix
    """float32 [outputs, r]."""
    scale: float
    """What the product is multiplied by."""

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


def read_lora(folder: Path) -> tuple[LoraConfig, Iterator[LoraModule]]:
    """The config of the adapter in `folder`, and its modules by name, each read when it is asked.

    DoRA's magnitudes are left out: `config.dora` says that there are some.
    Raises AdapterMismatch or UnreadableWeights when the files are not whole.
    """
    config = load_lora_config(folder / CONFIG_NAME)
    pairs: dict[str, dict[str, TensorEntry]] = {}
    for entry in read_tensor_entries(folder / WEIGHTS_NAME):
        if found := _PART.fullmatch(entry.name):
            pairs.setdefault(found[1], {})[found[2]] = entry
    return config, _modules(folder / WEIGHTS_NAME, config, pairs)


def _modules(
    path: Path, config: LoraConfig, pairs: dict[str, dict[str, TensorEntry]]
) -> Iterator[LoraModule]:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for name in sorted(pairs):
        a, b = (as_float32(data, pairs[name][part]) for part in "AB")
        yield LoraModule(name, a, b, config.scale_of(name))


def as_float32(data: npt.NDArray[np.uint8], entry: TensorEntry) -> Matrix:
    """One tensor of a safetensors file's bytes, of type F32, F16 or BF16, in its shape."""
    raw = data[entry.start : entry.end]
    if entry.dtype == "BF16":  # the upper half of a float32; numpy has no type of its own for it
        values = (raw.view("<u2").astype("<u4") << 16).view("<f4")
    else:
        values = raw.view(_NUMPY[entry.dtype]).astype(np.float32)
    return values.reshape(entry.shape)
