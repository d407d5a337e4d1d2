"""Whether a version or a folder holds a LoRA adapter that is intact, safe and fits its base.

PEFT loads an adapter onto the wrong base without a word and only warns about missing keys. Here
every tensor must belong to a module of the base, and every module that the adapter's config names
must have its tensors. Reads headers and raw bytes; loads no model and needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from modelyard.adapters.card_shapes import card_shapes
from modelyard.adapters.lora import (
    CONFIG_NAME,
    MERGED,
    WEIGHTS_NAME,
    AdapterMismatch,
    LoraConfig,
    load_lora_config,
)
from modelyard.adapters.manifest import (
    MANIFEST_NAME,
    UNKNOWN,
    Manifest,
    load_manifest,
    require_intact,
)
from modelyard.adapters.misfit import find_cause, find_rank
from modelyard.adapters.module_patterns import MODULE
from modelyard.adapters.saved_modules import compare_saved, saved_name, saved_shapes
from modelyard.adapters.tensors import FLOATS, is_finite, shown_shape, tensor_bits
from modelyard.adapters.tokenizer import require_base_tokenizer, require_template
from modelyard.adapters.versions import AdapterVersion, active_number, not_here, version_numbers
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.layout import Project
from modelyard.weights.catalogue import BaseCard
from modelyard.weights.files import (
    TensorEntry,
    UnreadableWeights,
    read_tensor_entries,
    weight_files,
)
from modelyard.weights.local import LocalBase


def verify_version(
    project: Project, version: AdapterVersion, base: LocalBase | None
) -> list[Diagnostic]:
    """Everything that is wrong with a version; an empty list when it can be used.

    Its files are the manifest's, byte for byte, and no others; there are no pickles and no links;
    `base` is the one it was trained on; every key and shape is one of the base's, and not every
    lora_B is zero; tokenizer and chat template are those it was trained with. Without `base`, the
    checks that need it are left out.
    """
    folder, manifest = version.path, version.manifest
    checks: list[Callable[[], None]] = [
        lambda: require_safe_files(folder),
        lambda: require_intact(folder, manifest),
        lambda: require_template(folder, manifest.template_hash),
    ]
    if any(path.is_symlink() or not path.exists() for path in folder.rglob("*")):
        checks = checks[:1]  # no link is followed
    elif base is not None:
        checks += [
            lambda: require_same_base(folder, manifest, base),
            lambda: require_fit(folder, base),
            lambda: require_base_tokenizer(folder, base.path),
        ]
    found: list[Diagnostic] = []
    for check in checks:
        try:
            check()
        except ModelyardError as error:
            error.where = _inside(error.where, folder, project)
            found += error.diagnostics()
        except OSError as error:
            found.append(
                Diagnostic(
                    message=f"cannot be read: {error.strerror}",
                    where=_inside(error.filename, folder, project),
                )
            )
    return list({(problem.where, problem.message): problem for problem in found}.values())


def verify_pointer(project: Project, adapter: str) -> list[Diagnostic]:
    """The problems of the link in models/trained/: its target is wrong or missing."""
    try:
        number = active_number(project, adapter)
    except ModelyardError as error:
        return error.diagnostics()
    if number is None or number in version_numbers(project, adapter):
        return []
    return not_here(project, adapter, number).diagnostics()


def _inside(where: object, folder: Path, project: Project) -> str | None:
    """A path as the name of a file of the version, else relative to the project."""
    path = Path(str(where))
    if where is None or path == folder:
        return None
    return path.name if path.parent == folder else project.show(path)


PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def check_adapter_files(folder: Path, base: LocalBase) -> None:
    """Check that the files in `folder` are a LoRA or DoRA adapter for `base`; nothing is loaded.

    A registered version must also match its manifest byte for byte, and be for this base.
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
    """Raise AdapterMismatch unless `base` is the one that the version was trained on."""
    trained_on = manifest.base
    if trained_on.fingerprint == UNKNOWN and trained_on.name == base.name:
        return  # imported without the weights of its base; its shapes are compared
    if trained_on.fingerprint != base.fingerprint:
        raise AdapterMismatch(
            f"was trained on {trained_on.name} ({trained_on.fingerprint[:19]}), "
            f"not on {base.name} ({base.fingerprint[:19]})",
            where=str(folder),
            hint=f"use it with `--base-model {trained_on.name}`"
            if trained_on.name != base.name
            else f"the files of {base.name} have changed since then",
        )


def require_fit(folder: Path, base: LocalBase | BaseCard) -> None:
    """Check that config and weights are an adapter of all the modules they name in `base`.

    Compares every key and shape, and checks the values: no NaN, and not every lora_B zero. With a
    card, only the modules whose shapes its architecture gives are compared with the base, and
    others with the adapter's own config. Raises AdapterMismatch with everything that is wrong.
    """
    config = load_lora_config(folder / CONFIG_NAME)
    weights = folder / WEIGHTS_NAME
    try:
        entries = read_tensor_entries(weights)
        whole = saved_shapes(base.path, config) if isinstance(base, LocalBase) else None
        shapes = _linear_shapes(base.path) if isinstance(base, LocalBase) else card_shapes(base)
    except UnreadableWeights as error:
        where = error.where or str(weights)
        raise AdapterMismatch(error.message, where=where, hint=error.hint) from error

    saved = [entry for entry in entries if saved_name(entry, config)]
    lora_entries = [entry for entry in entries if not saved_name(entry, config)]
    modules, problems = _by_module(lora_entries)
    problems += compare_saved(saved, whole, config)
    complete = isinstance(base, LocalBase)
    if cause := find_cause(lora_entries, modules, shapes, base_name=base.name, complete=complete):
        raise AdapterMismatch(
            f"does not fit {base.name}: {cause.message}", where=str(folder), hint=cause.hint
        )
    rank = find_rank(modules)
    if rank not in (None, config.rank) and not config.rank_pattern:
        problems.append(
            Diagnostic(
                message=f"says rank {config.rank}, and the tensors have rank {rank}",
                where=CONFIG_NAME,
                hint="take the adapter_config.json that was saved with them",
            )
        )
        config = replace(config, rank=rank)
    problems += _compare(modules, shapes, config, complete=complete)
    if not problems:
        problems += _check_values(weights, modules, saved)
    if problems:
        parts = "one of its parts is" if len(problems) == 1 else f"{len(problems)} of its parts are"
        raise AdapterMismatch(
            f"does not fit {base.name}: {parts} wrong",
            where=str(folder),
            problems=problems,
            hint=MERGED
            if config.saved or any(problem.message == _NO_PART for problem in problems)
            else None,
        )


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

_NO_PART = "is no part of a LoRA or DoRA adapter of linear layers"

_TENSOR = re.compile(
    rf"base_model\.model\.(?P<module>{MODULE})\.(?P<part>lora_[AB](?=\.weight)|lora_magnitude_vector$)"
    r"(\.weight)?"
)


def _by_module(entries: Iterable[TensorEntry]) -> tuple[_Modules, list[Diagnostic]]:
    modules: _Modules = {}
    problems = []
    for entry in entries:
        found = _TENSOR.fullmatch(entry.name)
        if found is None:
            wrong = _NO_PART
        elif entry.dtype not in FLOATS:
            wrong = f"is of type {entry.dtype}, which no adapter is"
        else:
            modules.setdefault(found["module"], {})[found["part"]] = entry
            continue
        problems.append(Diagnostic(message=wrong, where=entry.name))
    return modules, problems


def _compare(
    modules: _Modules,
    base_shapes: Mapping[str, tuple[int, ...]],
    config: LoraConfig,
    *,
    complete: bool,
) -> Iterator[Diagnostic]:
    """Every difference between the tensors there are and those that base and config require.

    complete: whether `base_shapes` are all of the base, and not only those that its card tells.
    """
    layers = {_layer(name) for name in base_shapes}
    for module in sorted(modules.keys() | {name for name in base_shapes if config.adapts(name)}):
        if module not in base_shapes and not complete:
            if base_shapes and _layer(module) not in {*layers, None}:
                yield Diagnostic(message="is of a layer that the base does not have", where=module)
            yield from _compare_ranks(module, modules[module], config)
        elif module not in base_shapes:
            yield Diagnostic(message="is no linear module of the base", where=module)
        elif not config.adapts(module):
            yield Diagnostic(
                message="is not among the config's target_modules, so PEFT would leave it out",
                where=module,
            )
        else:
            wanted = _wanted_shapes(module, base_shapes[module], config)
            found = {part: entry.shape for part, entry in modules.get(module, {}).items()}
            for part in sorted(wanted.keys() | found.keys()):
                has, needs = found.get(part), wanted.get(part)
                if has != needs:
                    yield Diagnostic(
                        message=f"{part} is {shown_shape(has)}, and should be {shown_shape(needs)}",
                        where=module,
                    )


def _layer(module: str) -> str | None:
    """The number of the layer that a module is in, as text."""
    found = re.search(r"\.layers\.(\d+)\.", module)
    return found[1] if found else None


def _compare_ranks(
    module: str, parts: Mapping[str, TensorEntry], config: LoraConfig
) -> Iterator[Diagnostic]:
    """Whether the tensors of a module whose shape is not known are those of one rank."""
    rank = config.rank_of(module)
    for part, side in (("lora_A", 0), ("lora_B", 1)):
        shape = parts[part].shape if part in parts else ()
        if len(shape) != 2 or shape[side] != rank:
            yield Diagnostic(
                message=f"{part} is {shown_shape(shape or None)}, and should have rank {rank}",
                where=module,
            )


def _wanted_shapes(
    module: str, base_shape: tuple[int, ...], config: LoraConfig
) -> dict[str, tuple[int, ...]]:
    rows, columns = reversed(base_shape) if config.transposed else base_shape
    rank = config.rank_of(module)
    magnitude = {"lora_magnitude_vector": (rows,)} if config.dora else {}
    return {"lora_A": (rank, columns), "lora_B": (rows, rank), **magnitude}


def _check_values(
    weights: Path, modules: _Modules, saved: Sequence[TensorEntry]
) -> Iterator[Diagnostic]:
    """Refuse an adapter with NaN or infinity, or whose B is all zero: it equals the base."""
    data = np.memmap(weights, dtype=np.uint8, mode="r")
    for entry in saved:
        if not is_finite(data, entry):
            yield Diagnostic(message="holds NaN or infinity", where=entry.name)
    changes_something = bool(saved)
    for module, parts in modules.items():
        for part, entry in parts.items():
            if not is_finite(data, entry):
                yield Diagnostic(message=f"{part} holds NaN or infinity", where=module)
            if part == "lora_B" and not changes_something:
                magnitude = FLOATS[entry.dtype].magnitude
                changes_something = bool((tensor_bits(data, entry) & magnitude).any())
    if not changes_something:
        yield Diagnostic(message="every lora_B is zero, so it changes nothing")
