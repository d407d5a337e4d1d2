"""Whether a folder holds a LoRA adapter that fits a base: asked before registering and before use.

PEFT loads an adapter onto the wrong base without a word and only warns about missing keys. Here
every tensor must belong to a module of the base, and every module that the adapter's config names
must have its tensors. Reads headers and raw bytes; loads no model and needs no torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from modelyard.adapters.manifest import MANIFEST_NAME, Manifest, load_manifest, require_intact
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.weights.fingerprint import (
    TensorEntry,
    UnreadableWeights,
    read_tensor_entries,
    weight_files,
)
from modelyard.weights.local import LocalBase

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


class AdapterMismatch(ModelyardError):
    """The files of an adapter are not whole, not safe to load, or do not fit the base."""

    def __init__(
        self,
        message: str,
        *,
        where: str,
        problems: Iterable[Diagnostic] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.problems = tuple(problems)


def check_adapter_files(folder: Path, base: LocalBase) -> None:
    """Return if the files in `folder` are a LoRA or DoRA adapter for `base`; nothing is loaded.

    A registered version must also be as its manifest says, byte for byte, and of this base.
    Raises AdapterMismatch with everything that is wrong, DamagedVersion when the manifest is broken
    or a file is not as it was registered.
    """
    require_safe_files(folder)
    if (folder / MANIFEST_NAME).exists():
        manifest = load_manifest(folder)
        require_intact(folder, manifest)
        require_same_base(folder, manifest, base)
    require_fit(folder, base)


def require_same_base(folder: Path, manifest: Manifest, base: LocalBase) -> None:
    """Return if `base` is the one the version was trained on, else raise AdapterMismatch."""
    trained_on = manifest.base
    if trained_on.fingerprint != base.fingerprint:
        raise AdapterMismatch(
            f"was trained on {trained_on.name} ({_short(trained_on.fingerprint)}), "
            f"not on {base.name} ({_short(base.fingerprint)})",
            where=str(folder),
            hint=f"use it with `--base-model {trained_on.name}`"
            if trained_on.name != base.name
            else f"the files of {base.name} are others than they were then",
        )


def require_fit(folder: Path, base: LocalBase) -> None:
    """Return if config and weights are an adapter of all the modules they name in `base`.

    Every key and shape is compared, and the values: no NaN, and not every lora_B zero.
    Raises AdapterMismatch with everything that is wrong.
    """
    config = load_lora_config(folder / CONFIG_NAME)
    weights = folder / WEIGHTS_NAME
    try:
        entries = read_tensor_entries(weights)
        base_shapes = _linear_shapes(base.path)
    except UnreadableWeights as error:
        raise AdapterMismatch(error.message, where=error.where or str(weights)) from error

    modules, problems = _by_module(entries)
    problems += _compare(modules, base_shapes, config)
    if not problems:
        problems += _check_values(weights, modules)
    if problems:
        parts = "one of its parts is" if len(problems) == 1 else f"{len(problems)} of its parts are"
        raise AdapterMismatch(
            f"does not fit {base.name}: {parts} wrong", where=str(folder), problems=problems
        )


def _short(fingerprint: str) -> str:
    return fingerprint[:19]


def require_safe_files(folder: Path) -> None:
    """Refuse pickles and links, and name what is missing. Raises AdapterMismatch."""
    problems = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            problems.append(Diagnostic(message="is a link", where=name))
        elif path.suffix in PICKLES:
            problems.append(
                Diagnostic(
                    message="is a pickle, which can run any code when it is loaded",
                    where=name,
                    hint="load it where you trust it, and save it again as safetensors",
                )
            )
    problems += [
        Diagnostic(message="is missing", where=name)
        for name in (CONFIG_NAME, WEIGHTS_NAME)
        if not (folder / name).exists()
    ]
    if problems:
        raise AdapterMismatch("is not a safe adapter", where=str(folder), problems=problems)


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


def _linear_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every matrix of the base, by its module's name."""
    return {
        entry.name.removesuffix(".weight"): entry.shape
        for file in weight_files(folder)
        for entry in read_tensor_entries(file)
        if entry.name.endswith(".weight") and len(entry.shape) == 2
    }


_Modules = dict[str, dict[str, TensorEntry]]
"""The tensors of each adapted module, by which part of the adapter they are."""

_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\.(?P<part>lora_[AB](?=\.weight)|lora_magnitude_vector$)"
    r"(\.weight)?"
)


def _by_module(entries: Iterable[TensorEntry]) -> tuple[_Modules, list[Diagnostic]]:
    modules: _Modules = {}
    problems = []
    for entry in entries:
        found = _TENSOR.fullmatch(entry.name)
        if found is None:
            message = "is no part of a LoRA or DoRA adapter of linear layers"
            problems.append(Diagnostic(message=message, where=entry.name))
        elif entry.dtype not in _FLOATS:
            message = f"is of type {entry.dtype}, which no adapter is"
            problems.append(Diagnostic(message=message, where=entry.name))
        elif entry.end - entry.start != math.prod(entry.shape) * _FLOATS[entry.dtype].size_bytes:
            problems.append(Diagnostic(message="is not as long as its shape", where=entry.name))
        else:
            modules.setdefault(found["module"], {})[found["part"]] = entry
    return modules, problems


def _compare(
    modules: _Modules, base_shapes: Mapping[str, tuple[int, ...]], config: LoraConfig
) -> list[Diagnostic]:
    """Every difference between the tensors there are and those the base and the config ask for."""
    problems = []
    for module in sorted(modules.keys() | {name for name in base_shapes if config.adapts(name)}):
        shape = base_shapes.get(module)
        if shape is None:
            problems.append(Diagnostic(message="is no linear module of the base", where=module))
            continue
        if not config.adapts(module):
            message = "is not among the config's target_modules, so PEFT would leave it out"
            problems.append(Diagnostic(message=message, where=module))
            continue
        rows, columns = reversed(shape) if config.transposed else shape
        rank = config.rank_of(module)
        wanted: dict[str, tuple[int, ...]] = {"lora_A": (rank, columns), "lora_B": (rows, rank)}
        if config.dora:
            wanted["lora_magnitude_vector"] = (rows,)
        found = {part: entry.shape for part, entry in modules.get(module, {}).items()}
        for part in sorted(wanted.keys() | found.keys()):
            has, needs = found.get(part), wanted.get(part)
            if has != needs:
                message = f"{part} is {_shape(has)}, and should be {_shape(needs)}"
                problems.append(Diagnostic(message=message, where=module))
    return problems


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"[{', '.join(str(size) for size in shape)}]"


class _Float(NamedTuple):
    """How a floating-point type lies in its bits."""

    size_bytes: int
    magnitude: int
    exponent: int


_FLOATS = {
    "F32": _Float(4, 0x7FFFFFFF, 0x7F800000),
    "F16": _Float(2, 0x7FFF, 0x7C00),
    "BF16": _Float(2, 0x7FFF, 0x7F80),
}


def _check_values(weights: Path, modules: _Modules) -> list[Diagnostic]:
    """Refuse an adapter that holds NaN or infinity, or whose B is all zero: it equals the base."""
    data = np.memmap(weights, dtype=np.uint8, mode="r")
    problems = []
    changes_something = False
    for module, parts in modules.items():
        for part, entry in parts.items():
            kind = _FLOATS[entry.dtype]
            # numpy has no bfloat16, and the bits answer both questions.
            bits = data[entry.start : entry.end].view(f"<u{kind.size_bytes}")
            if ((bits & kind.exponent) == kind.exponent).any():
                problems.append(Diagnostic(message=f"{part} holds NaN or infinity", where=module))
            if part == "lora_B" and not changes_something:
                changes_something = bool((bits & kind.magnitude).any())
    if not changes_something:
        problems.append(Diagnostic(message="every lora_B is zero, so it changes nothing"))
    return problems
