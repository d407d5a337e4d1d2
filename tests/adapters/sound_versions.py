"""Versions that pass `verify` without a base, and what a project must look like at any instant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from adapter_samples import BETTER, facts, fill_with
from modelyard.adapters.manifest import Manifest, list_files
from modelyard.adapters.pointer import pointer_history
from modelyard.adapters.versions import (
    AdapterVersion,
    active_number,
    list_versions,
    register_version,
)
from modelyard.core.layout import Project
from modelyard.records.evaluation import Evaluation, ModelFigures
from modelyard.records.provenance import Provenance

TEMPLATE = "{{ messages }}"


def figures(loss: float) -> Evaluation:
    """Figures that beat the base, with this loss."""
    return replace(BETTER, tuned=ModelFigures(loss=loss))


def register_sound(project: Project, run_key: str, *, loss: float | None = 1.2) -> AdapterVersion:
    """Register a version of `demo` that passes `verify` without a base; no loss: not evaluated."""
    sample = fill_with(None if loss is None else figures(loss))
    return register_version(
        project, "demo", fill=_with_template(sample), provenance=_sound_facts(run_key)
    )


def _with_template(fill: Callable[[Path, Manifest], None]) -> Callable[[Path, Manifest], None]:
    def filled(staged: Path, manifest: Manifest) -> None:
        fill(staged, manifest)
        (staged / "chat_template.jinja").write_text(TEMPLATE)

    return filled


def _sound_facts(run_key: str) -> Provenance:
    digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    return facts(run_key, template_hash=f"sha256:{digest}")


def moves(project: Project) -> list[tuple[int | None, int]]:
    """Each move of `demo`, from and to."""
    return [(move.from_version, move.to_version) for move in pointer_history(project, "demo")]


def require_agreement(project: Project) -> None:
    """Fail unless every version is whole, and the history is one chain that ends at the link."""
    for version in list_versions(project, "demo"):
        assert version.manifest.files == list_files(version.path), version.name
    history = pointer_history(project, "demo")
    sequences = [move.sequence or 0 for move in history]
    assert sequences == sorted(set(sequences))
    for before, after in pairwise(history):
        assert after.from_version == before.to_version, (before, after)
    active = active_number(project, "demo")
    assert active == (history[-1].to_version if history else None)
    assert active is None or project.adapter_version("demo", active).is_dir()
