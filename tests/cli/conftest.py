"""The command line, run inside the test's own process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelyard.cli.app import main
from modelyard.core.layout import Project

Models = Callable[..., int]


@pytest.fixture
def models_here(monkeypatch: pytest.MonkeyPatch) -> Models:
    """Run `models` with these words, in the current folder; returns the exit code."""

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["models", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return code if isinstance(code, int) else int(code is not None)

    return run


@pytest.fixture
def models(project: Project, models_here: Models) -> Models:
    """Run `models` with these words, in the test's project; returns the exit code."""
    return models_here
