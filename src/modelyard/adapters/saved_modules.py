"""Modules that an adapter stores whole, in place of the base's (PEFT's modules_to_save)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelyard.adapters.lora import LoraConfig
from modelyard.adapters.tensors import FLOATS, shown_shape
from modelyard.core.errors import Diagnostic
from modelyard.weights.files import TensorEntry, read_tensor_entries, weight_files

_LORA = re.compile(r".+\.lora_([AB]\.weight|magnitude_vector(\.weight)?)")


def saved_shapes(folder: Path, config: LoraConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of the base that the adapter stores whole, by its name."""
    return {
        entry.name: entry.shape
        for file in (weight_files(folder) if config.saved else ())
        for entry in read_tensor_entries(file)
        if config.saves(entry.name.rpartition(".")[0])
    }


def saved_name(entry: TensorEntry, config: LoraConfig) -> str | None:
    """The base's parameter that a tensor stands for, if its module is one stored whole."""
    name = entry.name.removeprefix("base_model.model.")
    is_saved = name != entry.name and config.saves(name.rpartition(".")[0])
    return name if is_saved and not _LORA.fullmatch(entry.name) else None


def compare_saved(
    saved: Sequence[TensorEntry],
    wanted: Mapping[str, tuple[int, ...]] | None,
    config: LoraConfig,
) -> Iterator[Diagnostic]:
    """Every difference between the modules stored whole and those of the base, if that is known."""
    found = {saved_name(entry, config): entry for entry in saved}
    for name, entry in found.items():
        if entry.dtype not in FLOATS:
            yield Diagnostic(message=f"is of type {entry.dtype}", where=entry.name)
        elif wanted is not None and name not in wanted:
            yield Diagnostic(
                message="is stored whole, and is no parameter of its own in the base", where=name
            )
        elif wanted is not None and entry.shape != (shape := wanted[name or ""]):
            differs = f"is {shown_shape(entry.shape)}, and {shown_shape(shape)} in the base"
            yield Diagnostic(message=differs, where=name)
    for name in sorted((wanted or {}).keys() - found.keys()):
        yield Diagnostic(message="is absent, and modules_to_save names it", where=name)
    if wanted is None:
        return
    for module in config.saved:
        alone = replace(config, saved=(module,))
        if not any(alone.saves(str(name).rpartition(".")[0]) for name in (*wanted, *found)):
            message = "is named by modules_to_save, and the base has no weights of its own for it"
            yield Diagnostic(message=message, where=module)
