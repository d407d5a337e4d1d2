"""The difference between two versions: settings, data, packages, figures, and weights.

Reads manifests, cards and adapter weights. Does not decide which version is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.adapters.lora import LoraModule, OtherKindOfAdapter, as_float32, open_lora
from modelyard.adapters.manifest import Manifest
from modelyard.adapters.recorded import figures_of
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.layout import Project
from modelyard.settings.fields import flatten_settings, settings_mapping
from modelyard.weights.files import read_tensor_entries, weight_files
from modelyard.weights.local import LocalBase

_CHEAP_BASE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs between two versions."""

    name: str
    """Its name, such as `lora.rank`."""
    before: Any
    """The first version's value; None where it has none."""
    after: Any
    """The second version's value; None where it has none."""


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """The change of one linear module's weight between two versions."""

    module: str
    """The module's name in the base."""
    norm: float
    """The Frobenius norm of the difference of the two weights."""
    share: float | None
    """That norm over the Frobenius norm of the base's weight; None when it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDiff:
    """Everything that differs between two versions."""

    before: str
    """The first version, as NAME@VERSION."""
    after: str
    """The second version."""
    spec: tuple[Change, ...]
    """Settings of the run, by their dotted names."""
    origin: tuple[Change, ...]
    """Base, dataset, template, organisation, parent."""
    packages: tuple[Change, ...]
    """Versions of packages."""
    evaluation: tuple[Change, ...]
    """Figures of the tuned model, and what they were measured on."""
    modules: tuple[ModuleChange, ...]
    """Modules whose weight differs, the largest change first."""
    unmeasured: str | None
    """Why weights could not be compared; None when they were."""
    norm: float | None
    """The Frobenius norm of the change of all weights together; None when not compared."""


def diff_versions(
    project: Project, old: AdapterVersion, new: AdapterVersion, base: LocalBase | None = None
) -> VersionDiff:
    """What changes from the version `old` to `new`.

    `base`, when it is given and small enough to be read in a second, gives the change of each
    module relative to its weight. Raises DamagedVersion or AdapterMismatch when files are broken.
    """
    modules, unmeasured = _compare_weights(old, new, base)
    norm = float(np.sqrt(sum(change.norm**2 for change in modules)))
    return VersionDiff(
        before=old.name,
        after=new.name,
        spec=_changes(flatten_settings(old.manifest.spec), flatten_settings(new.manifest.spec)),
        origin=_changes(_origin(old.manifest), _origin(new.manifest)),
        packages=_changes(old.manifest.packages, new.manifest.packages),
        evaluation=_changes(_figures(project, old), _figures(project, new)),
        modules=modules,
        unmeasured=unmeasured,
        norm=None if unmeasured else norm,
    )


def _origin(manifest: Manifest) -> dict[str, Any]:
    return {
        **flatten_settings({"base": settings_mapping(manifest.base)}),
        **flatten_settings({"data": settings_mapping(manifest.data)}),
        "template_hash": manifest.template_hash,
        "org": manifest.org,
        "parent": manifest.parent,
        "code_commit": manifest.code_commit,
    }


def _figures(project: Project, version: AdapterVersion) -> dict[str, Any]:
    evaluation, _ = figures_of(project, version)
    return flatten_settings(evaluation.figures_mapping()) if evaluation else {}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def _compare_weights(
    old: AdapterVersion, new: AdapterVersion, base: LocalBase | None
) -> tuple[tuple[ModuleChange, ...], str | None]:
    """The modules that changed, the largest change first, or why they cannot be compared."""
    if old.manifest.base.fingerprint != new.manifest.base.fingerprint:
        return (), "they are for different bases"
    try:
        before, after = open_lora(old.path), open_lora(new.path)
    except OtherKindOfAdapter as error:
        return (), f"one {error.message}"
    for version, lora in ((old, before), (new, after)):
        if lora.config.dora:
            return (), f"{version.name} is a DoRA: its change is no product of two matrices"
        if name := next((name for name in lora if not _is_finite(lora[name])), None):
            return (), f"{version.name} has a number that is not finite in {name}"
    norms = {
        name: change_norm(before.get(name), after.get(name))
        for name in before.keys() | after.keys()
    }
    moved = {name: norm for name, norm in norms.items() if norm > 0}
    sizes = _base_norms(base, moved.keys()) if base is not None else {}
    changes = [
        ModuleChange(name, norm, norm / sizes[name] if name in sizes else None)
        for name, norm in moved.items()
    ]
    return tuple(sorted(changes, key=lambda change: (-change.norm, change.module))), None


def _is_finite(module: LoraModule) -> bool:
    return bool(np.isfinite(module.a).all() and np.isfinite(module.b).all())


def change_norm(before: LoraModule | None, after: LoraModule | None) -> float:
    """The Frobenius norm of s2·B2·A2 − s1·B1·A1, the weight's change from `before` to `after`.

    None stands for an adapter that leaves the module as it is. The ranks may differ. The product
    (outputs × inputs) is never formed: with B = [s2·B2, −s1·B1] side by side and A = [A2; A1] one
    above the other, ‖B·A‖² = trace(AᵀBᵀBA) = sum((BᵀB) ∘ (AAᵀ)), two Gram matrices of
    (r1+r2) × (r1+r2), in float64.
    Source: trace of a product is cyclic; Golub & Van Loan, Matrix Computations, 2.3.
    """
    if (
        before
        and after
        and before.scale == after.scale
        and np.array_equal(before.a, after.a)
        and np.array_equal(before.b, after.b)
    ):
        return 0.0  # the difference of two large numbers would leave rounding here
    parts = [(lora, sign) for lora, sign in ((after, 1.0), (before, -1.0)) if lora]
    if not parts:
        return 0.0
    b = np.concatenate([sign * lora.scale * lora.b.astype(np.float64) for lora, sign in parts], 1)
    a = np.concatenate([lora.a.astype(np.float64) for lora, _ in parts])
    return float(np.sqrt(max(0.0, float(np.sum((b.T @ b) * (a @ a.T))))))


def _base_norms(base: LocalBase, modules: Set[str]) -> dict[str, float]:
    """The norm of each named module's weight where it is of use; none when reading takes long."""
    if base.size_bytes > _CHEAP_BASE_BYTES:
        return {}
    found: dict[str, float] = {}
    for path in weight_files(base.path):
        data: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        for entry in read_tensor_entries(path):
            name = entry.name.removesuffix(".weight")
            if name in modules and entry.dtype in ("F32", "F16", "BF16"):
                found[name] = float(np.linalg.norm(as_float32(data, entry)))
    return {name: norm for name, norm in found.items() if norm and math.isfinite(norm)}
