"""A server on loopback, and a caller of the model behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from provider_calls import KEY, Caller
from provider_server import ProviderServer


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@pytest.fixture
def caller(tmp_path: Path, server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setenv("SOME_KEY", KEY)
    return Caller(Project(tmp_path), server)
