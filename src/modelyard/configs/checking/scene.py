"""What all the configs around one come to in an environment: what its names are resolved in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document
from modelyard.configs.reading.shape import Shaped, check_shape
from modelyard.core.errors import ModelyardError, did_you_mean
from modelyard.core.layout import Project

if TYPE_CHECKING:  # the classes of a kind are loaded when a file of it is read
    from modelyard.configs.kinds.integration import ModelIntegration
    from modelyard.configs.kinds.language_models import LanguageModel
    from modelyard.configs.kinds.specialized_models import SpecializedModel

_MOST_COMPARED = 100
"""Names that a misspelt one is compared with: more takes longer than the whole check."""


class Shelf:
    """The configs of a project, and those that are checked, each held against its shape once.

    A checked file that does not lie in the project's configs/ stands in for the one of its name: a
    draft is checked as if it were in place.
    """

    def __init__(
        self, catalogue: ConfigCatalogue, checked: Sequence[Path], environments: tuple[str, ...]
    ) -> None:
        self.catalogue = catalogue
        self.checked = frozenset(checked)
        self.environments = environments
        self._shaped: dict[Path, Shaped] = {}
        self._drafts: dict[tuple[str, str], list[Path]] = {}
        self._names: dict[str, list[str]] = {}
        self._found: dict[tuple[str, str], Document | None] = {}
        self._in_place = frozenset(catalogue.paths())
        for path in checked:
            draft = self.read(path)  # all are read before the first is looked for by its name
            if draft is not None and path not in self._in_place:
                self._drafts.setdefault(_spot(draft.kind.name, draft.name), []).append(path)

    @property
    def project(self) -> Project:
        """The project that the configs lie in."""
        return self.catalogue.project

    def read(self, path: Path) -> Document | None:
        """The document of a file; None when it cannot be read."""
        try:
            return self.catalogue.read(path)
        except ModelyardError:
            return None

    def paths_named(self, kind: str, name: str) -> list[Path]:
        """The files that give a config of a kind this name, drafts before all others."""
        if drafts := self._drafts.get(_spot(kind, name)):
            return drafts
        if kind == "integration":
            return self.catalogue.paths(kind)
        return self.catalogue.paths_named(kind, name)

    def find(self, kind: str, name: str) -> Document | None:
        """The config of that name, if there is one that can be read."""
        spot = (kind, name)
        if spot not in self._found:
            documents = (self.read(path) for path in self.paths_named(kind, name))
            self._found[spot] = next((one for one in documents if one is not None), None)
        return self._found[spot]

    def names(self, kind: str) -> list[str]:
        """The names of a kind."""
        if kind not in self._names:
            drafts = {name for of_kind, name in self._drafts if of_kind == kind}
            self._names[kind] = sorted(drafts.union(self.catalogue.names_given(kind)))
        return self._names[kind]

    def shaped(self, document: Document) -> Shaped:
        """A document held against its settings class."""
        found = self._shaped.get(document.path)
        if found is None:
            found = self._shaped[document.path] = check_shape(document, self.environments)
        return found


def _spot(kind: str, name: str) -> tuple[str, str]:
    """There is one integration config, whatever it is called."""
    return kind, "integration" if kind == "integration" else name


class Scene:
    """The settings of every config in one environment, by kind and name."""

    def __init__(self, shelf: Shelf, environment: str) -> None:
        self.shelf = shelf
        self.environment = environment
        self.cycles: set[frozenset[str]] = set()
        """The fallback cycles that are already reported."""
        self.acyclic: set[str] = set()
        """Models that are known to lead into none."""
        self.has_project = shelf.project.configs.is_dir() and shelf.project.models.is_dir()
        """Whether there is a project, with base models and datasets, and not only some files."""
        self._settings: dict[tuple[str, str], Any] = {}

    @property
    def project(self) -> Project:
        """The project that the configs lie in."""
        return self.shelf.project

    def settings(self, kind: str, name: str) -> Any:
        """The settings of a config; None when there is none, or it does not have its shape."""
        spot = (kind, name)
        if spot not in self._settings:
            document = self.shelf.find(kind, name)
            shaped = self.shelf.shaped(document) if document else None
            self._settings[spot] = shaped.settings.get(self.environment) if shaped else None
        return self._settings[spot]

    def model(self, name: str | None) -> LanguageModel | None:
        """A language model."""
        found: LanguageModel | None = self.settings("language_models", name) if name else None
        return found

    def domain(self, name: str) -> SpecializedModel | None:
        """The specialised model of a domain."""
        joint = self.integration
        chosen = joint.primary_models.tasks.get(name, name) if joint else name
        found: SpecializedModel | None = self.settings("specialized_models", chosen)
        return found

    @property
    def integration(self) -> ModelIntegration | None:
        """How the models work together."""
        found = self.settings("integration", "integration")
        return found.model_integration if found else None

    def groups(self) -> Iterable[tuple[str, Any]]:
        """Every group of search domains that has its shape, by name."""
        for name in self.shelf.names("embedding_models"):
            settings = self.settings("embedding_models", name)
            if settings is not None:
                yield name, settings


def suggest(word: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known name, or an empty string."""
    return _suggest(word, tuple(known))


@lru_cache(maxsize=1024)  # a mistake is met once for each environment
def _suggest(word: str, known: tuple[str, ...]) -> str:
    if len(known) <= _MOST_COMPARED:
        return did_you_mean(word, known)
    spellings = _one_letter_less(known)
    near = {name: None for one in _without_a_letter(word) for name in spellings.get(one, ())}
    return did_you_mean(word, list(near)[:_MOST_COMPARED])


@lru_cache(maxsize=16)
def _one_letter_less(names: tuple[str, ...]) -> Mapping[str, list[str]]:
    """The names by what is left of each when one letter is gone.

    Two words that share such a spelling differ in one letter, added, left out, changed or swapped.
    """
    spellings: dict[str, list[str]] = {}
    for name in names:
        for one in _without_a_letter(name):
            spellings.setdefault(one, []).append(name)
    return spellings


def _without_a_letter(word: str) -> Iterator[str]:
    yield word
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]


def kind_word(kind: str) -> str:
    """What one config of a kind is called in a message."""
    words = {
        "language_models": "language model",
        "specialized_models": "specialised model",
        "embedding_models": "embedding group",
        "performance_profiles": "performance profile",
        "test_suites": "test suite",
    }
    return words.get(kind, KINDS[kind].name.replace("_", " ") if kind in KINDS else kind)
