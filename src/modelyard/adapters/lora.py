"""A LoRA adapter's config, and its numbers as numpy arrays, module by module, with their scale.

Reads what `verify.py` found whole. Needs no torch, and does not know what is done with the numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from modelyard.adapters.module_patterns import MODULE, is_plain, why_not_usable
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.weights.files import TensorEntry, UnreadableWeights, tensor_entries_of

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

Matrix = npt.NDArray[np.float32]


class AdapterMismatch(ModelyardError):
    """The files of an adapter are incomplete, not safe to load, or do not fit the base."""


class OtherKindOfAdapter(AdapterMismatch):
    """An adapter is more than LoRA or DoRA of linear layers; its message names what it is."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The parts of adapter_config.json that decide which tensors there must be, and their scale."""

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
    saved: tuple[str, ...] = ()
    """The ends of the names of modules that were trained whole (modules_to_save)."""

    def saves(self, module: str) -> bool:
        """Whether PEFT stores this module whole, in place of the base's."""
        return module.endswith(self.saved) if self.saved else False

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
    matching = (
        value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module)
    )
    return next(matching, default)


def _names(targets: str | tuple[str, ...], module: str) -> bool:
    """Whether a pattern, or a list of module names or of their last parts, matches this module."""
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    return any(module == target or module.endswith(f".{target}") for target in targets)


_OTHER_MATHS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
"""Options that make an adapter more than low-rank updates of linear layers."""

_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin an adapter that take its beginning out of the base's weights (PEFT, 0.21)."""

_TASKS = (None, "", "CAUSAL_LM")
"""The task types of adapters that generate text."""

_OTHER_SETTINGS = (
    *("auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying"),
    *("eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights"),
    *("layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout"),
    *(
        "modules_to_save",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "r",
    ),
    *("alpha_pattern", "qalora_group_size", "rank_pattern", "revision", "runtime_config"),
    *("target_modules", "task_type", "use_dora", "use_rslora", "velora_config"),
)
"""The rest of what LoraConfig of PEFT 0.21 knows."""


def unknown_settings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings of an adapter_config.json that are on, and that PEFT 0.21 does not know.

    PEFT ignores them, so that an adapter of a newer version may become another one here.
    """
    known = {*_OTHER_MATHS, *_OTHER_SETTINGS}
    return tuple(sorted(name for name, value in config.items() if value and name not in known))


_PEFT_ALPHA = 8.0
"""PEFT's default for a config without lora_alpha."""


def require_unchanged_base(path: Path) -> None:
    """Raise AdapterMismatch unless the adapter of this adapter_config.json adds to the base as it
    is.

    PEFT changes the weights of the base, for every adapter on it, when it loads one that began as
    a part of them; and without that change such an adapter gives another model.
    """
    try:
        began_as = read_json_object(path).get("init_lora_weights")
    except InvalidJson as error:
        message = f"is not a readable LoRA config: it {error.message}"
        raise AdapterMismatch(message, where=str(path)) from error
    if isinstance(began_as, str) and began_as.lower().startswith(_CHANGES_THE_BASE):
        raise AdapterMismatch(
            f"began as a part of the base's weights (init_lora_weights: {began_as}), so it fits a "
            "changed base only",
            where=str(path),
            hint="where it was trained, save it as plain LoRA: PEFT's save_pretrained(FOLDER, "
            "path_initial_model_for_weight_conversion=...)",
        )


def load_lora_config(path: Path) -> LoraConfig:
    """Read adapter_config.json.

    Raises OtherKindOfAdapter for what is more than LoRA or DoRA, else AdapterMismatch.
    """
    require_unchanged_base(path)
    try:
        values = read_json_object(path)
        kind, task = values.get("peft_type"), values.get("task_type")
        used = [name for name in _OTHER_MATHS if values.get(name)]
        layers = values.get("layers_to_transform")
        config = LoraConfig(
            rank=int(_number(values["r"], "r")),
            rank_pattern=_numbers(values.get("rank_pattern"), int),
            alpha=_number(values.get("lora_alpha", _PEFT_ALPHA), "lora_alpha"),
            alpha_pattern=_numbers(values.get("alpha_pattern"), float),
            rslora=_flag(values, "use_rslora"),
            targets=_targets(values["target_modules"]),
            excluded=_targets(values.get("exclude_modules") or ()),
            layers=None if layers in (None, []) else tuple(np.atleast_1d(layers).tolist()),
            layers_patterns=tuple(np.atleast_1d(values.get("layers_pattern") or []).tolist()),
            dora=_flag(values, "use_dora"),
            transposed=_flag(values, "fan_in_fan_out"),
            saved=tuple(str(name) for name in values.get("modules_to_save") or ()),
        )
        for name in ("base_model_name_or_path", "revision"):
            _require_text(values, name)
        alphas = (config.alpha, *config.alpha_pattern.values())
        if not all(math.isfinite(alpha) and alpha for alpha in alphas):
            raise ValueError("alpha is not a number other than zero")
        _require_patterns(config)
        ranks = (config.rank, *config.rank_pattern.values())
        if lowest := [rank for rank in ranks if rank < 1]:
            raise _WrongValue(f"a rank must be 1 or more, not {lowest[0]}")
    except (
        InvalidJson,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:
        reason = f": {error}" if isinstance(error, _WrongValue) else ""
        raise AdapterMismatch(f"is not a readable LoRA config{reason}", where=str(path)) from error
    if kind != "LORA" or used:
        what = f"uses {', '.join(used)}" if kind == "LORA" else f"is of the kind {kind}"
        raise OtherKindOfAdapter(what, where=str(path), hint=MERGED)
    if task not in _TASKS:
        raise OtherKindOfAdapter(
            f"is made for the task {task}, and generates no text",
            where=str(path),
            hint="only adapters of language models are supported (task_type CAUSAL_LM)",
        )
    return config


class _WrongValue(ValueError):
    """A setting has a value that PEFT could not load the adapter with, or would misunderstand."""


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _WrongValue(f"{name} must be a number, not {json.dumps(value)}")
    return float(value)


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise _WrongValue(f"{name} must be true or false, not {json.dumps(value)}")
    return bool(value)


def _require_patterns(config: LoraConfig) -> None:
    for name in config.layers_patterns:
        if not is_plain(name):
            raise _WrongValue(f"layers_pattern must be names, such as layers, not {name!r}")
    whole = [value for value in (config.targets, config.excluded) if isinstance(value, str)]
    for pattern in (*whole, *config.rank_pattern, *config.alpha_pattern):
        if why := why_not_usable(pattern):
            raise _WrongValue(f"the pattern {pattern[:60]!r} {why}")


def _require_text(values: Mapping[str, Any], name: str) -> None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise _WrongValue(f"{name} must be text, not {json.dumps(value)}")


def _numbers(patterns: Mapping[str, Any] | None, convert: Callable[[Any], N]) -> dict[str, N]:
    return {str(pattern): convert(value) for pattern, value in (patterns or {}).items()}


def _targets(value: Any) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(str(name) for name in value)


MERGED = (
    "only LoRA and DoRA of linear layers are carried, and modules_to_save. Where it was trained, "
    "merge it into its base, and use that as a base of its own: "
    "PeftModel.merge_and_unload().save_pretrained(DIR), the tokenizer beside it, and "
    "models/base/NAME/MODEL_INFO.md with a source of kind `path`"
)
"""The way out for an adapter that is more than that."""

_PART = re.compile(rf"base_model\.model\.({MODULE})\.lora_([AB])\.weight")
_NUMPY = {"F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """What a LoRA adapter adds to one linear module: scale · B · A."""

    a: Matrix
    """float32 [r, inputs]."""
    b: Matrix
    """float32 [outputs, r]."""
    scale: float
    """What the product is multiplied by."""


@dataclass(frozen=True, slots=True, eq=False)
class LoraWeights(Mapping[str, LoraModule]):
    """The modules of a LoRA adapter by their names in the base; each is read at its access.

    A name is such as `model.layers.0.self_attn.q_proj`. DoRA's magnitudes are left out:
    `config.dora` says that there are some.
    """

    config: LoraConfig
    """What its adapter_config.json says."""
    tensors: Mapping[str, Mapping[str, TensorEntry]]
    """The tensors `A` and `B` of each adapted module."""
    others: tuple[str, ...]
    """The names of its tensors that are no A or B."""
    data: npt.NDArray[np.uint8]
    """The bytes of its safetensors file."""

    def __getitem__(self, module: str) -> LoraModule:
        a, b = (as_float32(self.data, self.tensors[module][part]) for part in "AB")
        return LoraModule(a, b, self.config.scale_of(module))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.tensors))

    def __len__(self) -> int:
        return len(self.tensors)


def open_lora(folder: Path) -> LoraWeights:
    """The weights of the adapter in `folder`.

    They are read into memory, once: a mapped file that somebody shortens ends the process.
    Raises OtherKindOfAdapter for one that stores modules whole, AdapterMismatch or
    UnreadableWeights when the files are not whole.
    """
    path = folder / WEIGHTS_NAME
    config = load_lora_config(folder / CONFIG_NAME)
    if config.saved:
        raise OtherKindOfAdapter(
            f"uses modules_to_save ({', '.join(config.saved)})",
            where=str(folder / CONFIG_NAME),
            hint="export it with `--format merged`, which holds them, or with `--format peft`",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableWeights(f"cannot read: {error.strerror}", where=str(path)) from error
    tensors: dict[str, dict[str, TensorEntry]] = {}
    others = []
    for entry in tensor_entries_of(data, where=str(path)):
        if found := _PART.fullmatch(entry.name):
            tensors.setdefault(found[1], {})[found[2]] = entry
        else:
            others.append(entry.name)
    return LoraWeights(config, tensors, tuple(others), np.frombuffer(data, np.uint8))


def as_float32(data: npt.NDArray[np.uint8], entry: TensorEntry) -> Matrix:
    """One tensor of a safetensors file's bytes, of type F32, F16 or BF16, in its shape."""
    raw = data[entry.start : entry.end]
    if entry.dtype == "BF16":  # the upper half of a float32; numpy has no such type
        values = (raw.view("<u2").astype("<u4") << 16).view("<f4")
    else:
        values = raw.view(_NUMPY[entry.dtype]).astype(np.float32)
    return values.reshape(entry.shape)
