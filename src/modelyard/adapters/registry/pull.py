"""Pulling a version from a registry: its files are fetched and verified, then appear in one rename.

Fetched files wait in .models/incoming/ under their SHA-256, so an interrupted pull continues. The
record is checked before anything is fetched, each file when it is complete, and the version again
in its final form. Nothing is promoted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.lora import WEIGHTS_NAME, AdapterMismatch
from modelyard.adapters.manifest import MANIFEST_NAME, UNKNOWN, DamagedVersion, FileEntry
from modelyard.adapters.recorded import RecordedFigures, add_recorded, recorded_figures
from modelyard.adapters.registry.blobs import blob_key, copies_of
from modelyard.adapters.registry.figures import read_figures
from modelyard.adapters.registry.record import (
    DamagedRegistry,
    RemoteVersion,
    record_digest,
    require_same_org,
)
from modelyard.adapters.registry.registry import Registry, VersionTaken
from modelyard.adapters.verify import verify_version
from modelyard.adapters.versions import (
    AdapterVersion,
    list_adapters,
    load_version,
    place_version,
    version_numbers,
    version_of_another,
)
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.files import (
    disk_errors,
    exclusive_lock,
    make_file,
    make_folder,
    require_free_space,
    sha256_file,
    write_atomic,
)
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted, megabytes
from modelyard.stores.store import StoreFailed
from modelyard.weights.files import UnreadableWeights, read_tensor_entries
from modelyard.weights.local import LocalBase, locate_base

_PART_SUFFIX = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What a pull did, or would do."""

    version: RemoteVersion
    """The version, as the registry holds it."""
    path: Path
    """Its folder in the project."""
    changed: bool
    """False when the project had it already."""
    fetched_bytes: int
    """How many bytes were fetched, or are still missing."""
    base: LocalBase | None
    """The base it was trained on and verified with; None when that is not available locally."""
    figures: tuple[RecordedFigures, ...] = ()
    """Figures recorded since it was registered that were taken, or would be."""


def plan_pull(
    project: Project, registry: Registry, version: RemoteVersion, progress: Progress
) -> Pull:
    """What `pull_version` would do now; changes nothing.

    Raises VersionTaken when the project has another version of this number, ModelyardError when the
    base here is not the one it was trained on, or the adapter is another organisation's.
    """
    path = project.adapter_version(version.adapter, version.number)
    figures = tuple(read_figures(registry, version, progress))
    if version.number in version_numbers(project, version.adapter):
        here = _require_equal(project, version)
        known = recorded_figures(project, here)
        new = tuple(each for each in figures if each not in known)
        return Pull(
            version=version, path=path, changed=False, fetched_bytes=0, base=None, figures=new
        )
    _refuse_other_org(project, version)
    base = _find_base(project, version, progress)
    incoming = project.incoming(version.adapter)
    copies = _copies_here(project, version)
    missing_bytes = sum(
        max(0, entry.size_bytes - _waiting_bytes(incoming, entry))
        for entry in _by_content(version).values()
        if entry.sha256 not in copies
    )
    return Pull(
        version=version,
        path=path,
        changed=True,
        fetched_bytes=missing_bytes,
        base=base,
        figures=figures,
    )


def pull_version(
    project: Project,
    registry: Registry,
    version: RemoteVersion,
    *,
    progress: Progress,
    wait_s: float = 0.0,
) -> Pull:
    """Fetch a version of the registry into the project, and verify it before it appears.

    Raises what `plan_pull` does, DamagedRegistry when a file is not what the manifest says,
    AdapterMismatch when it does not pass `verify_version`, StoreFailed, NoSpace.
    """
    incoming = project.incoming(version.adapter)
    project.contain(incoming, "folder")
    lock = project.lock("pull", version.adapter)
    with exclusive_lock(lock, what=f"pull of {version.adapter}", wait_s=wait_s):
        plan = plan_pull(project, registry, version, progress)
        if plan.changed:
            copies = _copies_here(project, version)
            _fetch(registry, version, incoming, copies, plan.fetched_bytes, progress)
            _place(project, version, incoming, plan.base, wait_s)
        if plan.figures:
            here = load_version(project, version.adapter, version.number)
            add_recorded(project, here, plan.figures)
        if incoming.is_dir():
            shutil.rmtree(incoming)
    return plan


def _copies_here(project: Project, version: RemoteVersion) -> dict[str, Path]:
    """The files of the version that other versions of the project hold too, by their SHA-256.

    Only their size is checked: what is copied of them is hashed like what is fetched.
    """
    wanted = _by_content(version)
    found: dict[str, Path] = {}
    for adapter in list_adapters(project):
        for number in version_numbers(project, adapter):
            with suppress(ModelyardError):  # a damaged version has nothing to offer
                here = load_version(project, adapter, number)
                for name, entry in here.manifest.files.items():
                    path = here.path / name
                    if entry.sha256 in wanted and _has_size(path, entry):
                        found[entry.sha256] = path
    return found


def _has_size(path: Path, entry: FileEntry) -> bool:
    is_plain = path.is_file() and not path.is_symlink()
    return is_plain and path.stat().st_size == entry.size_bytes


def _by_content(version: RemoteVersion) -> dict[str, FileEntry]:
    return {entry.sha256: entry for entry in version.manifest.files.values()}


def _require_equal(project: Project, version: RemoteVersion) -> AdapterVersion:
    """The project's version of this number; fails unless it is the same one, with all its files."""
    here = load_version(project, version.adapter, version.number)
    if record_digest((here.path / MANIFEST_NAME).read_bytes()) != version.digest:
        raise VersionTaken(
            f"the project has a different {version.name} of its own (run {here.manifest.run_key})",
            where=project.show(here.path),
            hint="versions never change, so nothing was pulled: pull into another project (`models "
            "--project DIR adapters pull ...`), or remove this one if nobody needs it",
        )
    for name, entry in here.manifest.files.items():
        path = here.path / name
        if not path.is_file() or path.stat().st_size != entry.size_bytes:
            raise DamagedVersion("is missing or truncated", where=project.show(path))
    return here


def _refuse_other_org(project: Project, version: RemoteVersion) -> None:
    """Keep one organisation's versions out of another's adapter."""
    if here := version_of_another(project, version.adapter, version.manifest.org):
        require_same_org(
            here,
            version,
            where=project.show(here.path),
            hint="an adapter belongs to one organisation: pull it into a project of its own",
        )


def _find_base(project: Project, version: RemoteVersion, progress: Progress) -> LocalBase | None:
    """The base it was trained on, when it is available locally. Refuses another of that name."""
    trained_on = version.manifest.base
    try:
        base = locate_base(project, trained_on.name, progress=progress)
    except InvalidInput:
        base, advice = None, "this project does not know it"
    else:
        advice = f"fetch it with `models base pull {trained_on.name}`"
    if base is None:
        progress.warn(
            f"{version.name} was trained on {trained_on.name}, which is not available locally, so "
            f"its fit is not checked; {advice}"
        )
        return None
    if trained_on.fingerprint not in (base.fingerprint, UNKNOWN):
        raise ModelyardError(
            f"{version.name} was trained on another {trained_on.name} "
            f"({trained_on.fingerprint[:19]}) than this machine has ({base.fingerprint[:19]})",
            where=str(base.path),
            hint="an adapter produces nonsense on another base: get the one it was trained on",
        )
    return base


def _waiting_bytes(incoming: Path, entry: FileEntry) -> int:
    """How many bytes of a file an earlier pull has fetched."""
    names = (entry.sha256, f"{entry.sha256}{_PART_SUFFIX}")
    return next((path.stat().st_size for name in names if (path := incoming / name).is_file()), 0)


def _fetch(
    registry: Registry,
    version: RemoteVersion,
    incoming: Path,
    copies: Mapping[str, Path],
    rest: int,
    progress: Progress,
) -> None:
    files = _by_content(version)
    total = sum(entry.size_bytes for entry in files.values())
    require_free_space(incoming, rest + total, f"pulling {version.name}")
    blobs = {
        entry.sha256: _find_blob(registry, entry)
        for entry in files.values()
        if entry.sha256 not in copies
    }
    progress.stage(f"pull: {counted(len(files), 'file')}, {megabytes(rest)} of {version.name}")
    progress.begin("pull", total, "bytes")
    with disk_errors(incoming):
        make_folder(incoming)
        passed = 0
        for entry in files.values():
            if entry.sha256 in copies and not (incoming / entry.sha256).exists():
                _copy(copies[entry.sha256], entry, incoming)
            blob = blobs.get(entry.sha256) or blob_key(entry.sha256)
            _fetch_file(registry, entry, blob, incoming, progress, passed)
            passed += entry.size_bytes
    progress.end()


def _find_blob(registry: Registry, entry: FileEntry) -> str:
    """The key of the newest blob of a file; fetches nothing.

    Raises DamagedRegistry when it is missing or has another size.
    """
    copies = copies_of(registry.store, entry.sha256)
    for found in copies:
        if found.size_bytes == entry.size_bytes:
            return found.key
    if not copies:
        raise DamagedRegistry("is missing", where=registry.store.show(blob_key(entry.sha256)))
    raise DamagedRegistry(
        f"holds {copies[0].size_bytes:,} bytes, not {entry.size_bytes:,}",
        where=registry.store.show(copies[0].key),
    )


def _copy(source: Path, entry: FileEntry, incoming: Path) -> None:
    """Copy a file into `incoming`, if it still has the bytes that its version was made of."""
    part = incoming / f"{entry.sha256}{_PART_SUFFIX}"
    with suppress(OSError):
        make_file(part)
        shutil.copyfile(source, part)
        if sha256_file(part) == entry.sha256:
            part.replace(incoming / entry.sha256)
            return
    part.unlink(missing_ok=True)


def _fetch_file(
    registry: Registry,
    entry: FileEntry,
    blob: str,
    incoming: Path,
    progress: Progress,
    passed: int,
) -> None:
    """Fetch one file into `incoming`, under its SHA-256 once it is complete and checked."""
    whole = incoming / entry.sha256
    part = incoming / f"{entry.sha256}{_PART_SUFFIX}"
    if whole.is_file() and sha256_file(whole) == entry.sha256:
        progress.advance(passed + entry.size_bytes)
        return
    if part.is_file() and 0 < part.stat().st_size <= entry.size_bytes:
        with suppress(StoreFailed):  # not every store serves a part of an object
            _append(registry, entry, blob, part, progress, passed)
    if not part.is_file() or sha256_file(part) != entry.sha256:
        part.unlink(missing_ok=True)
        _append(registry, entry, blob, part, progress, passed)
        if sha256_file(part) != entry.sha256:
            part.unlink()
            raise DamagedRegistry(
                "was changed: its SHA-256 differs from its name",
                where=registry.store.show(blob),
            )
    part.replace(whole)


def _append(
    registry: Registry,
    entry: FileEntry,
    blob: str,
    part: Path,
    progress: Progress,
    passed: int,
) -> None:
    """Fetch what `part` lacks, and never more than the file's size."""
    make_file(part)
    with part.open("ab", buffering=0) as stream:
        size = stream.tell()
        if size < entry.size_bytes:
            for chunk in registry.store.download(blob, offset=size):
                size += len(chunk)
                if size > entry.size_bytes:
                    break
                stream.write(chunk)
                progress.advance(passed + size)
        os.fsync(stream.fileno())


def _place(
    project: Project, version: RemoteVersion, incoming: Path, base: LocalBase | None, wait_s: float
) -> None:
    """Make the version appear in one rename, if it passes `verify_version`."""

    def fill(staged: Path) -> None:
        for name, entry in version.manifest.files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(incoming / entry.sha256, path)
                path.chmod(0o600)
            except OSError:  # another disk, one without hard links, or fetched by another user
                path.unlink(missing_ok=True)
                shutil.copyfile(incoming / entry.sha256, path)
        write_atomic(staged / MANIFEST_NAME, version.manifest_bytes)
        here = AdapterVersion(version.adapter, version.number, staged, version.manifest)
        problems = verify_version(project, here, base)
        try:
            read_tensor_entries(staged / WEIGHTS_NAME)
        except UnreadableWeights as error:
            problems = problems or [Diagnostic(message=error.message, where=WEIGHTS_NAME)]
        if problems:
            raise AdapterMismatch(
                "arrived as it was pushed, and does not pass verification",
                where=version.name,
                problems=problems,
                hint="`models adapters verify` reports the same where it was pushed from",
            )

    try:
        place_version(project, version.adapter, version.number, fill=fill, wait_s=wait_s)
    except FileExistsError:
        _require_equal(project, version)  # another pull or a training run was first
