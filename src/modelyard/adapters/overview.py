"""All adapters at a glance: what each version is, which is active, and what storing them saves.

Reads manifests, cards, sizes and the link; a damaged version is a line with its problem, not the
end of the list. Loads no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.adapters.gc import load_pins
from modelyard.adapters.manifest import Origin
from modelyard.adapters.training_info import load_facts, require_figures
from modelyard.adapters.versions import (
    CARD_NAME,
    active_number,
    list_adapters,
    load_version,
    version_numbers,
)
from modelyard.core.errors import ModelyardError
from modelyard.core.files import folder_size_bytes
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.weights.catalogue import find_base
from modelyard.weights.files import weight_files
from modelyard.weights.local import locate_base

_BF16_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """One version, as far as it can be read."""

    number: int
    """The version's number."""
    size_bytes: int
    """The size of its files on the disk."""
    pinned: bool
    """Whether gc leaves it alone."""
    base: Origin | None = None
    """The base model it fits."""
    data: Origin | None = None
    """The dataset it was trained on."""
    rows: int | None = None
    """How many conversations that were."""
    trained_at: str | None = None
    """When, UTC."""
    org: str | None = None
    """The organisation whose data that is."""
    parent: str | None = None
    """The version it continues from."""
    evaluation: Mapping[str, Any] | None = None
    """Its figures against its base, in the shape that promote.py describes; None without any."""
    problem: str | None = None
    """What is wrong with it, when it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSummary:
    """One adapter and its versions."""

    name: str
    """The adapter's name."""
    active: int | None
    """The number of the active version."""
    versions: tuple[VersionSummary, ...]
    """Every version, by number."""
    problem: str | None = None
    """What is wrong with its link."""

    @property
    def shown(self) -> VersionSummary:
        """The version that speaks for the adapter: the active one, else the newest."""
        active = [version for version in self.versions if version.number == self.active]
        return (active or list(self.versions))[-1]

    @property
    def size_bytes(self) -> int:
        """The size of all its versions."""
        return sum(version.size_bytes for version in self.versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSize:
    """How large the weights of a base are: what each full fine-tune of it would take again."""

    size_bytes: int
    """Their size."""
    measured: bool
    """Whether files were measured; else it is two bytes (bf16) for each weight on the card."""


def summarize_adapters(project: Project, *, org: str | None = None) -> list[AdapterSummary]:
    """Every adapter, or those of one organisation, by name."""
    pins = load_pins(project)
    summaries = [
        summarize_adapter(project, name, pinned=pins.get(name, {}))
        for name in list_adapters(project)
    ]
    return [one for one in summaries if org is None or one.shown.org == org]


def summarize_adapter(
    project: Project, adapter: str, *, pinned: Mapping[int, str | None]
) -> AdapterSummary:
    """One adapter that has a version; `pinned` are its pins."""
    active, problem = None, None
    try:
        active = active_number(project, adapter)
    except ModelyardError as error:
        problem = str(error)
    versions = tuple(
        _summarize_version(project, adapter, number, pinned=number in pinned)
        for number in version_numbers(project, adapter)
    )
    if active is not None and all(version.number != active for version in versions):
        problem = f"{adapter}@{active} is active, and its files are gone"
    return AdapterSummary(name=adapter, active=active, versions=versions, problem=problem)


def _summarize_version(
    project: Project, adapter: str, number: int, *, pinned: bool
) -> VersionSummary:
    size_bytes = folder_size_bytes(project.adapter_version(adapter, number))
    try:
        version = load_version(project, adapter, number)
        facts = load_facts(version.path)
        evaluation = require_figures(facts, where=project.show(version.path / CARD_NAME))
    except ModelyardError as error:
        problem = _relative(project, str(error))
        return VersionSummary(number=number, size_bytes=size_bytes, pinned=pinned, problem=problem)
    manifest = version.manifest
    return VersionSummary(
        number=number,
        size_bytes=size_bytes,
        pinned=pinned,
        base=manifest.base,
        data=manifest.data,
        rows=_trained_rows(facts),
        trained_at=str(facts.get("trained_at") or manifest.created_at),
        org=manifest.org,
        parent=manifest.parent,
        evaluation=evaluation or None,
    )


def _trained_rows(facts: Mapping[str, Any]) -> int | None:
    dataset = facts.get("dataset")
    rows = dataset.get("rows") if isinstance(dataset, dict) else None
    return rows if isinstance(rows, int) else None


def _relative(project: Project, text: str) -> str:
    return text.replace(f"{project.root}/", "")


def measure_weights(
    project: Project, bases: Sequence[str], *, progress: Progress
) -> dict[str, WeightsSize]:
    """The size of each base's weights, from its files, or from its card when it is not at hand.

    A base that has no readable card is left out.
    """
    sizes: dict[str, WeightsSize] = {}
    for name in bases:
        try:
            base = locate_base(project, name, progress=progress)
            if base is not None:
                sizes[name] = WeightsSize(size_bytes=_weights_bytes(base.path), measured=True)
                continue
        except (ModelyardError, OSError):
            pass  # a damaged base is what `models base list` is for
        try:
            parameters = find_base(project, name).parameters
        except ModelyardError:
            continue
        sizes[name] = WeightsSize(size_bytes=parameters * _BF16_BYTES, measured=False)
    return sizes


def _weights_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in weight_files(folder))


def full_bytes(
    summaries: Sequence[AdapterSummary], sizes: Mapping[str, WeightsSize]
) -> tuple[int, int]:
    """What the versions would take as full fine-tunes, in bytes, and how many versions that counts.

    A version counts when the size of its base is known.
    """
    known = [
        sizes[version.base.name].size_bytes
        for summary in summaries
        for version in summary.versions
        if version.base is not None and version.base.name in sizes
    ]
    return sum(known), len(known)
