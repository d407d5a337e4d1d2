"""Two projects, and a registry in a folder between them."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_samples import make_project, registry_at

from modelyard.adapters.registry.registry import Registry
from modelyard.core.layout import Project


@pytest.fixture
def here(tmp_path: Path) -> Project:
    return make_project(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Project:
    return make_project(tmp_path / "there")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def registry(store: Path) -> Registry:
    return registry_at(store)
