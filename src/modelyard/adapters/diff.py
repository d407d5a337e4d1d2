"""What differs between two versions: settings, data, packages, figures, and the weights' change.

Reads manifests, cards and adapter weights. Does not judge which version is the better one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.adapters.lora import LoraModule, as_float32, read_lora
from modelyard.adapters.training_info import load_evaluation
from modelyard.adapters.versions import AdapterVersion
from modelyard.settings.fields import flatten_settings
from modelyard.weights.files import read_tensor_entries, weight_files
from modelyard.weights.local import LocalBase

_CHEAP_BASE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that two versions do not share."""

    name: str
    """What it is, such as `lora.rank`."""
    before: Any
    """The first version's value; None where it has none."""
    after: Any
    """The second version's value; None where it has none."""


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """How far one linear module's weight moves from one version to the other."""

    module: str
    """The module's name in the base."""
    norm: float
    """The Frobenius norm of the difference of the two weights."""
    share: float | None
    """That norm over the Frobenius norm of the base's weight; None when it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDiff:
    """Everything two versions differ in."""

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

    @property
    def norm(self) -> float:
        """The Frobenius norm of the change of all weights together."""
        return float(np.sqrt(sum(change.norm**2 for change in self.modules)))


def diff_versions(
    one: AdapterVersion, other: AdapterVersion, base: LocalBase | None = None
) -> VersionDiff:
    """What changes from version `one` to version `other`.

    `base`, when it is given and small enough to be read in a second, gives the change of each
    module relative to its weight. Raises DamagedVersion or AdapterMismatch when files are broken.
    """
    reason = _not_comparable(one, other)
    modules = () if reason else tuple(_module_changes(one.path, other.path, base))
    return VersionDiff(
        spec=_changes(flatten_settings(one.manifest.spec), flatten_settings(other.manifest.spec)),
        origin=_changes(_origin(one), _origin(other)),
        packages=_changes(one.manifest.packages, other.manifest.packages),
        evaluation=_changes(_figures(one.path), _figures(other.path)),
        modules=modules,
        unmeasured=reason,
    )


def _not_comparable(one: AdapterVersion, other: AdapterVersion) -> str | None:
    if one.manifest.base.fingerprint != other.manifest.base.fingerprint:
        return "they are for different bases"
    for version in (one, other):
        if read_lora(version.path)[0].dora:
            return f"{version.name} is a DoRA: its change is no product of two matrices"
    return None


def _origin(version: AdapterVersion) -> dict[str, Any]:
    manifest = version.manifest
    facts = flatten_settings({"base": _plain(manifest.base), "data": _plain(manifest.data)})
    return facts | {
        "template_hash": manifest.template_hash,
        "org": manifest.org,
        "parent": manifest.parent,
        "code_commit": manifest.code_commit,
    }


def _plain(origin: Any) -> dict[str, str]:
    return {"name": origin.name, "fingerprint": origin.fingerprint}


def _figures(folder: Path) -> dict[str, Any]:
    """The evaluation's flat figures: `tuned.loss`, `difference.mean`, `rows` and so on."""
    return flatten_settings(load_evaluation(folder))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _module_changes(one: Path, other: Path, base: LocalBase | None) -> list[ModuleChange]:
    pairs = _pairs(one, other)
    norms = {name: change_norm(before, after) for name, before, after in pairs}
    moved = {name: norm for name, norm in norms.items() if norm > 0}
    sizes = _base_norms(base, moved.keys()) if base is not None else {}
    changes = [
        ModuleChange(name, norm, norm / sizes[name] if sizes.get(name) else None)
        for name, norm in moved.items()
    ]
    return sorted(changes, key=lambda change: (-change.norm, change.module))


def _pairs(one: Path, other: Path) -> Iterator[tuple[str, LoraModule | None, LoraModule | None]]:
    """The modules of two adapters side by side, by name; None where one does not adapt it."""
    mine, theirs = read_lora(one)[1], read_lora(other)[1]
    left, right = next(mine, None), next(theirs, None)
    while left or right:
        if right is None or (left is not None and left.name < right.name):
            assert left is not None
            yield left.name, left, None
            left = next(mine, None)
        elif left is None or right.name < left.name:
            yield right.name, None, right
            right = next(theirs, None)
        else:
            yield left.name, left, right
            left, right = next(mine, None), next(theirs, None)


def change_norm(before: LoraModule | None, after: LoraModule | None) -> float:
    """The Frobenius norm of s2·B2·A2 − s1·B1·A1, the weight's change from `before` to `after`.

    None stands for an adapter that leaves the module as it is. The ranks may differ. The product
    (outputs × inputs) is never formed: with B = [s2·B2, −s1·B1] side by side and A = [A2; A1] one
    above the other, ‖B·A‖² = trace(AᵀBᵀBA) = sum((BᵀB) ∘ (AAᵀ)), two Gram matrices of
    (r1+r2) × (r1+r2), in float64.
    Source: trace of a product is cyclic; Golub & Van Loan, Matrix Computations, 2.3.
    """
    if before and after and before.scale == after.scale and _equal(before, after):
        return 0.0  # the difference of two large numbers would leave rounding here
    parts = [(after, 1.0), (before, -1.0)]
    columns = [sign * one.scale * one.b.astype(np.float64) for one, sign in parts if one]
    rows = [one.a.astype(np.float64) for one, _ in parts if one]
    if not rows:
        return 0.0
    b, a = np.concatenate(columns, axis=1), np.concatenate(rows, axis=0)
    return float(np.sqrt(max(0.0, float(np.sum((b.T @ b) * (a @ a.T))))))


def _equal(one: LoraModule, other: LoraModule) -> bool:
    return np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b)


def _base_norms(base: LocalBase, modules: Any) -> dict[str, float]:
    """The Frobenius norm of each named module's weight; empty when reading them takes long."""
    if base.size_bytes > _CHEAP_BASE_BYTES:
        return {}
    found: dict[str, float] = {}
    for path in weight_files(base.path):
        data: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        for entry in read_tensor_entries(path):
            name = entry.name.removesuffix(".weight")
            if name in modules and entry.dtype in ("F32", "F16", "BF16"):
                found[name] = float(np.linalg.norm(as_float32(data, entry)))
    return found
