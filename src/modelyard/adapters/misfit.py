"""Why an adapter fits its base in nothing: one cause, instead of a line for each of its tensors.

An adapter of another base, or one that was saved wrongly, differs in hundreds of tensors for one
reason. A cause is named only where it explains all that it replaces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.core.errors import Diagnostic
from modelyard.weights.files import TensorEntry

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each matrix of a base, by its module."""
Modules = Mapping[str, Mapping[str, TensorEntry]]
"""The tensors of each adapted module, by which part of the adapter they are."""

_LAYER = re.compile(r"\.(\d+)\.")
_PREFIX = "base_model.model."
_USABLE = ("F32", "F16", "BF16")
_OTHER_NAMES = {
    r"\.lora_[AB]\.[^.]+\.weight$": "they have the adapter's name in them: save it with PEFT's "
    "save_pretrained(FOLDER)",
    r"^(module|_orig_mod|_fsdp_wrapped_module)\.": "they were saved from a wrapped model: save the "
    "model inside, with PEFT's save_pretrained(FOLDER)",
    r"lora_(down|up)\.weight$|^lora_(unet|te)": "this is an adapter of an image model",
    r"lora_embedding_[AB]|embed_tokens|lm_head": "adapters of embeddings and heads are not "
    "supported: train one of linear layers only",
    r"\.(self_attn|mlp|attn)\..*(?<!lora_[AB])\.weight$": "these are the weights of a whole model: "
    "import an adapter, or name the model as a base",
}
"""What names of tensors that are not PEFT's tell."""


def find_cause(
    entries: Sequence[TensorEntry],
    modules: Modules,
    base: Shapes,
    *,
    base_name: str,
    complete: bool = True,
) -> Diagnostic | None:
    """The one reason why no tensor can be used; None where they differ one by one.

    entries: all tensors of the file.  modules: those of them that are named as PEFT does.
    base: the shapes [outputs, inputs] of its linear modules; of some only, unless `complete`.
    """
    if not entries or all(0 in entry.shape for entry in entries):
        what = "holds no tensors" if not entries else "holds only empty tensors"
        return Diagnostic(
            message=f"{what}: it was probably saved under DeepSpeed ZeRO-3 or FSDP, where each "
            "process has a part",
            hint="gather the weights before saving: `stage3_gather_16bit_weights_on_model_save: "
            "true`, or zero_to_fp32.py; of FSDP, a full state dict",
        )
    if not modules:
        return _other_type(entries) or _other_names(entries)
    if cause := _other_size(modules, base, base_name, complete=complete):
        return cause
    return _other_modules(modules, base, base_name) if complete else None


def _other_type(entries: Sequence[TensorEntry]) -> Diagnostic | None:
    types = Counter(entry.dtype for entry in entries)
    kind, count = types.most_common(1)[0]
    if kind in _USABLE or count < len(entries) or not all(map(_is_named, entries)):
        return None
    return Diagnostic(
        message=f"all {len(entries):,} tensors are of type {kind}, which no adapter is",
        hint="save them as float32, float16 or bfloat16",
    )


def _is_named(entry: TensorEntry) -> bool:
    return entry.name.startswith(_PREFIX) and ".lora_" in entry.name


def _other_names(entries: Sequence[TensorEntry]) -> Diagnostic:
    first = entries[0].name
    hint = next((words for form, words in _OTHER_NAMES.items() if re.search(form, first)), None)
    if hint is None and not first.startswith(_PREFIX) and ".lora_" in first:
        hint = f"PEFT's begin with `{_PREFIX}`: save it with PEFT's save_pretrained(FOLDER)"
    return Diagnostic(
        message=f"none of its {len(entries):,} tensors is named as a part of a LoRA or DoRA "
        f"adapter of linear layers, such as {first}",
        hint=hint,
    )


def _other_size(
    modules: Modules, base: Shapes, base_name: str, *, complete: bool
) -> Diagnostic | None:
    """An adapter of which most modules are in the base and take another number of inputs."""
    inputs = Counter(
        (parts["lora_A"].shape[-1], base[module][-1])
        for module, parts in modules.items()
        if module in base and "lora_A" in parts and parts["lora_A"].shape
    )
    if not inputs:
        return None
    [((made_for, has), count)] = inputs.most_common(1)
    if made_for == has or count * 2 < inputs.total() or count < 2:
        return None
    layers, own = _layers(modules), _layers(base)
    deeper = f" and {layers} layers" if complete and layers != own else ""
    return Diagnostic(
        message=f"it is made for a base with a hidden size of {made_for:,}{deeper}, and "
        f"{base_name} has {has:,}" + (f" and {own}" if deeper else ""),
        hint="import it for the base that it was trained on: `models base list`",
    )


def _other_modules(modules: Modules, base: Shapes, base_name: str) -> Diagnostic | None:
    """An adapter of modules that the base lacks: all of them, or those of its last layers."""
    lacking = [module for module in modules if module not in base]
    if len(lacking) < 2:
        return None
    if len(lacking) == len(modules):
        there = next(iter(base), "none")
        return Diagnostic(
            message=f"none of its {len(modules):,} modules, such as {lacking[0]}, is one of "
            f"{base_name}, which has {there}",
            hint="it is made for another architecture: import it for the base it was trained on",
        )
    layers, own = _layers(modules), _layers(base)
    if layers > own and all(_number(module) >= own for module in lacking):
        return Diagnostic(
            message=f"it is made for a base with {layers} layers, and {base_name} has {own}",
            hint="import it for the base that it was trained on: `models base list`",
        )
    return None


def _layers(names: Mapping[str, Any]) -> int:
    return 1 + max(map(_number, names), default=-1)


def _number(module: str) -> int:
    """The number of the layer that a module is in; -1 outside layers."""
    found = _LAYER.search(module)
    return int(found[1]) if found else -1


def find_rank(modules: Modules) -> int | None:
    """The rank that all tensors of an adapter have; None where they differ."""
    ranks = set(_ranks(modules))
    return ranks.pop() if len(ranks) == 1 else None


def _ranks(modules: Modules) -> Iterator[int]:
    for parts in modules.values():
        if "lora_A" in parts and len(parts["lora_A"].shape) == 2:
            yield parts["lora_A"].shape[0]
        if "lora_B" in parts and len(parts["lora_B"].shape) == 2:
            yield parts["lora_B"].shape[1]
