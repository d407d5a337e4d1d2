"""Which configs there are: those of a project by kind and name, and those that a person names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from modelyard.configs.environments import STANDARD, DeclaredEnvironments
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.declared import read_declared
from modelyard.configs.reading.document import (
    SUFFIXES,
    Document,
    config_name,
    inspect_document,
    is_config_name,
    kind_of,
    peek_alias_words,
    peek_aliases,
    peek_name,
    peek_name_in,
)
from modelyard.configs.reading.given import read_given
from modelyard.core.errors import (
    Diagnostic,
    InvalidInput,
    ModelyardError,
    NoData,
    did_you_mean,
)
from modelyard.core.layout import Project, find_project
from modelyard.core.seen_from import without_dots

_FOLDERS = [kind.name for kind in KINDS.values() if not kind.single]
_SINGLE = [kind.name for kind in KINDS.values() if kind.single]


class ConfigCatalogue:
    """The configs of a project. Each file is read once. A file that is not valid has no name."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._read: dict[Path, Document | ModelyardError] = {}
        self._named: dict[str, dict[str, list[Path]]] = {}
        self._replacement: Path | None = None
        self._aliased: dict[str, list[str]] = {}
        self._aliases: dict[Path, list[str]] = {}
        self._contents: dict[Path, bytes] = {}
        self._words: dict[Path, set[str]] = {}

    def take_content(self, path: Path, data: bytes) -> None:
        """Read this instead of the file at a path; call it before any config is read."""
        self._contents[path] = data

    def content_of(self, path: Path) -> bytes | None:
        """What is read instead of the file; None where the file is read."""
        return self._contents.get(path)

    @cached_property
    def environments(self) -> DeclaredEnvironments:
        """The environments of the project; `problems` says what is wrong with their declaration."""
        paths = [self._replacement] if self._replacement else self.paths("environments")
        if not paths:
            return STANDARD
        try:
            document = inspect_document(
                paths[0], shown=self.project.show(paths[0]), data=self.content_of(paths[0])
            )
        except ModelyardError as error:
            whole = Diagnostic(message=error.message, where=error.where, hint=error.hint)
            return replace(STANDARD, problems=error.problems or (whole,))
        declared = read_declared(document)
        if paths[1:]:
            twice = Diagnostic(
                message=f"there is {paths[1].name} too, and only one of them would be read",
                where=f"{self.project.show(paths[0])}:1:1",
                hint="remove one",
                code="duplicate-name",
            )
            return replace(declared, problems=(*declared.problems, twice))
        return declared

    def replace_environments(self, path: Path) -> None:
        """Take the environments from another file; call it before any config is read."""
        self._replacement = path

    def paths(self, kind: str | None = None) -> list[Path]:
        """The files of a kind, or of all kinds, in the order of their names."""
        if kind is None:
            return [path for name in KINDS for path in self.paths(name)]
        if kind in _SINGLE:
            candidates = [self.project.configs / f"{kind}{suffix}" for suffix in SUFFIXES]
            return [path for path in candidates if os.path.lexists(path)]
        folder = self.project.configs / kind
        if not folder.is_dir():
            return []
        found = (path for path in folder.iterdir() if is_config_name(path.name))
        return sorted(found, key=lambda path: path.name)

    def deployable_paths(self) -> list[Path]:
        """The files of every kind that is deployed."""
        kinds = (kind.name for kind in KINDS.values() if kind.deployable)
        return [path for kind in kinds for path in self.paths(kind)]

    def read(self, path: Path) -> Document:
        """The document of one file. Raises ModelyardError, each time, when it cannot be read."""
        document = self.inspect(path)
        document.refuse_problems()
        return document

    def inspect(self, path: Path) -> Document:
        """The document of one file as far as it can be read: it may have `problems`.

        Raises ModelyardError, each time, when nothing of it can be read.
        """
        if path not in self._read:
            words = self._words[path] = set()

            def name_model(word: str) -> str:
                words.add(word)
                return self.name_model(word)

            try:
                self._read[path] = inspect_document(
                    path,
                    shown=self.project.show(path),
                    environments=self.environments,
                    naming=name_model,
                    data=self.content_of(path),
                )
            except ModelyardError as error:
                self._read[path] = error
        found = self._read[path]
        if isinstance(found, ModelyardError):
            raise found
        return found

    def models_named_in(self, path: Path) -> frozenset[str]:
        """The names and aliases of language models in a file, as it has them; once it was read."""
        return frozenset(self._words.get(path, ()))

    def lay_over(self, document: Document, assignments: Sequence[str]) -> Document:
        """The document with settings of a command line, `KEY=VALUE`, laid over it, from now on.

        Raises ProblemsFound for what is no assignment, or no setting of its kind.
        """
        given = read_given(assignments, document.kind, self.name_model)
        problems = (*document.problems, *given.problems())
        laid = replace(document, given=given, problems=problems)
        self._read[document.path] = laid
        laid.refuse_problems()
        return laid

    def readable(self, path: Path) -> Document | None:
        """The document of one file; None when it cannot be read or is not valid."""
        try:
            return self.read(path)
        except ModelyardError:
            return None

    def find(self, kind: str, name: str) -> Document | None:
        """The config of that name, if there is one that can be read."""
        documents = map(self.readable, self.paths_named(kind, name))
        return next((found for found in documents if found and found.name == name), None)

    def paths_named(self, kind: str, name: str) -> list[Path]:
        """The files that give a config of a kind this name: one, unless two took the same."""
        return self._by_name(kind).get(name, [])

    def name_model(self, word: str) -> str:
        """The name of the language model that has this name or alias; else the word itself."""
        if word in self._by_name("language_models"):
            return word
        if word not in self._aliased:
            candidates = self.may_have_alias(word)
            named = [name for name, path in candidates if word in self._aliases_in(path)]
            self._aliased[word] = list(dict.fromkeys(named))
        named = self._aliased[word]
        return named[0] if len(named) == 1 else word

    def may_have_alias(self, word: str) -> list[tuple[str, Path]]:
        """Name and file of each language model that may have a word as an alias; none is parsed."""
        by_word, any_word = self._by_alias_word
        return [*by_word.get(word, ()), *any_word]

    @cached_property
    def _by_alias_word(self) -> tuple[Mapping[str, list[tuple[str, Path]]], list[tuple[str, Path]]]:
        """Name and file of language models by the words that may be an alias of each; and of those
        that may have any word."""
        by_word: dict[str, list[tuple[str, Path]]] = {}
        any_word: list[tuple[str, Path]] = []
        for name, paths in self._by_name("language_models").items():
            for path in paths:
                words = peek_alias_words(path, self.content_of(path))
                if words is None:
                    any_word.append((name, path))
                for word in words or ():
                    by_word.setdefault(word, []).append((name, path))
        return by_word, any_word

    def _aliases_in(self, path: Path) -> list[str]:
        """The aliases in a file, which is parsed for it once."""
        if path not in self._aliases:
            self._aliases[path] = peek_aliases(path, self.content_of(path))
        return self._aliases[path]

    def _peek_name(self, path: Path) -> str:
        data = self.content_of(path)
        return (
            peek_name(path) if data is None else peek_name_in(data.decode(errors="replace"), path)
        )

    def names_given(self, kind: str) -> list[str]:
        """The names of a kind, those of files included that cannot be read."""
        return sorted(self._by_name(kind))

    def documents(self, kind: str) -> Iterator[Document]:
        """The configs of a kind that can be read."""
        yield from filter(None, map(self.readable, self.paths(kind)))

    def names(self, kind: str) -> list[str]:
        """The names of the configs of a kind."""
        return sorted(document.name for document in self.documents(kind))

    def locate(self, word: str, *, kind: str | None = None) -> Path:
        """The file that a person means by a path, a path below the project or its configs/,
        KIND/NAME, KIND/NAME.yaml, or a name.

        With a `kind`, a bare name is that of a config of this kind.
        Raises InvalidInput when there is none, or when a bare name fits several.
        """
        for path in (Path(word), self.project.configs / word, self.project.root / word):
            if word and os.path.lexists(path) and not path.is_dir():
                return without_dots(path)
        named_kind, _, name = word.partition("/")
        if named_kind in KINDS:
            namesakes = self.paths_named(named_kind, name or named_kind)
            if not namesakes and is_config_name(name):
                namesakes = self.paths_named(named_kind, Path(name).stem)
            if not namesakes:
                namesakes = [path for path in self.paths(named_kind) if path.stem == name]
            if len(namesakes) > 1:
                raise self._ambiguous(word, namesakes)
            if namesakes:
                return namesakes[0]
        wanted = config_name(Path(word))
        kinds = [kind] if kind else list(KINDS)
        named = [path for each in kinds for path in self.paths_named(each, word)]
        fitting = named or [path for path in self.paths(kind) if config_name(path) == wanted]
        if len(fitting) == 1 and "/" not in word:
            return fitting[0]
        if fitting and "/" not in word:
            raise self._ambiguous(word, fitting)
        raise InvalidInput(
            f"there is no config {word!r}{self._config_meant(word, kinds)}",
            hint="name a file, or KIND/NAME such as language_models/gpt4",
        )

    def _config_meant(self, word: str, kinds: Sequence[str]) -> str:
        """The config that is nearest to a word that is none, as an error suggests it."""
        if (model := self.name_model(word)) != word and "language_models" in kinds:
            return f" (did you mean '{model}', which has this alias?)"
        names = [(kind, name) for kind in kinds for name in self.names_given(kind)]
        if "/" not in word:
            wanted = config_name(Path(word)) if is_config_name(word) else word
            if near := did_you_mean(wanted, [name for _, name in names]):
                return near
        elif near := did_you_mean(word, ["/".join(pair) for pair in names]):
            return near
        files = (path for kind in kinds for path in self.paths(kind))
        return did_you_mean(word, sorted(map(self.project.show, files)))

    def name_meant(self, word: str, kind: str) -> str:
        """The name of the config of a kind that a person means by any of the forms of `locate`.

        A name is returned as it is where there is no such file: what is live may have no draft any
        more.
        Raises InvalidInput for a path to something else.
        """
        if "/" not in word and not is_config_name(word):
            files = [path for path in self.paths(kind) if path.stem == word]
            named = self.paths_named(kind, word) or not files
            return word if named else peek_name(files[0])
        try:
            path = self.locate(word, kind=kind)
        except InvalidInput:
            if Path(word).parent.name not in ("", kind):
                raise
            return config_name(Path(word)) if is_config_name(word) else Path(word).name
        found = kind_name(path)
        if found != kind:
            what = f"is of the kind {found}" if found else "is no config"
            raise InvalidInput(f"{word} {what}, and one of {kind} belongs here")
        if path not in self.paths(kind):
            raise InvalidInput(
                f"{word} is not one of the project's configs, so no command runs with it",
                hint=f"copy it to configs/{kind}/",
            )
        return peek_name(path)

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
                name = known.name if isinstance(known, Document) else self._peek_name(path)
                named.setdefault(name, []).append(path)
        return self._named[kind]


class GivenConfigs(ConfigCatalogue):
    """The configs of files and folders outside any project; they can only name each other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(Project(Path.cwd()))
        self._given: dict[str, list[Path]] = {}
        for given in paths:
            for path in configs_below(given) if given.is_dir() else [given]:
                self._given.setdefault(kind_name(path), []).append(path)

    def paths(self, kind: str | None = None) -> list[Path]:
        """The given files of a kind, or of all kinds."""
        if kind is None:
            return [path for paths in self._given.values() for path in paths]
        return self._given.get(kind, [])


def kind_name(path: Path) -> str:
    """The kind of a file, or an empty text when it has none."""
    try:
        return kind_of(path, str(path)).name
    except ModelyardError:
        return ""


def open_catalogue(words: Sequence[str], *, without_files: bool = False) -> ConfigCatalogue:
    """The configs of the project that one of the words lies in, else of that around the working
    folder, else the files named.

    Raises InvalidInput when there is no project and no file is named either, unless
    `without_files`: then there are no other configs.
    """
    if project := project_named(words):
        return ConfigCatalogue(project)
    try:
        return ConfigCatalogue(find_project())
    except InvalidInput:
        paths = [without_dots(Path(word)) for word in words if word and os.path.lexists(word)]
        if os.environ.get("MODELS_PROJECT") or not (paths or without_files):
            raise
    for path in paths:
        try:
            return ConfigCatalogue(find_project(path))
        except InvalidInput:
            continue
    return GivenConfigs(paths)


def project_named(words: Iterable[str]) -> Project | None:
    """The project whose config or folder one of the words is the path of.

    Of several the first; None where no word is, and where `$MODELS_PROJECT` or `--project` says
    which project it is.
    """
    if os.environ.get("MODELS_PROJECT"):
        return None
    return next(filter(None, map(_project_of, words)), None)


def by_project(words: Sequence[str]) -> list[list[str]]:
    """The words, those together that are paths in one project; all, where that is one at most.

    Raises InvalidInput for a word that could belong to any of several projects.
    """
    if os.environ.get("MODELS_PROJECT"):
        return [list(words)]
    named: dict[Path, list[str]] = {}
    others: list[str] = []
    by_folder: dict[str, Project | None] = {}
    for word in words:
        folder, _, name = word.rpartition("/")
        if not name.endswith(SUFFIXES):  # a name, or a folder itself
            project = _project_of(word)
        elif folder in by_folder:  # as most of a thousand files are
            project = by_folder[folder]
        else:
            project = by_folder[folder] = _project_of(word)
        (named.setdefault(project.root, []) if project else others).append(word)
    if len(named) < 2:
        return [list(words)]
    if others:
        raise InvalidInput(
            f"configs of several projects are named, and {others[0]!r} could belong to each",
            hint="name it by its path in one of them, or check it in a call of its own",
        )
    return list(named.values())


def _project_of(word: str) -> Project | None:
    """The project whose folder or config a word is the path of, if it is one."""
    if not word or not os.path.lexists(word):
        return None
    path = without_dots(Path(word))
    try:
        project = find_project(path)
    except InvalidInput:
        return None
    return project if path == project.root or path.is_relative_to(project.configs) else None


def select_configs(catalogue: ConfigCatalogue, words: Sequence[str]) -> list[Path]:
    """The files that the words name, each once, in their order; without words all of the project's.

    Raises InvalidInput for a word that names nothing, NoData when there is no config at all.
    """
    found = catalogue.paths() if not words else []
    for word in words:
        found += _named(catalogue, word)
    if not found:
        places = ", ".join(words) or catalogue.project.show(catalogue.project.configs)
        raise NoData(f"there is no config in {places}", hint="`models init DIR` makes examples")
    return list(dict.fromkeys(found))


def _named(catalogue: ConfigCatalogue, word: str) -> Iterable[Path]:
    if not word:
        raise InvalidInput("a config's name is empty", hint="name a file, a folder, or KIND/NAME")
    path = Path(word)
    if os.path.lexists(path) and not path.is_dir():
        return [without_dots(path)]
    folder = find_folder(catalogue, word)
    return configs_below(folder) if folder else [catalogue.locate(word)]


def find_folder(catalogue: ConfigCatalogue, word: str) -> Path | None:
    """The folder that a word names: a path, or one below the project or its configs/.

    A folder without a config is none where a config has that name.
    """
    path = Path(word)
    if not word or (os.path.lexists(path) and not path.is_dir()):
        return None
    places = (path, catalogue.project.configs / word, catalogue.project.root / word)
    folders = [without_dots(place) for place in places if place.is_dir()]
    with_configs = next((folder for folder in folders if any(configs_below(folder))), None)
    if with_configs or not folders or any(catalogue.paths_named(kind, word) for kind in KINDS):
        return with_configs
    return folders[0]


def configs_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that has the name of a config and a kind; nothing hidden.

    What is no file, such as a link to nowhere, is included: reading it reports what is wrong.
    """
    for place, folders, names in os.walk(folder):
        called = [name for name in folders if is_config_name(name)]
        folders[:] = sorted(
            name for name in folders if name not in called and not name.startswith(".")
        )
        for name in sorted((*names, *called)):
            path = Path(place, name)
            if is_config_name(name) and kind_name(path):
                yield path


def find_unread(project: Project) -> Iterator[Diagnostic]:
    """A warning with the code `not-read` for each YAML file below configs/ that is no config."""
    for place, folders, names in os.walk(project.configs):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        above = Path(place).relative_to(project.configs).parts
        for name in sorted(names):
            if not name.lower().endswith(SUFFIXES) or name.startswith("."):
                continue
            if why := _why_unread((*above, name)):
                message, hint = why
                yield Diagnostic(
                    message=f"is not read: {message}",
                    where=f"{project.show(Path(place, name))}:1:1",
                    hint=hint,
                    level="warning",
                    code="not-read",
                )


def _why_unread(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """Why the file at this path below configs/ is not read, and what to do; None if it is read."""
    folder, name = parts[0], parts[-1]
    if len(parts) == 1:
        if Path(name).stem in _SINGLE and is_config_name(name):
            return None
        files = [f"{kind}.yaml" for kind in _SINGLE]
        near = did_you_mean(name.lower(), files)
        message = f"beside the folders of the kinds only {' and '.join(files)} are read{near}"
        return message, "put it into configs/KIND/, or out of configs/"
    if folder not in _FOLDERS:
        near = did_you_mean(folder.lower(), _FOLDERS)
        return f"'{folder}' is no kind of config{near}", f"kinds are {', '.join(_FOLDERS)}"
    if len(parts) > 2:
        return f"it lies deeper than configs/{folder}/", f"put it into configs/{folder}/"
    if is_config_name(name):
        return None
    right = Path(name).stem.lower() + Path(name).suffix.lower()
    return f"configs end in .yaml or .yml, in lowercase (did you mean '{right}'?)", "rename it"
