"""The configs that a check looks at: the whole set, and its settings in each environment."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document
from modelyard.configs.reading.shape import Shaped, check_shape
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project

if TYPE_CHECKING:  # the classes of a kind are loaded when a file of it is read
    from modelyard.configs.kinds.integration import ModelIntegration
    from modelyard.configs.kinds.language_models import LanguageModel
    from modelyard.configs.kinds.specialized_models import SpecializedModel

_MOST_WALKED = 64
"""Models on the way of a fallback that each check of a file walks by itself."""

Question = tuple[str, str]
"""What a check asks about more than its own file: which of these, and about what."""
CONFIG, NAMES, WORD, ALIAS = "config", "names", "word", "alias"
"""The files of a config KIND/NAME; the names of a kind; the language model that a word stands for;
the files of language models that may have a word as an alias, each of which is asked about too."""
PROJECT, OTHER = "project", "other"
"""The bases, datasets and adapters of the project; anything else."""


class ConfigSet:
    """The configs of a project, and those that are checked; the shape of each is checked once.

    A checked file that does not lie in the project's configs/ replaces the one of its name: a draft
    is checked as if it were in place. `read` are those that are read at once, all by default; where
    all lie in configs/ the others are when they are asked for. `asked` collects what is asked about
    them; whoever checks one file after the other empties it in between.
    """

    def __init__(
        self,
        catalogue: ConfigCatalogue,
        checked: Sequence[Path],
        environments: tuple[str, ...],
        live: Collection[str] = (),
        *,
        read: Sequence[Path] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.project = catalogue.project
        self.environments = environments
        self.asked: set[Question] = set()
        self._checked = frozenset(checked)
        self._live = live
        self._shaped: dict[Path, Shaped] = {}
        self._drafts: dict[tuple[str, str], list[Path]] = {}
        self._names: dict[str, list[str]] = {}
        self._found: dict[tuple[str, str], Document | None] = {}
        in_place = frozenset(catalogue.paths())
        documents = []
        for path in (
            checked if read is None else read
        ):  # all are read before the first is looked up by its name
            try:
                documents.append(catalogue.inspect(path))
            except ModelyardError:
                continue  # the check of this file reports it
        for document in documents:
            self.shaped(document)
            if not document.problems and document.path not in in_place:
                self._drafts.setdefault(_key(document.kind.name, document.name), []).append(
                    document.path
                )

    @property
    def checked(self) -> frozenset[Path]:
        """The files that are checked."""
        self.asked.add((OTHER, ""))
        return self._checked

    @property
    def live(self) -> Collection[str]:
        """The environments in which something is live."""
        self.asked.add((OTHER, ""))
        return self._live

    def paths_named(self, kind: str, name: str) -> list[Path]:
        """The files that give a config of a kind this name, drafts before all others."""
        self.asked.add((CONFIG, f"{kind}/{name}"))
        if drafts := self._drafts.get(_key(kind, name)):
            return drafts
        if KINDS[kind].single:
            return self.catalogue.paths(kind)
        return self.catalogue.paths_named(kind, name)

    def find(self, kind: str, name: str) -> Document | None:
        """The config of that name, if there is one that can be read."""
        key = (kind, name)
        self.asked.add((CONFIG, f"{kind}/{name}"))
        if key not in self._found:
            documents = map(self.catalogue.readable, self.paths_named(kind, name))
            self._found[key] = next(filter(None, documents), None)
        return self._found[key]

    def names(self, kind: str) -> list[str]:
        """The names of a kind."""
        self.asked.add((NAMES, kind))
        if kind not in self._names:
            drafts = {name for of_kind, name in self._drafts if of_kind == kind}
            self._names[kind] = sorted(drafts.union(self.catalogue.names_given(kind)))
        return self._names[kind]

    def may_have_alias(self, word: str) -> list[str]:
        """The names of the language models that may have a word as an alias."""
        self.asked.add((ALIAS, word))
        drafts = {name for kind, name in self._drafts if kind == "language_models"}
        return sorted(drafts.union(name for name, _ in self.catalogue.may_have_alias(word)))

    def all_asked(self, path: Path) -> frozenset[Question]:
        """What was asked in the check of a file, with what the files asked about hang on."""
        files = {path}.union(*(files_behind(self.catalogue, *each) for each in self.asked))
        words = {word for file in files for word in self.catalogue.models_named_in(file)}
        return frozenset(self.asked).union((WORD, word) for word in words)

    def shaped(self, document: Document) -> Shaped:
        """The settings of a document, or why it has none."""
        if document.path not in self._shaped:
            self._shaped[document.path] = check_shape(document, self.environments)
        return self._shaped[document.path]


def files_behind(catalogue: ConfigCatalogue, what: str, about: str) -> list[Path]:
    """The files that a question is about."""
    if what == CONFIG:
        kind, _, name = about.partition("/")
        if KINDS[kind].single:
            return catalogue.paths(kind)
        return catalogue.paths_named(kind, name)
    return []


def _key(kind: str, name: str) -> tuple[str, str]:
    """Of a kind with one file there is one config, whatever it is called."""
    return kind, kind if KINDS[kind].single else name


class EnvironmentView:
    """The settings of every config in one environment, by kind and name."""

    def __init__(self, configs: ConfigSet, environment: str) -> None:
        self.configs = configs
        self.environment = environment
        self.cycles: set[frozenset[str]] = set()
        """The fallback cycles that are already reported."""
        self.has_project = configs.project.configs.is_dir() and configs.project.models.is_dir()
        """Whether there is a project, with base models and datasets, and not only some files."""
        self._acyclic: set[str] = set()
        self._settings: dict[tuple[str, str], Any] = {}

    def settings(self, kind: str, name: str) -> Any:
        """The settings of a config; None when there is none, or its shape is wrong."""
        key = (kind, name)
        self.configs.asked.add((CONFIG, f"{kind}/{name}"))
        if key not in self._settings:
            document = self.configs.find(kind, name)
            shaped = self.configs.shaped(document) if document else None
            self._settings[key] = shaped.settings.get(self.environment) if shaped else None
        return self._settings[key]

    def model(self, name: str | None) -> LanguageModel | None:
        """A language model."""
        return (
            cast("LanguageModel | None", self.settings("language_models", name)) if name else None
        )

    @property
    def project(self) -> Project:
        """The project, for whatever a check looks for in it."""
        self.configs.asked.add((OTHER, ""))
        return self.configs.project

    @property
    def surroundings(self) -> Project:
        """The project, for a check that looks for nothing but bases, datasets and adapters."""
        self.configs.asked.add((PROJECT, ""))
        return self.configs.project

    @property
    def acyclic(self) -> set[str]:
        """Models whose fallback is known to lead into no cycle; it may be added to."""
        if len(self._acyclic) > _MOST_WALKED:
            self.configs.asked.add((OTHER, ""))
        return self._acyclic

    def begin_file(self) -> None:
        """Let the check of a file ask for all that it hangs on, whatever others asked before it.

        Where fallbacks lead through many models it need not: they are walked once.
        """
        if len(self._acyclic) <= _MOST_WALKED:
            self._acyclic.clear()

    def models_called(self, word: str) -> list[str]:
        """The language models of that name or alias, the one of the name first."""
        named = [word] if self.model(word) is not None else []
        for name in self.configs.may_have_alias(word):
            model = self.model(name)
            if name != word and model is not None and word in model.aliases:
                named.append(name)
        return named

    def domain(self, name: str) -> SpecializedModel | None:
        """The specialised model of a domain."""
        joint = self.integration
        chosen = joint.primary_models.tasks.get(name, name) if joint else name
        return cast("SpecializedModel | None", self.settings("specialized_models", chosen))

    @property
    def integration(self) -> ModelIntegration | None:
        """How the models work together."""
        found = self.settings("integration", "integration")
        return found.model_integration if found else None

    def groups(self) -> Iterator[tuple[str, Any]]:
        """Every group of indexes whose shape is right, by name."""
        for name in self.configs.names("embedding_models"):
            settings = self.settings("embedding_models", name)
            if settings is not None:
                yield name, settings

    def context_of_base(self, name: str) -> int | None:
        """The longest context that a base model was made for; None without a readable card.

        `models base list` says what is wrong with a card.
        """
        if not self.has_project:
            return None
        from modelyard.weights.catalogue import find_base

        try:
            return find_base(self.surroundings, name).context_length
        except ModelyardError:
            return None
