"""The command line, run inside the test's own process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelyard.core.layout import Project

Models = Callable[..., int]


@pytest.fixture
def models(project: Project, models_here: Models) -> Models:
    """Run `models` with these words, in the test's project; returns the exit code."""
    return models_here
