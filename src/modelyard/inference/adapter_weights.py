"""The files of an adapter as tensors in the compute type, by layer and projection.

Carried is LoRA of the seven linear modules of a layer: any subset of them, ranks and alphas by
pattern, rank-stabilised. Other kinds raise AdapterNotCarried with what they are, and PEFT computes
them. Damaged files, or an adapter of another base, raise AdapterMismatch: nothing computes those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from modelyard.adapters.lora import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    AdapterMismatch,
    LoraModule,
    LoraWeights,
    OtherKindOfAdapter,
    open_lora,
)
from modelyard.adapters.tensors import FLOATS
from modelyard.core.errors import ModelyardError
from modelyard.inference.structure import PROJECTIONS, DecoderShape

_MODULE = re.compile(r"model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)")
_ALIGNED = 32
"""Elements to whose multiple a tensor's place in memory is rounded up: 64 bytes or more."""


class AdapterNotCarried(ModelyardError):
    """An adapter is more than LoRA of a layer's linear modules; its message names what it is."""


class Pair(NamedTuple):
    """What an adapter adds to one projection: x a^T b, for x of [t, i]."""

    a: Tensor
    """[r, i]."""
    b: Tensor
    """[r, o]: B transposed, multiplied by the scale."""


@dataclass(frozen=True, eq=False)
class AdapterWeights:
    """The tensors of one adapter, in the compute type, on the host."""

    digest: str
    """`sha256:<hex>` of its config and its weights."""
    pairs: Mapping[tuple[int, str], Pair]
    """By layer and projection; what the adapter leaves alone is absent."""

    @cached_property
    def rank(self) -> int:
        """The largest rank of its modules."""
        return max(len(pair.a) for pair in self.pairs.values())

    @cached_property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for pair in self.pairs.values() for tensor in pair)


def read_adapter(folder: Path, shape: DecoderShape, dtype: torch.dtype) -> AdapterWeights:
    """Read and check the adapter in `folder`.

    Raises AdapterMismatch, UnreadableWeights or AdapterNotCarried.
    """
    try:
        config = (folder / CONFIG_NAME).read_bytes()
        lora = open_lora(folder)
        if (folder / CONFIG_NAME).read_bytes() != config:
            raise AdapterMismatch("changed while it was read", where=str(folder / CONFIG_NAME))
    except OtherKindOfAdapter as error:
        raise AdapterNotCarried(f"the adapter {error.message}", where=str(folder)) from error
    except OSError as error:
        raise AdapterMismatch(
            f"cannot be read: {error.strerror or error}", where=str(error.filename or folder)
        ) from error
    where = str(folder / WEIGHTS_NAME)
    _require_carried(lora, shape, str(folder))
    digest = hashlib.sha256(config)
    digest.update(lora.data.data)
    pairs = {}
    for module in lora:
        found = _MODULE.fullmatch(module)
        assert found is not None
        place = int(found[1]), found[2]
        rank = lora.config.rank_of(module)
        pairs[place] = _as_pair(_read(lora, module, where), rank, module, shape, dtype, where)
    return AdapterWeights(f"sha256:{digest.hexdigest()}", _in_one_block(pairs, dtype))


def _require_carried(lora: LoraWeights, shape: DecoderShape, where: str) -> None:
    """Every module is one that the base has, the config names and the decoder adapts; all are here.

    PEFT leaves out what the config does not name, so an adapter with more would be another one.
    """
    config = lora.config
    if config.dora or config.transposed:
        what = "DoRA" if config.dora else "stored transposed (fan_in_fan_out)"
        raise AdapterNotCarried(f"the adapter is {what}", where=where)
    if lora.others:
        raise AdapterNotCarried(f"the adapter has {lora.others[0]}", where=where)
    for module in lora:
        found = _MODULE.fullmatch(module)
        if (
            found is None
            or found[2] not in PROJECTIONS
            or module != _module_name(int(found[1]), found[2])
        ):
            raise AdapterNotCarried(f"the adapter changes {module}", where=where)
        if int(found[1]) >= shape.layers:
            raise AdapterMismatch(
                f"adapts {module}, and the base has {shape.layers} layers", where=where
            )
        if not config.adapts(module):
            raise AdapterMismatch(
                f"has {module}, which its config does not name, so PEFT would leave it out",
                where=where,
                hint="take the adapter_config.json that was saved with the weights",
            )
    for layer in range(shape.layers):
        for name in PROJECTIONS:
            module = _module_name(layer, name)
            if config.adapts(module) and module not in lora.tensors:
                raise AdapterMismatch(f"has no tensors for {module}", where=where)
    if not lora:
        raise AdapterMismatch("adapts no module of the base", where=where)


def _module_name(layer: int, projection: str) -> str:
    owner = "self_attn" if projection in PROJECTIONS[:4] else "mlp"
    return f"model.layers.{layer}.{owner}.{projection}"


def _read(lora: LoraWeights, module: str, where: str) -> LoraModule:
    parts = lora.tensors[module]
    for part in "AB":
        if part not in parts:
            raise AdapterMismatch(f"has no lora_{part} of {module}", where=where)
        entry = parts[part]
        if entry.dtype not in FLOATS:
            raise AdapterMismatch(
                f"has {entry.name} in {entry.dtype}, which no adapter is", where=where
            )
    return lora[module]


def _as_pair(
    found: LoraModule, rank: int, module: str, shape: DecoderShape, dtype: torch.dtype, where: str
) -> Pair:
    outputs, inputs = shape.projection(module.rpartition(".")[2])
    if found.a.ndim == 2 and rank != len(found.a):
        raise AdapterMismatch(
            f"says rank {rank} for {module}, and its tensors have {len(found.a)}",
            where=where,
            hint="take the adapter_config.json that was saved with the weights",
        )
    if found.a.shape != (rank, inputs) or found.b.shape != (outputs, rank):
        raise AdapterMismatch(
            f"has {module} as {list(found.b.shape)} x {list(found.a.shape)}, and this base needs "
            f"[{outputs}, r] x [r, {inputs}]",
            where=where,
            hint="use it with the base it was trained on",
        )
    a = torch.from_numpy(found.a).to(dtype)
    b = torch.from_numpy(found.b.T * found.scale).to(dtype)
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise AdapterMismatch(f"has NaN or infinity in {module}", where=where)
    return Pair(a, b)


def _in_one_block(
    pairs: Mapping[tuple[int, str], Pair], dtype: torch.dtype
) -> dict[tuple[int, str], Pair]:
    """The same tensors in one block of memory, and none in that of the file.

    Hundreds of small blocks between others that are freed would keep a third more from the system.
    """
    sizes = [tensor.numel() for pair in pairs.values() for tensor in pair]
    ends = list(accumulate(-(-size // _ALIGNED) * _ALIGNED for size in sizes))
    block = torch.empty(ends[-1], dtype=dtype)
    starts = iter([0, *ends])

    def moved(tensor: Tensor) -> Tensor:
        start = next(starts)
        return block[start : start + tensor.numel()].view(tensor.shape).copy_(tensor)

    return {place: Pair(moved(a), moved(b)) for place, (a, b) in pairs.items()}
