"""Versions of adapters: numbered folders that appear complete, in one rename, and never change.

Owns models/versions/ and reads the link in models/trained/. Does not move that link, and does not
know what the files of a version mean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.adapters.manifest import (
    DamagedVersion,
    Manifest,
    build_manifest,
    list_files,
    load_manifest,
    with_digest,
    write_manifest,
)
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.core.files import (
    disk_errors,
    exclusive_lock,
    staged_folder,
    sweep_staging,
    write_atomic,
)
from modelyard.core.layout import Project, is_name
from modelyard.records.modelref import ModelRef, version_number
from modelyard.records.provenance import Provenance

CARD_NAME = "TRAINING_INFO.md"


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One registered version."""

    adapter: str
    """The adapter's name."""
    number: int
    """The version's number, from 1."""
    path: Path
    """The folder of its files, under models/versions/."""
    manifest: Manifest
    """Its MANIFEST.json."""

    @property
    def name(self) -> str:
        """The version as people write it, such as `techcorp-demo@3`."""
        return f"{self.adapter}@{self.number}"


def list_adapters(project: Project) -> list[str]:
    """The names of all adapters that have a version."""
    if not project.versions.is_dir():
        return []
    names = [folder.name for folder in project.versions.iterdir() if folder.is_dir()]
    return sorted(name for name in names if is_name(name) and version_numbers(project, name))


def list_known_adapters(project: Project) -> list[str]:
    """The names of all adapters that have a version here, or a link that names one."""
    links = project.trained.iterdir() if project.trained.is_dir() else ()
    linked = {link.name for link in links if link.is_symlink() and is_name(link.name)}
    return sorted({*list_adapters(project), *linked})


def version_numbers(project: Project, adapter: str) -> list[int]:
    """The numbers of an adapter's versions, ascending; nothing is read from them."""
    home = project.contain(project.adapter_versions(adapter), "adapter")
    if not home.is_dir():
        return []
    return sorted(filter(None, (version_number(path.name) for path in home.iterdir())))


def highest_number(project: Project, adapter: str) -> int:
    """The highest number that a version of the adapter ever had, removed ones included; else 0.

    The active version counts also where its files are not here, as in a git clone without versions.

    Raises DamagedVersion when the file that keeps it cannot be read: a number used twice would make
    every mention of the first version wrong.
    """
    record = project.highest_number(adapter)
    project.contain(record, "file")
    try:
        text = record.read_text().strip()
    except FileNotFoundError:
        text = "0"
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedVersion(f"cannot be read: {error}", where=project.show(record)) from error
    if text != "0" and version_number(text) is None:
        raise DamagedVersion(
            "should hold the highest number a version ever had", where=project.show(record)
        )
    linked = None
    with suppress(ModelyardError):  # a link that leads elsewhere names no number
        linked = active_number(project, adapter)
    return max(int(text), linked or 0, *version_numbers(project, adapter))


def note_highest_number(project: Project, adapter: str) -> None:
    """Store the highest number, so that it outlives its version.

    Call it under the adapter's lock: after a version is added, and before one is removed.
    """
    record, highest = project.highest_number(adapter), f"{highest_number(project, adapter)}\n"
    if not record.exists() or record.read_text() != highest:
        write_atomic(record, highest)


def load_version(project: Project, adapter: str, number: int) -> AdapterVersion:
    """One version. Raises DamagedVersion when its manifest is incomplete or another version's."""
    path = project.adapter_version(adapter, number)
    project.contain(path, "version")
    if path.is_symlink():
        raise DamagedVersion(
            "is a link, where the folder of a version belongs", where=project.show(path)
        )
    manifest = load_manifest(path)
    if (manifest.adapter, manifest.version) != (adapter, number):
        raise DamagedVersion(
            f"holds {manifest.adapter}@{manifest.version}, not {adapter}@{number}",
            where=project.show(path),
        )
    return AdapterVersion(adapter, number, path, manifest)


def list_versions(project: Project, adapter: str) -> list[AdapterVersion]:
    """All versions of an adapter by number; none when there is no such adapter."""
    return [load_version(project, adapter, number) for number in version_numbers(project, adapter)]


def version_of_another(project: Project, adapter: str, org: str | None) -> AdapterVersion | None:
    """The newest version of an adapter that does not belong to `org` (None: to nobody).

    A damaged version, whose owner is not known, counts as none: it must not block intact ones.
    """
    for number in reversed(version_numbers(project, adapter)):
        with suppress(DamagedVersion):
            version = load_version(project, adapter, number)
            if version.manifest.org != org:
                return version
    return None


def active_number(project: Project, adapter: str) -> int | None:
    """The number of the active version, to which the link in models/trained/ points; else None."""
    link = project.trained_link(adapter)
    project.contain(link.parent, "folder")
    try:
        target = link.readlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelyardError(
            "is a file or folder, where a link to a version belongs",
            where=project.show(link),
            hint="move it away, then promote a version",
        ) from error
    home = os.path.relpath(project.adapter_versions(adapter), link.parent)
    number = version_number(target.name)
    if str(target.parent) != home or number is None:
        raise ModelyardError(
            f"points to {target}, which is no version of {adapter}",
            where=project.show(link),
            hint="remove the link, then promote a version",
        )
    return number


def resolve_version(project: Project, reference: str) -> AdapterVersion:
    """The version that `name@3` names, or the active one for `name`.

    Raises InvalidInput, which lists the existing versions, when there is none.
    """
    return load_version(project, *resolve_number(project, reference))


def resolve_number(project: Project, reference: str) -> tuple[str, int]:
    """The adapter and number of `resolve_version`; reads no file of the version."""
    named = ModelRef.parse(reference, kind="adapter")
    adapter, asked = named.name, named.version
    numbers = require_numbers(project, adapter)
    versions = ", ".join(f"{adapter}@{number}" for number in numbers)
    if asked is not None:
        if asked not in numbers:
            if active_number(project, adapter) == asked:
                raise not_here(project, adapter, asked)
            raise InvalidInput(f"there is no {adapter}@{asked}", hint=f"there are: {versions}")
        return adapter, asked
    number = active_number(project, adapter)
    if number is None:
        raise InvalidInput(
            f"no version of {adapter} is active yet", hint=f"name one of: {versions}"
        )
    if number not in numbers:
        raise not_here(project, adapter, number)
    return adapter, number


def not_here(project: Project, adapter: str, number: int) -> ModelyardError:
    """The error of the active version whose files are not in this project.

    So it is in a git clone that leaves versions out, and after its folder was removed by hand.
    """
    others = ", ".join(f"{adapter}@{each}" for each in version_numbers(project, adapter))
    return ModelyardError(
        f"{adapter}@{number} is not here: `models adapters pull {adapter}@{number} REMOTE`",
        where=project.show(project.trained_link(adapter)),
        hint="it is the active version; without a registry, restore it from a backup"
        + (f", or use one of: {others}" if others else ""),
    )


def named_adapter(reference: str, *, hint: str | None = None) -> str:
    """The name in `NAME` or `adapter:NAME`, where all versions of an adapter are meant.

    Raises InvalidInput for a version or a reference of another kind; `hint` says what to do about a
    version.
    """
    named = ModelRef.parse(reference, kind="adapter")
    if named.version is not None:
        raise InvalidInput(
            f"{reference!r} names a version, where an adapter without one belongs",
            hint=hint or f"write {named.name}",
        )
    return named.name


def require_numbers(project: Project, adapter: str) -> list[int]:
    """The numbers of an adapter's versions.

    Raises InvalidInput when there is no such adapter, ModelyardError when there is only its link.
    """
    numbers = version_numbers(project, adapter)
    if not numbers:
        if (active := active_number(project, adapter)) is not None:
            raise not_here(project, adapter, active)
        known = list_adapters(project)
        raise InvalidInput(
            f"there is no adapter '{adapter}'{did_you_mean(adapter, known)}",
            hint=f"there are: {', '.join(known)}" if known else "`models fine-tune` makes one",
        )
    return numbers


def register_version(
    project: Project,
    adapter: str,
    *,
    fill: Callable[[Path, Manifest], None],
    provenance: Provenance,
    wait_s: float = 60.0,
) -> AdapterVersion:
    """Make the next version of an adapter from the files that `fill(folder, manifest)` writes.

    The version appears in one rename, read-only, with its manifest; the one that `fill` gets has no
    files yet. `fill` must write TRAINING_INFO.md. When a version of the same `run_key` exists, that
    one is returned and `fill` is not called. A number is never used twice, also when its version
    was removed.
    """
    with _adding_version(project, adapter, wait_s):
        if known := version_of_run(project, adapter, provenance.run_key):
            return known
        number = highest_number(project, adapter) + 1
        manifest = build_manifest(adapter, number, {}, provenance)
        with _read_only_folder(project.adapter_version(adapter, number)) as staged:
            fill(staged, manifest)
            files = list_files(staged)
            if CARD_NAME not in files:
                raise ValueError(f"a version must hold {CARD_NAME}")
            write_manifest(staged, with_digest(replace(manifest, files=files)))
    return load_version(project, adapter, number)


def place_version(
    project: Project,
    adapter: str,
    number: int,
    *,
    fill: Callable[[Path], None],
    wait_s: float = 60.0,
) -> AdapterVersion:
    """Add a version that was registered elsewhere, unchanged, in one rename, read-only.

    `fill(folder)` writes all its files, including MANIFEST.json, and checks them.
    Raises FileExistsError when the adapter has a version of this number.
    """
    with (
        _adding_version(project, adapter, wait_s),
        _read_only_folder(project.adapter_version(adapter, number)) as staged,
    ):
        fill(staged)
    return load_version(project, adapter, number)


@contextmanager
def _adding_version(project: Project, adapter: str, wait_s: float) -> Iterator[None]:
    """Hold the adapter's lock, remove what killed processes left, and keep the highest number."""
    home = project.contain(project.adapter_versions(adapter), "adapter")
    with adapter_lock(project, adapter, wait_s=wait_s):
        sweep_staging(home)
        yield
        note_highest_number(project, adapter)


@contextmanager
def _read_only_folder(final: Path) -> Iterator[Path]:
    """A staged folder, made read-only before it gets its final name."""
    with staged_folder(final) as staged:
        yield staged
        with disk_errors(staged):
            for path in staged.rglob("*"):
                path.chmod(stat.S_IRWXU if path.is_dir() else stat.S_IRUSR)


def adapter_lock(project: Project, adapter: str, *, wait_s: float) -> AbstractContextManager[None]:
    """The lock under which an adapter's versions and its link change."""
    return exclusive_lock(
        project.lock("adapter", adapter), what=f"adapter {adapter}", wait_s=wait_s
    )


def version_of_run(project: Project, adapter: str, run_key: str) -> AdapterVersion | None:
    """The version that a run was registered as, if it was; damaged versions are skipped."""
    for number in version_numbers(project, adapter):
        try:
            version = load_version(project, adapter, number)
        except DamagedVersion:
            continue  # a damaged version must not prevent a new one
        if version.manifest.run_key == run_key:
            return version
    return None
