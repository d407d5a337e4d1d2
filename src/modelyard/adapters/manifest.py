"""MANIFEST.json: the files of a version with their hashes, and where the version came from.

Written once, as the last file of a version, and never changed. Does not know where versions are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.core.clock import utc_now
from modelyard.core.errors import Diagnostic, ModelyardError, ProblemsFound
from modelyard.core.files import sha256_file, write_atomic
from modelyard.settings.build import build_settings
from modelyard.settings.fields import settings_mapping

MANIFEST_NAME = "MANIFEST.json"


class DamagedVersion(ModelyardError):
    """The manifest of a version is missing or unreadable, or its files differ from it."""

    def __init__(self, message: str, *, where: str, problems: Iterable[Diagnostic] = ()) -> None:
        super().__init__(
            message,
            where=where,
            hint="restore the version from a backup, or train it again "
            "(`models fine-tune --fresh`)",
            problems=problems,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a version."""

    sha256: str
    """The SHA-256 of its bytes, in hex."""
    size_bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A base model or a dataset, by name and by content."""

    name: str
    """Its name in the project."""
    fingerprint: str
    """`sha256:<hex>` of its content when the version was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of MANIFEST.json."""

    adapter: str
    """The adapter's name."""
    version: int
    """The version's number, from 1."""
    created_at: str
    """When the version was registered, UTC."""
    run_key: str
    """Identifies the run that made it: registering a run twice gives the same version."""
    org: str | None = None
    """The organisation whose data it was trained on."""
    files: Mapping[str, FileEntry]
    """Every other file of the version, by its path inside it."""
    base: Origin
    """The base model it was trained on and fits."""
    data: Origin
    """The dataset it was trained on."""
    template_hash: str
    """The hash of the chat template it was trained with."""
    spec: Mapping[str, Any]
    """The settings of the run, resolved."""
    packages: Mapping[str, str]
    """Versions of the packages that made it."""
    code_commit: str | None = None
    """The git commit of this program, when it ran from a checkout."""
    machine: Mapping[str, Any]
    """The machine that made it."""
    parent: str | None = None
    """The version it continues from, such as `techcorp-demo@3`."""
    digest: str | None = None
    """`sha256:<hex>` of this file without its digest; None in manifests older than the digest."""


def load_manifest(folder: Path) -> Manifest:
    """The manifest of the version in `folder`. Raises DamagedVersion when it is unreadable."""
    path = folder / MANIFEST_NAME
    if path.is_symlink():
        raise DamagedVersion("is a link", where=str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        message = "is missing" if missing else f"cannot be read: {error.strerror}"
        raise DamagedVersion(message, where=str(path)) from error
    return parse_manifest(data, where=str(path))


def parse_manifest(data: bytes, *, where: str) -> Manifest:
    """Parse the bytes of a MANIFEST.json. Raises DamagedVersion, which names them `where`."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedVersion(f"is not JSON: {error}", where=where) from error
    if not isinstance(values, dict):
        raise DamagedVersion("is not a manifest", where=where)
    manifest, problems = build_settings(Manifest, values, lambda _: None)
    if manifest is None:
        raise DamagedVersion("is not a complete manifest", where=where, problems=problems)
    return manifest


def build_manifest(
    adapter: str, version: int, files: Mapping[str, FileEntry], facts: Mapping[str, Any]
) -> Manifest:
    """A manifest of these files, made now. `facts` holds the other fields of Manifest by name.

    Raises ProblemsFound when a fact is missing, unknown or of the wrong type.
    """
    manifest, problems = build_settings(
        Manifest,
        {
            **facts,
            "adapter": adapter,
            "version": version,
            "created_at": utc_now(),
            "files": {name: settings_mapping(entry) for name, entry in files.items()},
        },
        lambda _: None,
    )
    if manifest is None:
        raise ProblemsFound(f"{adapter}@{version} cannot be described", problems)
    return with_digest(manifest)


def with_digest(manifest: Manifest) -> Manifest:
    """The manifest with its digest, which is of the file without the digest."""
    data = _manifest_bytes(replace(manifest, digest=None))
    return replace(manifest, digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


def _manifest_bytes(manifest: Manifest) -> bytes:
    return (json.dumps(settings_mapping(manifest), indent=2, ensure_ascii=False) + "\n").encode()


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Hash every file below `folder` except the manifest. Raises ModelyardError for a link."""
    entries: dict[str, FileEntry] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelyardError(
                f"'{name}' is a link or a device; a version holds only plain files",
                where=str(folder),
            )
        if path.is_file() and name != MANIFEST_NAME:
            entries[name] = FileEntry(sha256=sha256_file(path), size_bytes=path.stat().st_size)
    return entries


def require_intact(folder: Path, manifest: Manifest) -> None:
    """Compare the files in `folder` with the manifest, and the manifest with its own digest.

    Raises DamagedVersion with every file that differs, is missing or is not in the manifest.
    """
    found = list_files(folder)
    problems = [
        Diagnostic(message=message, where=name)
        for name in sorted(found.keys() | manifest.files.keys())
        if (message := _difference(found.get(name), manifest.files.get(name)))
    ]
    if not _is_as_written(folder / MANIFEST_NAME, manifest):
        problems.insert(
            0, Diagnostic(message="was changed: it differs from its digest", where=MANIFEST_NAME)
        )
    if problems:
        raise DamagedVersion("is not as it was registered", where=str(folder), problems=problems)


def _is_as_written(path: Path, manifest: Manifest) -> bool:
    """Whether MANIFEST.json has the bytes that were written at registration."""
    if manifest.digest is None:
        return True
    as_written = not path.exists() or path.read_bytes() == _manifest_bytes(manifest)
    return as_written and manifest == with_digest(manifest)


def _difference(found: FileEntry | None, recorded: FileEntry | None) -> str | None:
    if found is None:
        return "is missing"
    if recorded is None:
        return "is not in the manifest"
    if found.size_bytes != recorded.size_bytes:
        return f"holds {found.size_bytes:,} bytes, and {recorded.size_bytes:,} were registered"
    return None if found == recorded else "was changed: its SHA-256 differs from the manifest"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write MANIFEST.json into `folder`."""
    write_atomic(folder / MANIFEST_NAME, _manifest_bytes(manifest))
