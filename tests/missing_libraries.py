"""Skips what needs the machine-learning libraries, by name, where they are not installed.

A plugin of pytest. `make test-pythons` runs every other test without them, under each Python. It
does nothing where torch is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from each_python import LIBRARIES


class _Asked(MetaPathFinder):
    """Comes after all finders, and notes which of the missing libraries was asked for last."""

    name: str | None = None

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        root = name.partition(".")[0]
        if root in LIBRARIES:
            self.name = root


class SkippingPlugin:
    """Turns what fails since a library is missing into a skip that names it."""

    def __init__(self) -> None:
        self._asked = _Asked()
        sys.meta_path.append(self._asked)

    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module:
        return _SkippingModule.from_parent(parent, path=module_path)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._skipping())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._skipping())

    def _skipping(self) -> Generator[None, Any, Any]:
        """A command turns the missing library into exit code 3, so that it is asked, not caught."""
        self._asked.name = None
        try:
            return (yield)
        except (Exception, SystemExit) as error:
            name = _missing(error) or self._asked.name
            if name is None:
                raise
            pytest.skip(f"needs {name}")


class _SkippingModule(pytest.Module):
    """A module of tests that is skipped as a whole where its imports need a missing library."""

    def _getobj(self) -> Any:
        try:
            return super()._getobj()
        except self.CollectError as error:
            if name := _missing(error.__cause__):
                pytest.skip(f"needs {name}", allow_module_level=True)
            raise


def _missing(error: BaseException | None) -> str | None:
    """The library that an import did not find; a fixture of the session raises it again."""
    return (
        error.name if isinstance(error, ModuleNotFoundError) and error.name in LIBRARIES else None
    )


def pytest_configure(config: pytest.Config) -> None:
    if find_spec("torch") is None:
        config.pluginmanager.register(SkippingPlugin(), "missing-libraries")
