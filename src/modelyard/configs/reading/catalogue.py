"""The configs of a project by kind and name, read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.document import (
    SUFFIXES,
    Document,
    config_name,
    inspect_document,
    is_config_name,
    peek_name,
)
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.core.layout import Project


class ConfigCatalogue:
    """The configs of a project. Each file is read once; a broken one is nobody's reference."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._read: dict[Path, Document | ModelyardError] = {}
        self._named: dict[str, dict[str, list[Path]]] = {}

    def paths(self, kind: str | None = None) -> list[Path]:
        """The files of a kind, or of all kinds, in the order of their names."""
        if kind is None:
            return [path for name in KINDS for path in self.paths(name)]
        if kind == "integration":
            candidates = [self.project.configs / f"integration{suffix}" for suffix in SUFFIXES]
            return [path for path in candidates if os.path.lexists(path)]
        folder = self.project.configs / kind
        if not folder.is_dir():
            return []
        found = (path for path in folder.iterdir() if is_config_name(path.name))
        return sorted(found, key=lambda path: path.name)

    def read(self, path: Path) -> Document:
        """The document of one file. Raises ModelyardError, each time, when it cannot be read."""
        document = self.inspect(path)
        document.refuse_problems()
        return document

    def inspect(self, path: Path) -> Document:
        """The document of one file for a search for its mistakes: it may have `problems`.

        Raises ModelyardError, each time, when nothing of it can be read.
        """
        if path not in self._read:
            try:
                self._read[path] = inspect_document(path, shown=self.project.show(path))
            except ModelyardError as error:
                self._read[path] = error
        found = self._read[path]
        if isinstance(found, ModelyardError):
            raise found
        return found

    def find(self, kind: str, name: str) -> Document | None:
        """The config of that name, if there is one that can be read."""
        for path in self.paths_named(kind, name):
            document = self._readable(path)
            if document is not None and document.name == name:
                return document
        return None

    def paths_named(self, kind: str, name: str) -> list[Path]:
        """The files that give a config of a kind this name: one, unless two took the same."""
        return self._by_name(kind).get(name, [])

    def names_given(self, kind: str) -> list[str]:
        """The names of a kind, those of files included that cannot be read."""
        return sorted(self._by_name(kind))

    def documents(self, kind: str) -> Iterator[Document]:
        """The configs of a kind that can be read."""
        for path in self.paths(kind):
            document = self._readable(path)
            if document is not None:
                yield document

    def names(self, kind: str) -> list[str]:
        """The names of the configs of a kind."""
        return sorted(document.name for document in self.documents(kind))

    def locate(self, word: str) -> Path:
        """The file that a person means by a path, a path below configs/, KIND/NAME, or a name.

        Raises InvalidInput when there is none, or when a bare name fits several.
        """
        for path in (Path(word), self.project.configs / word):
            if word and os.path.lexists(path) and not path.is_dir():
                return path.absolute()
        kind, _, name = word.partition("/")
        if kind in KINDS:
            namesakes = self.paths_named(kind, name or kind)
            if len(namesakes) > 1:
                raise self._ambiguous(word, namesakes)
            document = self.find(kind, name or kind)
            if document is not None:
                return document.path
        wanted = config_name(Path(word))
        fitting = [path for path in self.paths() if config_name(path) == wanted]
        if len(fitting) == 1 and "/" not in word:
            return fitting[0]
        if fitting and "/" not in word:
            raise self._ambiguous(word, fitting)
        known = sorted(self.project.show(path) for path in self.paths())
        raise InvalidInput(
            f"there is no config {word!r}{did_you_mean(word, known)}",
            hint="name a file, or KIND/NAME such as language_models/gpt4",
        )

    def _ambiguous(self, word: str, paths: list[Path]) -> InvalidInput:
        places = " and ".join(self.project.show(path) for path in paths)
        kinds = {path.parent.name for path in paths}
        how = "KIND/NAME" if len(kinds) == len(paths) else "the path of its file"
        return InvalidInput(f"{word!r} could be {places}", hint=f"say which: {how}")

    def _by_name(self, kind: str) -> dict[str, list[Path]]:
        """The files of a kind by the names of their configs; no file is parsed for it."""
        if kind not in self._named:
            named = self._named[kind] = {}
            for path in self.paths(kind):
                known = self._read.get(path)
                name = known.name if isinstance(known, Document) else peek_name(path)
                named.setdefault(name, []).append(path)
        return self._named[kind]

    def _readable(self, path: Path) -> Document | None:
        try:
            return self.read(path)
        except ModelyardError:
            return None
