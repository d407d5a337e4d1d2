"""What this machine can do: hardware, versions, disks, bases, and what is missing.

Measures and leaves nothing; needs neither a project nor a network.
"""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.file_system import CHOOSE_ANOTHER, FileSystem, probe_project
from modelyard.core.files import disk_errors, folder_size_bytes
from modelyard.core.installing import install_command
from modelyard.core.layout import Project, cache_folder, find_project
from modelyard.core.os_errors import explain_os_error
from modelyard.core.processor import cpu_name
from modelyard.core.progress import Progress
from modelyard.core.sharing import Shared, group_name, load_sharing
from modelyard.core.wording import counted
from modelyard.inference.machine import Machine, probe_machine
from modelyard.results.json_form import published, result_of
from modelyard.setup.share import Misfit, list_concerns
from modelyard.weights.catalogue import load_catalogue
from modelyard.weights.local import locate_base

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"]([a-z]+)['\"])?")
_FOR_USERS = {"", "gpu", "tensorboard"}


_OPTIONAL = {
    "bitsandbytes": "--quantize 4bit and 8bit",
    "tensorboard": "--set keep.tensorboard=true",
}
"""Packages that modelyard works without, and what needs each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """A folder that grows, and the free space on its disk."""

    name: str
    """What the folder holds."""
    path: Path
    """The folder; it need not exist yet."""
    size_bytes: int
    """The size of its files."""
    disk_free_bytes: int
    """The free space on its disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseState:
    """One base of the catalogue on this machine."""

    name: str
    """Its name."""
    parameters: int
    """Its number of weights."""
    state: str
    """`available locally`, `not available locally` or `damaged`."""
    size_bytes: int | None
    """The size of its files; None unless it is available locally."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that is missing, what does not work without it, and how to fix that."""

    what: str
    """What is missing."""
    needed_for: str
    """What does not work without it."""
    fix: str = field(metadata=published("mend"))
    """The command that fixes it, or a sentence where no command can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingState:
    """With whom a project is shared, and what does not follow that."""

    sharing: str
    """`private`, `group` or `all`."""
    group: str
    """The group of the project's folder."""
    misfits: tuple[Misfit, ...]
    """The files and folders that lock somebody out, or are open to more than they should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything `models doctor` shows."""

    machine: Machine
    """The device that computes, its memory and its measured speed."""
    processor: str
    """The processor's name, also on a machine with a GPU."""
    versions: dict[str, str | None]
    """The version of Python and of each direct dependency; None where one is not installed."""
    places: tuple[DiskUse, ...]
    """The caches and the project's growing folders."""
    project: Project | None
    """The project the command ran in; None outside a project."""
    file_systems: tuple[FileSystem, ...]
    """Those of the project, and what they can."""
    sharing: SharingState | None
    """With whom the project is shared; None outside a project, or where that cannot be read."""
    bases: tuple[BaseState, ...]
    """The bases of the project's catalogue."""
    missing: tuple[Missing, ...]
    """What is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineResult:
    """The machine, and what it means for training."""

    machine: Machine = field(metadata=published(inline=True))
    processor: str
    """The processor's name, also on a machine with a GPU."""
    precision: str
    """The faster of `bf16` and `fp32` here; training uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorResult:
    """What this machine can do, and what is missing."""

    machine: MachineResult
    """The device that computes, its memory and its measured speed."""
    versions: dict[str, str | None]
    """The version of Python and of each direct dependency; null where one is not installed."""
    places: tuple[DiskUse, ...]
    """The caches and the project's growing folders."""
    project: Path | None
    """The project the command ran in; null outside a project."""
    file_systems: tuple[FileSystem, ...]
    """Those of the project, and what they can; empty outside a project."""
    sharing: SharingState | None
    """With whom the project is shared; null outside a project, or where that cannot be read."""
    bases: tuple[BaseState, ...]
    """The bases of the project's catalogue."""
    missing: tuple[Missing, ...]
    """What is missing."""


def doctor_result(found: Diagnosis) -> DoctorResult:
    """A diagnosis as programs read it."""
    precision = found.machine.precision
    return result_of(
        DoctorResult,
        found,
        machine=MachineResult(
            machine=found.machine, processor=found.processor, precision=precision
        ),
        project=found.project.root if found.project else None,
    )


def diagnose(progress: Progress) -> Diagnosis:
    """Inspect machine, versions, disks and bases. What fails is listed as missing, never raised."""
    machine = probe_machine()
    versions = installed_versions()
    missing = _missing_packages(machine, versions)
    project: Project | None = None
    sharing: SharingState | None = None
    bases: list[BaseState] = []
    file_systems: tuple[FileSystem, ...] = ()
    try:
        project = find_project()
    except ModelyardError:
        needed_for = "base, fine-tune, evaluate and generate"
        missing.append(Missing(what="a project", needed_for=needed_for, fix="models init DIR"))
    except PermissionError as error:
        refused = explain_os_error(error, None)
        fix = (refused and refused.hint) or str(error)
        what = f"access to {error.filename}"
        missing.append(Missing(what=what, needed_for="the project, which lies there", fix=fix))
    if project is not None:
        file_systems = probe_project(project)
        missing += [lacking for found in file_systems for lacking in _what_lacks(found)]
        sharing, unshared = _inspect_sharing(project)
        bases, missing_bases = _inspect_bases(project, progress)
        missing += [*unshared, *missing_bases]
    return Diagnosis(
        machine=machine,
        processor=cpu_name(),
        versions=versions,
        places=_measure_folders(project),
        project=project,
        file_systems=file_systems,
        sharing=sharing,
        bases=tuple(bases),
        missing=tuple(missing),
    )


def installed_versions() -> dict[str, str | None]:
    """Python's and every direct dependency's version, from modelyard's own metadata."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for requirement in requires("modelyard") or ():
        match = _REQUIREMENT.match(requirement)
        if match and (match[2] or "") in _FOR_USERS:
            name = match[1].lower()
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = None
    return found


def _missing_packages(machine: Machine, versions: dict[str, str | None]) -> list[Missing]:
    missing = []
    has_gpu = machine.device == "cuda"
    if not has_gpu:
        missing.append(
            Missing(
                what="a CUDA device",
                needed_for="--quantize 4bit and 8bit, and bases of 3B and more in useful time",
                fix="run on a machine with one; `--base-model smollm2-135m-instruct` needs none",
            )
        )
    for name, found in versions.items():
        if found is None and (has_gpu or name != "bitsandbytes"):
            missing.append(
                Missing(
                    what=name,
                    needed_for=_OPTIONAL.get(name, "modelyard itself"),
                    fix=install_command(name),
                )
            )
    return missing


def _inspect_bases(project: Project, progress: Progress) -> tuple[list[BaseState], list[Missing]]:
    bases, missing = [], []
    try:
        catalogue = load_catalogue(project)
    except ModelyardError as error:
        unread = Missing(
            what="base model cards that can be read",
            needed_for="base, fine-tune, evaluate and generate",
            fix=f"{error}: see `models base list`",
        )
        return [], [unread]
    for name, card in catalogue.items():
        state, size_bytes, fix = "not available locally", None, f"models base pull {name}"
        try:
            if local := locate_base(project, name, progress=progress):
                state, size_bytes = "available locally", local.size_bytes
        except ModelyardError as error:
            state, fix = "damaged", error.hint or str(error)
        if size_bytes is None:
            missing.append(
                Missing(what=f"base {name}", needed_for="training on it and using it", fix=fix)
            )
        bases.append(
            BaseState(name=name, parameters=card.parameters, state=state, size_bytes=size_bytes)
        )
    return bases, missing


def _what_lacks(file_system: FileSystem) -> list[Missing]:
    kind = f" ({file_system.kind})" if file_system.kind else ""
    return [
        Missing(
            what=f"{lacking.name} on the file system of {file_system.folder}{kind}",
            needed_for="every command that changes the project",
            fix=CHOOSE_ANOTHER,
        )
        for lacking in file_system.lacking
    ]


def _inspect_sharing(project: Project) -> tuple[SharingState | None, list[Missing]]:
    try:
        with disk_errors(project.project_file):
            shared = Shared.of(project, load_sharing(project))
    except ModelyardError as error:
        unknown = Missing(
            what="the line that says with whom the project is shared",
            needed_for="every command that makes files in the project",
            fix=f"{error}: {error.hint}" if error.hint else str(error),
        )
        return None, [unknown]
    state = SharingState(
        sharing=shared.sharing,
        group=group_name(shared.group),
        misfits=tuple(list_concerns(shared)),
    )
    return state, _missing_modes(state, shared)


def _missing_modes(state: SharingState, shared: Shared) -> list[Missing]:
    """The misfits as what is missing: one entry for those locked out, one for what is too open."""
    command = f"models project sharing {state.sharing}"
    found = []
    for locks_out, needed_for in (
        (True, f"use by all whom `sharing: {state.sharing}` lets in"),
        (False, f"keeping others out, as `sharing: {state.sharing}` says"),
    ):
        some = [each for each in state.misfits if each.locks_out is locks_out]
        if not some:
            continue
        owners = ", ".join(sorted({each.owner for each in some}))
        what = counted(len(some), "file or folder", "files and folders")
        is_foreign = any(each.owner != each.wanted_owner for each in some)
        found.append(
            Missing(
                what=f"the right mode, group or owner of {what}: {some[0]}",
                needed_for=needed_for,
                fix=shared.giving_back if is_foreign else f"{command}, run as {owners}",
            )
        )
    return found


def _measure_folders(project: Project | None) -> tuple[DiskUse, ...]:
    from huggingface_hub.constants import HF_HUB_CACHE

    named = [("our cache", cache_folder()), ("Hugging Face cache", Path(HF_HUB_CACHE))]
    if project is not None:
        named += [("experiments", project.experiments), ("adapter versions", project.versions)]
    return tuple(
        DiskUse(
            name=name,
            path=path,
            size_bytes=folder_size_bytes(path),
            disk_free_bytes=_disk_free_bytes(path),
        )
        for name, path in named
    )


def _disk_free_bytes(path: Path) -> int:
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free
