"""Two yards, and a registry in a folder between them."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_samples import make_yard, registry_at

from modelyard.adapters.registry.registry import Registry
from modelyard.core.layout import Yard


@pytest.fixture
def here(tmp_path: Path) -> Yard:
    return make_yard(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Yard:
    return make_yard(tmp_path / "there")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def registry(store: Path) -> Registry:
    return registry_at(store)
