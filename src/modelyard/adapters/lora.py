"""A LoRA adapter's config, and its numbers as numpy arrays, module by module, with their scale.

Reads what `verify.py` found whole. Needs no torch, and does not know what is done with the numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import ModelyardError
from modelyard.weights.files import TensorEntry, read_tensor_entries

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

Matrix = npt.NDArray[np.float32]


class AdapterMismatch(ModelyardError):
    """The files of an adapter are not whole, not safe to load, or do not fit the base."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The parts of adapter_config.json that say which tensors there must be, and how they count."""

    rank: int
    rank_pattern: Mapping[str, int]
    alpha: float
    alpha_pattern: Mapping[str, float]
    rslora: bool
    targets: str | tuple[str, ...]
    excluded: str | tuple[str, ...]
    layers: tuple[int, ...] | None
    layers_patterns: tuple[str, ...]
    dora: bool
    transposed: bool

    def adapts(self, module: str) -> bool:
        """Whether PEFT would adapt this module (peft.tuners.tuners_utils, 0.21)."""
        if _names(self.excluded, module) or not _names(self.targets, module):
            return False
        if self.layers is None or isinstance(self.targets, str) or module in self.targets:
            return True
        for pattern in self.layers_patterns or (r"[^.]*",):
            if found := re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", module):
                return int(found[1]) in self.layers
        return False

    def rank_of(self, module: str) -> int:
        """The rank of one module's tensors (peft.utils.other.get_pattern_key, 0.21)."""
        return _of_module(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What B·A is multiplied by: alpha/r, or alpha/√r in rank-stabilised LoRA."""
        rank = self.rank_of(module)
        alpha = _of_module(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


N = TypeVar("N", int, float)


def _of_module(patterns: Mapping[str, N], module: str, default: N) -> N:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _names(targets: str | tuple[str, ...], module: str) -> bool:
    """Whether a pattern, or a list of module names or of their ends, means this module."""
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    return any(module == target or module.endswith(f".{target}") for target in targets)


_OTHER_MATHS = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
"""Options that make an adapter more than low-rank updates of linear layers."""

_PEFT_ALPHA = 8.0
"""What PEFT takes for a config that names no lora_alpha."""


def load_lora_config(path: Path) -> LoraConfig:
    """Read adapter_config.json. Raises AdapterMismatch for what is more than LoRA or DoRA."""
    try:
        values = json.loads(path.read_bytes())
        kind = values.get("peft_type")
        used = [name for name in _OTHER_MATHS if values.get(name)]
        layers = values.get("layers_to_transform")
        config = LoraConfig(
            rank=int(values["r"]),
            rank_pattern={
                str(pattern): int(rank)
                for pattern, rank in (values.get("rank_pattern") or {}).items()
            },
            alpha=float(values.get("lora_alpha", _PEFT_ALPHA)),
            alpha_pattern={
                str(pattern): float(alpha)
                for pattern, alpha in (values.get("alpha_pattern") or {}).items()
            },
            rslora=bool(values.get("use_rslora")),
            targets=_targets(values["target_modules"]),
            excluded=_targets(values.get("exclude_modules") or ()),
            layers=None if layers in (None, []) else tuple(np.atleast_1d(layers).tolist()),
            layers_patterns=tuple(np.atleast_1d(values.get("layers_pattern") or []).tolist()),
            dora=bool(values.get("use_dora")),
            transposed=bool(values.get("fan_in_fan_out")),
        )
        if not all(
            math.isfinite(one) and one for one in (config.alpha, *config.alpha_pattern.values())
        ):
            raise ValueError("alpha is not a number other than zero")
        config.adapts("")
        config.rank_of("")
        config.scale_of("")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        re.error,
    ) as error:
        raise AdapterMismatch("is not a readable LoRA config", where=str(path)) from error
    if kind != "LORA" or used:
        what = f"uses {', '.join(used)}" if kind == "LORA" else f"is of the kind {kind}"
        raise AdapterMismatch(
            what, where=str(path), hint="what works here is LoRA and DoRA of linear layers"
        )
    return config


def _targets(value: Any) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(str(name) for name in value)


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
