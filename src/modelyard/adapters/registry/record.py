"""What the registry says of one version: its manifest, byte for byte, and the SHA-256 of that.

Nothing of it is believed before it is checked: no file of a version may lie anywhere but in its own
folder. Does not know where a record is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelyard.adapters.lora import CONFIG_NAME, WEIGHTS_NAME
from modelyard.adapters.manifest import (
    MANIFEST_NAME,
    DamagedVersion,
    FileEntry,
    Manifest,
    parse_manifest,
)
from modelyard.adapters.verify import PICKLES
from modelyard.adapters.versions import CARD_NAME, AdapterVersion
from modelyard.core.errors import Diagnostic, InvalidInput, ModelyardError
from modelyard.core.layout import check_name

_MOST_FILES = 1000
_MOST_BYTES = 2**62
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
)


class DamagedRegistry(ModelyardError):
    """What lies in the registry is not what should, and nothing of it is taken."""

    def __init__(self, message: str, *, where: str, problems: Iterable[Diagnostic] = ()) -> None:
        hint = "push the version again with --force, from a project where it is whole"
        super().__init__(message, where=where, hint=hint, problems=problems)


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """One version as the registry holds it, checked."""

    adapter: str
    """The adapter's name."""
    number: int
    """The version's number."""
    manifest_bytes: bytes
    """Its MANIFEST.json, byte for byte."""
    manifest: Manifest
    """What that says."""

    @property
    def name(self) -> str:
        """The version as people write it, such as `techcorp-demo@3`."""
        return f"{self.adapter}@{self.number}"

    @property
    def digest(self) -> str:
        """The SHA-256 of its MANIFEST.json: two versions are one exactly if this is one."""
        return record_digest(self.manifest_bytes)

    @property
    def size_bytes(self) -> int:
        """The size of all its files but the manifest."""
        return sum(entry.size_bytes for entry in self.manifest.files.values())


def require_same_org(
    present: RemoteVersion | AdapterVersion, coming: RemoteVersion, *, where: str, hint: str
) -> None:
    """Raise ModelyardError unless two versions of one adapter belong to the same organisation."""
    owner, other = (version.manifest.org or "(none)" for version in (present, coming))
    if owner != other:
        raise ModelyardError(
            f"{present.name} belongs to organisation {owner}, and {coming.name} to {other}",
            where=where,
            hint=hint,
        )


def record_bytes(version: RemoteVersion) -> bytes:
    """The record of a version, as the registry keeps it."""
    record = {"sha256": version.digest, "manifest": version.manifest_bytes.decode()}
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def parse_record(data: bytes, adapter: str, number: int, *, where: str) -> RemoteVersion:
    """The version whose record this is. Raises DamagedRegistry when it is not what it should be."""
    found = parse_mapping(data, where=where)
    text, digest = found.get("manifest"), found.get("sha256")
    if not isinstance(text, str) or not _is_utf8(text):
        raise DamagedRegistry("holds no manifest", where=where)
    manifest_bytes = text.encode()
    if record_digest(manifest_bytes) != digest:
        raise DamagedRegistry("holds a manifest of another SHA-256 than it says", where=where)
    try:
        manifest = parse_manifest(manifest_bytes, where=where)
    except DamagedVersion as error:
        raise DamagedRegistry(error.message, where=where, problems=error.problems) from error
    if problems := manifest_problems(manifest, adapter, number):
        raise DamagedRegistry(
            "holds a manifest that no version has", where=where, problems=problems
        )
    return RemoteVersion(adapter, number, manifest_bytes, manifest)


def parse_mapping(data: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object of the registry. Raises DamagedRegistry when it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedRegistry("is not JSON", where=where) from error
    if not isinstance(found, dict):
        raise DamagedRegistry("is not what a registry holds", where=where)
    return found


def record_digest(manifest_bytes: bytes) -> str:
    """The SHA-256 of a MANIFEST.json, in hex."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def manifest_problems(manifest: Manifest, adapter: str, number: int) -> list[Diagnostic]:
    """Everything that keeps a manifest from elsewhere from being adapter@number, and safe to take.

    No file may leave the version's folder, hide, stand twice under names that some disks take for
    one, or be a pickle.
    """
    problems = []
    if (manifest.adapter, manifest.version) != (adapter, number):
        message = f"says it is {manifest.adapter!r}@{manifest.version}, not {adapter}@{number}"
        problems.append(Diagnostic(message=message))
    try:
        check_name(manifest.base.name, "base model")
    except InvalidInput as error:
        problems.append(Diagnostic(message=error.message))
    if manifest.org is not None and not (manifest.org.isprintable() and manifest.org):
        problems.append(Diagnostic(message=f"{manifest.org!r} is no organisation"))
    if len(manifest.files) > _MOST_FILES:
        problems.append(Diagnostic(message=f"names {len(manifest.files):,} files"))
        return problems
    for name, entry in manifest.files.items():
        if wrong := _file_problem(name, entry):
            problems.append(Diagnostic(message=wrong, where=repr(name)))
    problems += _name_clashes(list(manifest.files))
    missing = {CARD_NAME, CONFIG_NAME, WEIGHTS_NAME} - manifest.files.keys()
    problems += [Diagnostic(message="is missing", where=name) for name in sorted(missing)]
    return problems


def _file_problem(name: str, entry: FileEntry) -> str | None:
    if not _FILE_NAME.fullmatch(name) or ".." in name:
        return "is no file name that a version may have"
    if name.lower() == MANIFEST_NAME.lower():
        return "is the manifest itself"
    if name.lower().endswith(PICKLES):
        return "is a pickle, which can run any code when it is loaded"
    if not _SHA256.fullmatch(entry.sha256):
        return "has no SHA-256"
    return None if 0 <= entry.size_bytes <= _MOST_BYTES else "has a size that no file has"


def _name_clashes(names: list[str]) -> list[Diagnostic]:
    """Names that are one on a disk without upper and lower case, or file and folder at once."""
    lowered = [name.lower() for name in names]
    folders = {
        "/".join(parts[:depth])
        for parts in (name.split("/") for name in lowered)
        for depth in range(1, len(parts))
    }
    return [
        Diagnostic(message="clashes with another file's name", where=name)
        for name, low in zip(names, lowered, strict=True)
        if lowered.count(low) > 1 or low in folders
    ]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
