"""MANIFEST.json: the files of a version with their hashes, and where the version came from.

Written once, as the last file of a version, and never changed. Does not know where versions are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from modelyard.core.clock import utc_now
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.files import sha256_file, write_atomic
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.regular_files import read_regular
from modelyard.records.provenance import Provenance
from modelyard.settings.build import build_settings
from modelyard.settings.fields import settings_mapping

MANIFEST_NAME = "MANIFEST.json"
UNKNOWN = "unknown"
"""The name of training data, and the fingerprint of data or a base, that an import did not know."""
_WRITTEN_ORDER = (
    *("adapter", "version", "created_at", "run_key", "org", "files", "base", "data"),
    *("template_hash", "spec", "packages", "code_commit", "machine", "parent", "digest"),
)


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
class Manifest(Provenance):
    """The content of MANIFEST.json: how the version was made, and its files."""

    adapter: str
    """The adapter's name."""
    version: int
    """The version's number, from 1."""
    created_at: str
    """When the version was registered, UTC."""
    files: Mapping[str, FileEntry]
    """Every other file of the version, by its path inside it."""
    digest: str | None = None
    """`sha256:<hex>` of this file without its digest; None in manifests older than the digest."""

    def to_mapping(self) -> dict[str, Any]:
        """What MANIFEST.json holds, in the order in which it is written and hashed."""
        values = settings_mapping(self)
        return {key: values[key] for key in _WRITTEN_ORDER}


def load_manifest(folder: Path) -> Manifest:
    """The manifest of the version in `folder`. Raises DamagedVersion when it is unreadable."""
    path = folder / MANIFEST_NAME
    if path.is_symlink():
        raise DamagedVersion("is a link", where=str(path))
    try:
        data = read_regular(path)
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        message = "is missing" if missing else f"cannot be read: {error.strerror}"
        raise DamagedVersion(message, where=str(path)) from error
    return parse_manifest(data, where=str(path))


def parse_manifest(data: bytes, *, where: str) -> Manifest:
    """Parse the bytes of a MANIFEST.json. Raises DamagedVersion, which names them `where`."""
    try:
        values = parse_json(data)
    except InvalidJson as error:
        raise DamagedVersion(error.message, where=where) from error
    if not isinstance(values, dict):
        raise DamagedVersion("is not a manifest", where=where)
    manifest, problems = build_settings(Manifest, values, lambda _: None)
    if manifest is None:
        raise DamagedVersion("is not a complete manifest", where=where, problems=problems)
    return manifest


def build_manifest(
    adapter: str, version: int, files: Mapping[str, FileEntry], provenance: Provenance
) -> Manifest:
    """A manifest of these files, made now."""
    manifest = Manifest(
        **{field.name: getattr(provenance, field.name) for field in fields(Provenance)},
        adapter=adapter,
        version=version,
        created_at=utc_now(),
        files=files,
    )
    return with_digest(manifest)


def with_digest(manifest: Manifest) -> Manifest:
    """The manifest with its digest, which is of the file without the digest."""
    data = _manifest_bytes(replace(manifest, digest=None))
    return replace(manifest, digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


def _manifest_bytes(manifest: Manifest) -> bytes:
    return (json.dumps(manifest.to_mapping(), indent=2, ensure_ascii=False) + "\n").encode()


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
