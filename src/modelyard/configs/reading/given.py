"""The catalogue of a check: the project's, or just the files given where there is no project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import kind_of
from modelyard.configs.reading.selection import configs_below
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project, find_project


class GivenConfigs(ConfigCatalogue):
    """The configs of files and folders outside any project; they can only name each other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(Project(Path.cwd()))
        self._given: dict[str, list[Path]] = {}
        for path in paths:
            for one in configs_below(path) if path.is_dir() else [path]:
                self._given.setdefault(_kind(one), []).append(one)

    def paths(self, kind: str | None = None) -> list[Path]:
        """The given files of a kind, or of all kinds."""
        if kind is None:
            return [path for paths in self._given.values() for path in paths]
        return self._given.get(kind, [])


def _kind(path: Path) -> str:
    try:
        return kind_of(path, str(path)).name
    except ModelyardError:
        return ""


def open_catalogue(words: Sequence[str]) -> ConfigCatalogue:
    """The configs of the project around here, else around a file named, else just the files named.

    Raises InvalidInput when there is no project and no file is named either.
    """
    try:
        return ConfigCatalogue(find_project())
    except InvalidInput:
        paths = [
            path.absolute() for path in map(Path, filter(None, words)) if os.path.lexists(path)
        ]
        if os.environ.get("MODELS_PROJECT") or not paths:
            raise
        for project in _projects_around(paths):
            return ConfigCatalogue(project)
        return GivenConfigs(paths)


def _projects_around(paths: Sequence[Path]) -> Iterator[Project]:
    for path in paths:
        try:
            yield find_project(path)
        except InvalidInput:
            continue
