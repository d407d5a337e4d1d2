"""format.json: marks a repository, and says its version and who can open it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.backup.encryption import Key
from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, parse_json

FORMAT = "modelyard-backup"
VERSION = 1


class DamagedRepository(ModelyardError):
    """An object of a repository is missing, or is not what its name says."""


def new_format(key: Key | None, recipients: Sequence[str]) -> bytes:
    """The file of a new repository, encrypted where there is a key; recipients can open it too."""
    values = {
        "format": FORMAT,
        "version": VERSION,
        "id": secrets.token_hex(16),
        "created_at": utc_now(),
        "encryption": key.new_repository(recipients)[0] if key else None,
    }
    return _with_digest(values)


def parse_format(data: bytes, where: str) -> dict[str, Any]:
    """The values of the file. Raises DamagedRepository, or ModelyardError for a newer format."""
    try:
        values = parse_json(data, where=where)
        version = values["version"]
        is_known = values["format"] == FORMAT
    except (InvalidJson, KeyError, TypeError) as error:
        raise DamagedRepository("marks no backup repository", where=where) from error
    if is_known and type(version) is int and version > VERSION:
        raise ModelyardError(
            f"the repository has format {version}, and this modelyard knows {VERSION}",
            where=where,
            hint="update modelyard in this environment",
        )
    plain = {name: value for name, value in values.items() if name != "digest"}
    if not is_known or _with_digest(plain) != data or not isinstance(values.get("id"), str):
        raise DamagedRepository("was changed: it differs from its digest", where=where)
    return dict(values)


def _with_digest(values: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()
    return (json.dumps({**values, "digest": digest}) + "\n").encode()
