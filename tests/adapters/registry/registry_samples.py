"""Small projects with real files, to push from and pull into."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from adapter_samples import BETTER, facts
from modelyard.adapters.manifest import Manifest, load_manifest, require_intact
from modelyard.adapters.registry.blobs import blob_key
from modelyard.adapters.registry.pull import pull_version
from modelyard.adapters.registry.push import Push, push_version
from modelyard.adapters.registry.registry import (
    Registry,
    find_remote_version,
    open_registry,
)
from modelyard.adapters.versions import AdapterVersion, register_version, version_numbers
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.records.evaluation import Evaluation
from modelyard.settings.cards import write_card

SILENT = Silent()

TEMPLATE = "{{ messages }}"
TEMPLATE_HASH = f"sha256:{hashlib.sha256(TEMPLATE.encode()).hexdigest()}"


def make_project(root: Path) -> Project:
    """A project without bases and adapters."""
    (root / "configs").mkdir(parents=True)
    (root / "models" / "base").mkdir(parents=True)
    return Project(root)


def safetensors_bytes(values: bytes) -> bytes:
    """A safetensors file of one row of bytes."""
    header = {"x": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def add_version(
    project: Project,
    run_key: str,
    *,
    adapter: str = "demo",
    size_bytes: int = 1000,
    template: str = TEMPLATE,
    evaluation: Evaluation | None = BETTER,
    **changes: Any,
) -> AdapterVersion:
    """The next version of an adapter, with weights that only it has."""

    def fill(staged: Path, manifest: Manifest) -> None:
        weights = safetensors_bytes(
            f"{run_key} {project.root.name} ".encode() + os.urandom(size_bytes)
        )
        (staged / "adapter_model.safetensors").write_bytes(weights)
        (staged / "adapter_config.json").write_text("{}")
        (staged / "chat_template.jinja").write_text(template)
        (staged / "tokenizer.json").write_text('{"shared": true}')
        front = {"evaluation": evaluation.figures_mapping() if evaluation else {}}
        write_card(staged / "TRAINING_INFO.md", front, f"# {run_key}")

    known = facts(run_key, template_hash=TEMPLATE_HASH, **changes)
    return register_version(project, adapter, fill=fill, provenance=known)


def registry_at(folder: Path) -> Registry:
    registry = open_registry(folder.as_uri(), make=True)
    assert registry is not None
    return registry


def whole_versions(project: Project, adapter: str = "demo") -> list[int]:
    """The numbers of an adapter's versions; fails unless each is whole, byte for byte."""
    numbers = version_numbers(project, adapter)
    for number in numbers:
        path = project.adapter_version(adapter, number)
        require_intact(path, load_manifest(path))
        assert all(place.stat().st_mode & 0o777 in (0o400, 0o700) for place in path.rglob("*"))
    return numbers


def push(project: Project, version: AdapterVersion, registry: Registry, **options: Any) -> Push:
    return push_version(project, version, registry, progress=SILENT, **options)


def pull(project: Project, registry: Registry, reference: str) -> bool:
    version = find_remote_version(registry, reference)
    return pull_version(project, registry, version, progress=SILENT).changed


def blob_of(store: Path, version: AdapterVersion, name: str) -> Path:
    return store / blob_key(version.manifest.files[name].sha256)
