"""A summary of all adapters: their versions, which is active, and how much space they save.

Reads manifests, cards, sizes and the link; a damaged version is listed with its problem. Loads no
weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from modelyard.adapters.gc import load_pins
from modelyard.adapters.recorded import RecordedFigures, figures_of
from modelyard.adapters.training_info import load_training_info
from modelyard.adapters.versions import (
    active_number,
    list_known_adapters,
    load_version,
    not_here,
    version_numbers,
)
from modelyard.core.errors import ModelyardError
from modelyard.core.files import folder_size_bytes
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.records.evaluation import DETAILS, Evaluation
from modelyard.records.provenance import Origin
from modelyard.results.json_form import published
from modelyard.weights.catalogue import find_base
from modelyard.weights.files import weight_files
from modelyard.weights.local import locate_base

_BF16_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """One version, as far as it can be read."""

    number: int
    """The version's number."""
    active: bool = field(metadata=published("in_use"))
    """Whether it is the active version."""
    size_bytes: int
    """The size of its files on the disk."""
    pinned: bool
    """Whether gc leaves it alone."""
    base: Origin | None = None
    """The base model it fits."""
    data: Origin | None = None
    """The dataset it was trained on."""
    rows: int | None = None
    """The number of training conversations."""
    trained_at: str | None = None
    """When, UTC; None for an imported version, whose files do not say it."""
    duration_s: float | None = None
    """How long the training took."""
    org: str | None = None
    """The organisation whose data that is."""
    parent: str | None = None
    """The version it continues from."""
    evaluation: Evaluation | None = field(default=None, metadata=published(without=DETAILS))
    """Its figures against its base; None without any."""
    recorded: RecordedFigures | None = field(
        default=None, metadata=published("evaluation_recorded", without=("evaluation",))
    )
    """When and on what they were measured, if that was after it was registered; else None."""
    problem: str | None = None
    """What is wrong with it, when it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSummary:
    """One adapter and its versions."""

    name: str
    """The adapter's name."""
    org: str | None
    """The organisation that the active version belongs to, else the newest."""
    active: int | None = field(metadata=published("in_use"))
    """The number of the active version; None when none is."""
    size_bytes: int
    """The size of all its versions."""
    problem: str | None
    """What is wrong with its link; None when nothing is."""
    versions: tuple[VersionSummary, ...]
    """Every version, by number."""

    @property
    def shown(self) -> VersionSummary | None:
        """The version that represents the adapter: the active one, else the newest; None when no
        version is here."""
        return _representative(self.versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSize:
    """The size of the weights of a base, which each full fine-tune of it would take again."""

    size_bytes: int
    """Their size."""
    measured: bool
    """Whether files were measured; else it is two bytes (bf16) for each parameter on the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewTotal:
    """All adapters together, compared with full fine-tunes."""

    adapters: int
    """How many adapters there are."""
    versions: int
    """How many versions they have."""
    size_bytes: int
    """The size of all versions."""
    full_fine_tunes: int
    """The versions whose base has a known size."""
    full_fine_tunes_bytes: int
    """The size that those versions would have as full fine-tunes of their bases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All adapters, or those of one organisation."""

    adapters: tuple[AdapterSummary, ...]
    """Each adapter, by name."""
    bases: Mapping[str, WeightsSize]
    """The size of each base that they fit, by name; one without a readable card is left out."""
    total: OverviewTotal
    """All of them together."""


def load_overview(project: Project, *, org: str | None = None, progress: Progress) -> Overview:
    """Every adapter, or those of one organisation, and what they save."""
    adapters = tuple(summarize_adapters(project, org=org))
    versions = [version for adapter in adapters for version in adapter.versions]
    bases = sorted({version.base.name for version in versions if version.base})
    sizes = measure_weights(project, bases, progress=progress)
    full = [
        sizes[version.base.name].size_bytes
        for version in versions
        if version.base is not None and version.base.name in sizes
    ]
    return Overview(
        adapters=adapters,
        bases=sizes,
        total=OverviewTotal(
            adapters=len(adapters),
            versions=len(versions),
            size_bytes=sum(adapter.size_bytes for adapter in adapters),
            full_fine_tunes=len(full),
            full_fine_tunes_bytes=sum(full),
        ),
    )


def summarize_adapters(project: Project, *, org: str | None = None) -> list[AdapterSummary]:
    """Every adapter, or those of one organisation, by name."""
    pins = load_pins(project)
    summaries = [
        summarize_adapter(project, name, pinned=pins.get(name, {}))
        for name in list_known_adapters(project)
    ]
    return [summary for summary in summaries if org is None or summary.org == org]


def summarize_adapter(
    project: Project, adapter: str, *, pinned: Mapping[int, str | None]
) -> AdapterSummary:
    """One adapter that has a version or a link; `pinned` are its pins."""
    active, problem = None, None
    try:
        active = active_number(project, adapter)
    except ModelyardError as error:
        problem = str(error)
    versions = tuple(
        _summarize_version(
            project, adapter, number, active=number == active, pinned=number in pinned
        )
        for number in version_numbers(project, adapter)
    )
    if active is not None and all(version.number != active for version in versions):
        problem = not_here(project, adapter, active).message
    return AdapterSummary(
        name=adapter,
        org=shown.org if (shown := _representative(versions)) else None,
        active=active,
        size_bytes=sum(version.size_bytes for version in versions),
        problem=problem,
        versions=versions,
    )


def _representative(versions: Sequence[VersionSummary]) -> VersionSummary | None:
    """The active one of an adapter's versions, else the newest; None without any."""
    newest = versions[-1] if versions else None
    return next((version for version in versions if version.active), newest)


def _summarize_version(
    project: Project, adapter: str, number: int, *, active: bool, pinned: bool
) -> VersionSummary:
    size_bytes = folder_size_bytes(project.adapter_version(adapter, number))
    try:
        version = load_version(project, adapter, number)
        info = load_training_info(version.path)
        evaluation, recorded = figures_of(project, version)
    except ModelyardError as error:
        problem = "; ".join(map(str, error.diagnostics())).replace(f"{project.root}/", "")
        return VersionSummary(
            number=number, active=active, size_bytes=size_bytes, pinned=pinned, problem=problem
        )
    manifest = version.manifest
    return VersionSummary(
        number=number,
        active=active,
        size_bytes=size_bytes,
        pinned=pinned,
        base=manifest.base,
        data=manifest.data,
        rows=info.rows,
        trained_at=info.trained_at
        or (None if manifest.spec.get("imported") else manifest.created_at),
        duration_s=info.duration_s,
        org=manifest.org,
        parent=manifest.parent,
        evaluation=evaluation,
        recorded=recorded,
    )


def measure_weights(
    project: Project, bases: Sequence[str], *, progress: Progress
) -> dict[str, WeightsSize]:
    """The size of each base's weights: of its files, or from its card when they are not here.

    A base that has no readable card is left out.
    """
    sizes = {name: _measure(project, name, progress) for name in bases}
    return {name: size for name, size in sizes.items() if size is not None}


def _measure(project: Project, name: str, progress: Progress) -> WeightsSize | None:
    # `models base list` reports a damaged base.
    with suppress(ModelyardError, OSError):
        if base := locate_base(project, name, progress=progress):
            size_bytes = sum(file.stat().st_size for file in weight_files(base.path))
            return WeightsSize(size_bytes=size_bytes, measured=True)
    try:
        parameters = find_base(project, name).parameters
    except ModelyardError:
        return None
    return WeightsSize(size_bytes=parameters * _BF16_BYTES, measured=False)
