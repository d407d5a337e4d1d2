"""Whether a version or a folder holds a LoRA adapter that is intact, safe and fits its base.

PEFT loads an adapter onto the wrong base without a word and only warns about missing keys. Here
every tensor must belong to a module of the base, and every module that the adapter's config names
must have its tensors. Reads headers and raw bytes; loads no model and needs no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelyard.adapters.lora import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    AdapterMismatch,
    LoraConfig,
    load_lora_config,
)
from modelyard.adapters.manifest import (
    MANIFEST_NAME,
    Manifest,
    load_manifest,
    require_intact,
)
from modelyard.adapters.tokenizer import require_base_tokenizer, require_template
from modelyard.adapters.versions import AdapterVersion, active_number, version_numbers
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.layout import Project
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
    """Everything that is wrong with a version; an empty list when it is fit for use.

    Its files are the manifest's, byte for byte, and no others; there are no pickles and no links;
    `base` is the one it was trained on; every key and shape is one of the base's, and not every
    lora_B is zero; tokenizer and chat template are those it was trained with. Without `base`, what
    needs it is not asked.
    """
    folder, manifest = version.path, version.manifest
    checks: list[Callable[[], None]] = [
        lambda: require_safe_files(folder),
        lambda: require_intact(folder, manifest),
        lambda: require_template(folder, manifest.template_hash),
    ]
    if base is not None:
        checks += [
            lambda: require_same_base(folder, manifest, base),
            lambda: require_fit(folder, base),
            lambda: require_base_tokenizer(folder, base.path),
        ]
    found: list[Diagnostic] = []
    try:
        require_safe_files(folder)
    except ModelyardError as error:
        if any(path.is_symlink() or not path.exists() for path in folder.rglob("*")):
            return _problems(error, folder, project)  # what a link leads to is not opened
    for check in checks:
        try:
            check()
        except ModelyardError as error:
            found += _problems(error, folder, project)
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            found.append(
                Diagnostic(message=message, where=_inside(error.filename, folder, project))
            )
    return list({(one.where, one.message): one for one in found}.values())


def verify_pointer(project: Project, adapter: str) -> list[Diagnostic]:
    """What is wrong with the link in models/trained/: it leads elsewhere, or to what is gone."""
    try:
        number = active_number(project, adapter)
    except ModelyardError as error:
        return [Diagnostic(message=error.message, where=error.where, hint=error.hint)]
    if number is None or number in version_numbers(project, adapter):
        return []
    return [
        Diagnostic(
            message=f"leads to {adapter}@{number}, whose files are gone",
            where=project.show(project.trained_link(adapter)),
            hint="restore them, or promote a version that is whole",
        )
    ]


def _problems(error: ModelyardError, folder: Path, project: Project) -> list[Diagnostic]:
    """An error as the problems it sums up, or as one, its place named within the version."""
    if error.problems:
        return list(error.problems)
    where = _inside(error.where, folder, project)
    return [Diagnostic(message=error.message, where=where, hint=error.hint)]


def _inside(where: Any, folder: Path, project: Project) -> str | None:
    if where is None or Path(str(where)) == folder:
        return None
    path = Path(str(where))
    return path.name if path.parent == folder else project.show(path)


PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


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
