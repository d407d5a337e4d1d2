"""Figures that a version was given after it was registered, beside the version in a registry.

    adapters/NAME/figures/N/<SHA-256 of its bytes>.json    of one evaluation; never changed

They are of the version with a certain manifest, and are read only for that one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from modelyard.adapters.recorded import RecordedFigures, parse_recorded
from modelyard.adapters.registry.record import DamagedRegistry, RemoteVersion, parse_mapping
from modelyard.adapters.registry.registry import Registry
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import check_name
from modelyard.core.progress import Progress

_MOST_BYTES = 1_000_000
_MOST = 1000


def missing_figures(
    registry: Registry | None, version: RemoteVersion, recorded: Sequence[RecordedFigures]
) -> dict[str, bytes]:
    """The objects, by key, that the registry lacks of what was recorded of a version."""
    if not recorded:
        return {}
    there = set(registry.store.names(_prefix(version))) if registry else set()
    objects = {_name(data): data for data in (_bytes(version, each) for each in recorded)}
    return {
        f"{_prefix(version)}{name}": data for name, data in objects.items() if name not in there
    }


def store_figures(registry: Registry, objects: Mapping[str, bytes]) -> None:
    """Create the objects of `missing_figures`."""
    for key, data in objects.items():
        registry.store.create(key, data)


def read_figures(
    registry: Registry, version: RemoteVersion, progress: Progress
) -> list[RecordedFigures]:
    """The figures of a version in the registry; a warning for each that is damaged."""
    found: list[RecordedFigures] = []
    for name in registry.store.names(_prefix(version))[:_MOST]:
        try:
            found += _read(registry, version, name)
        except (DamagedRegistry, InvalidInput) as error:
            progress.warn(f"figures of {version.name} are left out: {error}")
    return found


def _read(registry: Registry, version: RemoteVersion, name: str) -> Iterator[RecordedFigures]:
    key = f"{_prefix(version)}{name}"
    where = registry.store.show(key)
    data = registry.store.read(key, most_bytes=_MOST_BYTES)
    if data is None:
        return
    if _name(data) != name:
        raise DamagedRegistry("was changed: its SHA-256 differs from its name", where=where)
    values = parse_mapping(data, where=where)
    if values.get("manifest") == version.digest:
        yield parse_recorded(values.get("figures"), where)


def _bytes(version: RemoteVersion, recorded: RecordedFigures) -> bytes:
    values = {"manifest": version.digest, "figures": recorded.to_mapping()}
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}.json"


def _prefix(version: RemoteVersion) -> str:
    return f"adapters/{check_name(version.adapter, 'adapter')}/figures/{version.number}/"
