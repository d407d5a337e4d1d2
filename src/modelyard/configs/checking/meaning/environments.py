"""Contradictions in the environments of a project."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.environments import find_mistakes, find_undeclared
from modelyard.configs.kinds.environments import ProjectEnvironments
from modelyard.core.errors import Diagnostic


def check(settings: ProjectEnvironments, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with the environments."""
    yield from find_mistakes(settings)
    yield from find_undeclared(settings.environments, view.configs.live)
