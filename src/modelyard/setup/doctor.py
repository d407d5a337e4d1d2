"""What this machine can do: the machine itself, versions, caches, bases, and what is missing.

Looks and measures; changes nothing, and needs neither a project nor a network.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.files import folder_size_bytes
from modelyard.core.layout import Project, cache_folder, find_project
from modelyard.core.progress import Progress
from modelyard.inference.machine import Machine, cpu_name, probe_machine
from modelyard.weights.catalogue import load_catalogue
from modelyard.weights.local import locate_base

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"]([a-z]+)['\"])?")
_FOR_USERS = {"", "gpu", "tensorboard"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that fills up, and the room that is left for it."""

    name: str
    """What lies there."""
    path: Path
    """Where; it need not exist yet."""
    size_bytes: int
    """How much lies there now."""
    disk_free_bytes: int
    """What its disk has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseState:
    """One base of the catalogue on this machine."""

    name: str
    """Its name."""
    parameters: int
    """How many weights it has."""
    state: str
    """`at hand`, `not here` or `damaged`."""
    size_bytes: int | None
    """The size of its files, when it is at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that is not here, what it keeps from working, and how to mend that."""

    what: str
    """What is missing."""
    needed_for: str
    """What does not work without it."""
    mend: str
    """The command that mends it, or a sentence where no command can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything `models doctor` shows."""

    machine: Machine
    """What the machine computes with."""
    processor: str
    """The processor's own name, also where a GPU computes."""
    versions: dict[str, str | None]
    """The version of Python and of each direct dependency; None where one is not installed."""
    places: tuple[Place, ...]
    """The caches and the project."""
    project: Project | None
    """The project the command ran in, if it ran in one."""
    bases: tuple[BaseState, ...]
    """The project's catalogue."""
    missing: tuple[Missing, ...]
    """What is missing for what."""


def diagnose(progress: Progress) -> Diagnosis:
    """Look at everything. What cannot be looked at is listed as missing, and raises nothing."""
    missing: list[Missing] = []
    machine = probe_machine()
    versions = installed_versions()
    missing += _missing_packages(machine, versions)
    project: Project | None = None
    bases: tuple[BaseState, ...] = ()
    try:
        project = find_project()
        bases, missing_bases = _look_at_bases(project, progress)
        missing += missing_bases
    except ModelyardError as error:
        missing.append(
            Missing(
                what="a project" if project is None else "base model cards that can be read",
                needed_for="base, fine-tune, evaluate and generate",
                mend="models init DIR" if project is None else f"{error}: see `models base list`",
            )
        )
    return Diagnosis(
        machine=machine,
        processor=cpu_name(),
        versions=versions,
        places=_look_at_places(project),
        project=project,
        bases=bases,
        missing=tuple(missing),
    )


def installed_versions() -> dict[str, str | None]:
    """Python's and every direct dependency's version, as modelyard's own metadata names them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for requirement in requires("modelyard") or ():
        if match := _REQUIREMENT.match(requirement):
            name, extra = match[1].lower(), match[2] or ""
            if extra in _FOR_USERS:
                found[name] = _version(name)
    return found


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _missing_packages(machine: Machine, versions: dict[str, str | None]) -> list[Missing]:
    missing = []
    if machine.device != "cuda":
        missing.append(
            Missing(
                what="a CUDA device",
                needed_for="--quantize 4bit and 8bit, and bases of 3B and more in useful time",
                mend="run on a machine with one; `--base-model smollm2-135m-instruct` needs none",
            )
        )
    elif versions.get("bitsandbytes") is None:
        missing.append(
            Missing(
                what="bitsandbytes",
                needed_for="--quantize 4bit and 8bit",
                mend=f"{sys.executable} -m pip install bitsandbytes",
            )
        )
    if versions.get("tensorboard") is None:
        missing.append(
            Missing(
                what="tensorboard",
                needed_for="--set keep.tensorboard=true",
                mend=f"{sys.executable} -m pip install tensorboard",
            )
        )
    for name, found in versions.items():
        if found is None and name not in ("bitsandbytes", "tensorboard"):
            missing.append(
                Missing(
                    what=name,
                    needed_for="modelyard itself",
                    mend=f"{sys.executable} -m pip install {name}",
                )
            )
    return missing


def _look_at_bases(
    project: Project, progress: Progress
) -> tuple[tuple[BaseState, ...], list[Missing]]:
    bases, missing = [], []
    for name, card in load_catalogue(project).items():
        state, size_bytes = "not here", None
        try:
            local = locate_base(project, name, progress=progress)
            if local is not None:
                state, size_bytes = "at hand", local.size_bytes
            mend = f"models base pull {name}"
        except ModelyardError as error:
            state, mend = "damaged", error.hint or str(error)
        if state != "at hand":
            missing.append(
                Missing(what=f"base {name}", needed_for="training on it and using it", mend=mend)
            )
        bases.append(
            BaseState(name=name, parameters=card.parameters, state=state, size_bytes=size_bytes)
        )
    return tuple(bases), missing


def _look_at_places(project: Project | None) -> tuple[Place, ...]:
    from huggingface_hub.constants import HF_HUB_CACHE

    named = [("our cache", cache_folder()), ("Hugging Face cache", Path(HF_HUB_CACHE))]
    if project is not None:
        named += [("experiments", project.experiments), ("adapter versions", project.versions)]
    return tuple(
        Place(
            name=name,
            path=path,
            size_bytes=folder_size_bytes(path),
            disk_free_bytes=_disk_free_bytes(path),
        )
        for name, path in named
    )


def _disk_free_bytes(path: Path) -> int:
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free
