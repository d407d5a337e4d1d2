"""The record of one version in a registry: its manifest, byte for byte, and the SHA-256 of that.

Nothing in it is trusted before it is checked: no file of a version may be outside of its folder.
Does not know where records are stored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
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
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import is_name

_MOST_FILES = 1000
_MOST_BYTES = 2**62
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
)


class DamagedRegistry(ModelyardError):
    """Something in the registry is damaged or missing, and is not used."""

    def __init__(self, message: str, *, where: str, problems: Iterable[Diagnostic] = ()) -> None:
        super().__init__(
            message,
            where=where,
            hint="push the version again with --force, from a project where it is intact",
            problems=problems,
        )


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
    """Its parsed content."""

    @property
    def name(self) -> str:
        """The version as people write it, such as `techcorp-demo@3`."""
        return f"{self.adapter}@{self.number}"

    @property
    def digest(self) -> str:
        """The SHA-256 of its MANIFEST.json: versions are the same exactly if these are equal."""
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
    """The record of a version, as the registry stores it."""
    record = {"sha256": version.digest, "manifest": version.manifest_bytes.decode()}
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def parse_record(data: bytes, adapter: str, number: int, *, where: str) -> RemoteVersion:
    """The version of a record. Raises DamagedRegistry when it is not valid."""
    found = parse_mapping(data, where=where)
    try:
        manifest_bytes = found["manifest"].encode()
    except (KeyError, AttributeError, UnicodeEncodeError) as error:
        raise DamagedRegistry("holds no manifest", where=where) from error
    if record_digest(manifest_bytes) != found.get("sha256"):
        raise DamagedRegistry("holds a manifest of another SHA-256 than it says", where=where)
    try:
        manifest = parse_manifest(manifest_bytes, where=where)
    except DamagedVersion as error:
        raise DamagedRegistry(error.message, where=where, problems=error.problems) from error
    if problems := list(manifest_problems(manifest, adapter, number)):
        raise DamagedRegistry("holds an invalid manifest", where=where, problems=problems)
    return RemoteVersion(adapter, number, manifest_bytes, manifest)


def parse_mapping(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse a JSON object of the registry. Raises DamagedRegistry when it is none."""
    try:
        found = parse_json(data)
    except InvalidJson as error:
        raise DamagedRegistry(error.message, where=where) from error
    if not isinstance(found, dict):
        raise DamagedRegistry("is not a JSON object", where=where)
    return found


def record_digest(manifest_bytes: bytes) -> str:
    """The SHA-256 of a MANIFEST.json, in hex."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def manifest_problems(manifest: Manifest, adapter: str, number: int) -> Iterator[Diagnostic]:
    """Every reason why a manifest from elsewhere is not adapter@number, or not safe to take.

    No file may leave the version's folder, be hidden, be a pickle, or have a name that some disks
    do not tell from another's.
    """
    if (manifest.adapter, manifest.version) != (adapter, number):
        yield Diagnostic(
            message=f"says it is {manifest.adapter!r}@{manifest.version}, not {adapter}@{number}"
        )
    if not is_name(manifest.base.name):
        yield Diagnostic(message=f"{manifest.base.name!r} is not a valid base model name")
    if manifest.org is not None and not (manifest.org.isprintable() and manifest.org):
        yield Diagnostic(message=f"{manifest.org!r} is no organisation")
    if len(manifest.files) > _MOST_FILES:
        yield Diagnostic(message=f"names {len(manifest.files):,} files")
        return
    for name, entry in manifest.files.items():
        if wrong := _file_problem(name, entry):
            yield Diagnostic(message=wrong, where=repr(name))
    yield from _name_clashes(list(manifest.files))
    for name in sorted({CARD_NAME, CONFIG_NAME, WEIGHTS_NAME} - manifest.files.keys()):
        yield Diagnostic(message="is missing", where=name)


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
    """Names that are equal on a case-insensitive disk, or of a file and a folder at once."""
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
