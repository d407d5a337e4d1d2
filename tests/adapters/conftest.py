"""Real PEFT adapters on the tiny base, and projects that need no torch to be made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapter_samples import BETTER, facts, fill_with
from modelyard.adapters.import_ import import_adapter, plan_import
from modelyard.adapters.versions import AdapterVersion, register_version
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase


@pytest.fixture
def bare_project(tmp_path: Path) -> Project:
    """A project without a base."""
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    return Project(root)


@pytest.fixture
def register(bare_project: Project) -> Callable[..., AdapterVersion]:
    """Register the next version of `demo` (or of another adapter) with these figures."""

    def make(
        run_key: str, *, adapter: str = "demo", evaluation: Any = BETTER, **changes: Any
    ) -> AdapterVersion:
        return register_version(
            bare_project,
            adapter,
            fill=fill_with(evaluation),
            provenance=facts(run_key, **changes),
        )

    return make


@pytest.fixture(scope="session")
def saved_adapter(save_adapter: Callable[..., Path]) -> Path:
    """A LoRA adapter on all linear modules of the tiny base; do not change it."""
    return save_adapter()


@pytest.fixture
def own_adapter(saved_adapter: Path, tmp_path: Path) -> Path:
    """A copy of `saved_adapter` that a test may spoil."""
    return Path(shutil.copytree(saved_adapter, tmp_path / "adapter"))


@pytest.fixture
def adopt(project: Project, tiny_base: LocalBase) -> Callable[..., AdapterVersion]:
    """Make a folder of adapter files the next version of `demo` in the project of base `tiny`."""

    def make(folder: Path, adapter: str = "demo", **options: Any) -> AdapterVersion:
        return import_adapter(project, adapter, plan_import(folder, tiny_base), **options)

    return make
