"""One config file, read: its kind, its name, what it says and where it says it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from modelyard.configs.environments import (
    ENVIRONMENTS_FILE,
    STANDARD,
    DeclaredEnvironments,
    did_you_mean_environment,
)
from modelyard.configs.kinds import KINDS, Kind
from modelyard.configs.kinds.parts import NAME_PATTERN
from modelyard.configs.reading.given import GIVEN, GivenSettings
from modelyard.configs.reading.recognition import HOLDER, refuse_other_text, require_config
from modelyard.configs.reading.spellings import Naming, respell
from modelyard.core.errors import Diagnostic, InvalidInput, KeyPath, ModelyardError, ProblemsFound
from modelyard.settings.converters import Where
from modelyard.settings.fields import settings_fields
from modelyard.settings.marks import choices_of, unwrap
from modelyard.settings.yaml_files import YamlSource, inspect_yaml

SUFFIXES = (".yaml", ".yml")
_SCHEMA_LINE = re.compile(r"#\s*yaml-language-server:\s*\$schema=\S*?(\w+)\.json")
_HEAD_BYTES = 4096
_NAME_LINE = re.compile(rf"""^["']?name["']?[ \t]*:[ \t]+["']?({NAME_PATTERN})""", re.MULTILINE)
_MOST_PEEKED = 1_000_000
_NAME = re.compile(NAME_PATTERN)
_ALIASES_KEY = "aliases"
_ALIASES = re.compile(
    rf"""{_ALIASES_KEY}["']?[ \t]*:(.*?)(?=\n[ \t]*["']?[A-Za-z_][\w-]*["']?[ \t]*:|\Z)""",
    re.DOTALL,
)
"""The key, and all before the next line that has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One config file, parsed; its settings are not checked yet."""

    path: Path
    """Where it lies."""
    kind: Kind
    """What kind of config it is."""
    name: str
    """What other configs call it: `name:`, else the file's name without `_config`."""
    source: YamlSource
    """What it says, and where."""
    environments: DeclaredEnvironments = STANDARD
    """The environments that it can have overlays for."""
    problems: tuple[Diagnostic, ...] = ()
    """What is wrong with its YAML, its name and its environments; empty but from inspect_document.
    """
    doubtful: frozenset[KeyPath] = frozenset()
    """The values that have one of these problems."""
    given: GivenSettings | None = None
    """Settings of a command line that are laid over it in every environment."""

    @property
    def label(self) -> str:
        """KIND/NAME, as `models deploy-config` takes it; of a kind with one file only KIND."""
        return self.kind.name if self.kind.single else f"{self.kind.name}/{self.name}"

    @property
    def overlays(self) -> Mapping[str, Any]:
        """What it says otherwise for an environment, by environment; nothing inherited."""
        if not self.kind.deployable:
            return {}
        overlays = self.source.value.get("environments") or {}
        if not self.problems:
            return cast(Mapping[str, Any], overlays)
        if not isinstance(overlays, dict):
            return {}
        return {
            environment: overlay
            for environment, overlay in overlays.items()
            if environment in self.environments.declared
            and (overlay is None or isinstance(overlay, dict))
            and ("environments", environment) not in self.doubtful
        }

    def layers(self, environment: str | None) -> dict[str, Mapping[str, Any]]:
        """The overlays that hold in an environment, the lowest first: those inherited, its own,
        and what was given on the command line."""
        overlays = self.overlays
        if not environment:
            return {}
        lineage = self.environments.lineage(environment) if overlays else ()
        layers = {name: overlay for name in lineage if (overlay := overlays.get(name))}
        return layers if self.given is None else {**layers, GIVEN: self.given.values}

    def where_in(self, layer: str, path: KeyPath) -> str:
        """Where one of these layers says what is at a path: `file:line:col`, or `--set KEY`."""
        if layer == GIVEN and self.given is not None:
            return self.given.where(path)
        return self.source.where(("environments", layer, *path))

    def refuse_problems(self) -> None:
        """Raises ProblemsFound when there are any."""
        if self.problems:
            raise ProblemsFound(f"{self.source.name} is not valid", self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a document says in one environment: its settings with the overlay laid over them."""

    values: dict[str, Any]
    """The merged settings, as written (`5 seconds`), without `name` and `environments`."""
    where: Callable[[KeyPath], str]
    """Where the value at a key path was written, `file:line:col`."""
    written: Where | None
    """How a number with an exponent is written at a key path; None where there is none."""


def load_document(
    path: Path,
    *,
    shown: str | None = None,
    kind: str | None = None,
    environments: DeclaredEnvironments = STANDARD,
    naming: Naming | None = None,
) -> Document:
    """Read one config file; `shown` is how errors call it, `kind` what it is when that is known.

    `environments` are those that it can have overlays for, `naming` gives the names of language
    models for their aliases.
    Raises ModelyardError when it cannot be read, is not YAML, or is no mapping.
    """
    document = inspect_document(
        path, shown=shown, kind=kind, environments=environments, naming=naming
    )
    document.refuse_problems()
    return document


def inspect_document(
    path: Path,
    *,
    shown: str | None = None,
    kind: str | None = None,
    environments: DeclaredEnvironments = STANDARD,
    naming: Naming | None = None,
    data: bytes | None = None,
) -> Document:
    """Read as much of a config file as is possible; what is wrong with it is in `problems`.

    `naming` gives the names of language models for their aliases; `data` is the content of the file
    where it is not read from `path`.
    Raises ModelyardError when nothing could be read, or when it is no mapping.
    """
    try:
        source = inspect_yaml(path, name=shown, data=data)
    except ProblemsFound as error:
        if any(problem.code == "yaml-syntax" for problem in error.problems):
            text = (path.read_bytes() if data is None else data).decode(errors="replace")
            refuse_other_text(text, shown or str(path))
        raise
    if isinstance(source.value, dict):
        source = _without_holders(source)
    try:
        found = KINDS[kind] if kind else kind_of(path, source.name, data)
    except ProblemsFound:
        require_config(source, None)
        raise
    require_config(source, found)
    source = respell(source, found, naming or (lambda word: word))
    wrong = tuple(_header_problems(source, environments)) if found.deployable else ()
    if (other := _other_schema(source, found)) is not None:
        source = replace(source, warnings=(*source.warnings, other))
    doubtful = source.doubtful.union(problem.path for problem in wrong)
    given = source.value.get("name") if "name" in found.header_keys else None
    if ("name",) in doubtful:
        given = None
    return Document(
        path=path,
        kind=found,
        name=given or config_name(path),
        source=source,
        environments=environments,
        problems=(*source.problems, *wrong),
        doubtful=doubtful,
    )


def _without_holders(source: YamlSource) -> YamlSource:
    """The source without the keys at its top that only hold anchors."""
    holders = [key for key in source.value if key.startswith(HOLDER)]
    if not holders:
        return source
    kept = {key: value for key, value in source.value.items() if key not in holders}
    return replace(source, value=kept)


def _other_schema(source: YamlSource, kind: Kind) -> Diagnostic | None:
    """A warning when the schema line names another kind than the file is."""
    named = _SCHEMA_LINE.search(source.text, 0, _HEAD_BYTES)
    if named is None or named[1] == kind.name or named[1] not in KINDS:
        return None
    line = source.text.count("\n", 0, named.start()) + 1
    return Diagnostic(
        message=f"the schema line says {named[1]}, and the file is read as {kind.name}",
        where=f"{source.name}:{line}:1",
        hint=f"name {kind.name}.json there, or move the file",
        code="other-schema",
    )


def is_config_name(name: str) -> bool:
    """Whether a file of this name is a config; hidden ones are what editors and systems leave."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def config_name(path: Path) -> str:
    """The name of a config that does not give itself one."""
    return path.stem.removesuffix("_config")


def peek_name(path: Path) -> str:
    """The name of the config in a file, without parsing it."""
    try:
        return peek_name_in(_head(path, _MOST_PEEKED), path)
    except OSError:
        return config_name(path)


def peek_name_in(text: str, path: Path) -> str:
    """The name of the config in the text of a file, without parsing it."""
    given = _NAME_LINE.search(text) if "name" in text else None
    return given[1] if given else config_name(path)


def peek_alias_words(path: Path, data: bytes | None = None) -> frozenset[str] | None:
    """Words among which are all aliases in the file of a language model, which is not parsed; None
    where it could say any, since a backslash may write a letter in another way.

    `data` is its content where that is not read from `path`.
    """
    try:
        text = _head(path, _MOST_PEEKED) if data is None else data.decode(errors="replace")
    except OSError:
        return frozenset()
    if "\\" in text:
        return None
    if _ALIASES_KEY not in text:
        return frozenset()
    groups = [found[1] for found in _ALIASES.finditer(text)]
    if len(groups) < text.count(_ALIASES_KEY) or any("*" in group for group in groups):
        groups = [text]
    return frozenset(word for group in groups for word in _NAME.findall(group))


def peek_aliases(path: Path, data: bytes | None = None) -> list[str]:
    """The other names that the language model in a file answers to, in any environment.

    `data` is its content where that is not read from `path`.
    """
    try:
        value = inspect_yaml(path, data=data).value
    except (OSError, ModelyardError):
        return []
    overlays = value.get("environments") if isinstance(value, dict) else None
    written = [value, *(overlays.values() if isinstance(overlays, dict) else ())]
    lists = [each.get("aliases") for each in written if isinstance(each, dict)]
    return [word for each in lists if isinstance(each, list) for word in map(str, each)]


def _head(path: Path, size_bytes: int) -> str:
    """The beginning of a regular file; empty for anything else, which is not read."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    try:
        is_file = stat.S_ISREG(os.fstat(handle).st_mode)
        return os.read(handle, size_bytes).decode(errors="replace") if is_file else ""
    finally:
        os.close(handle)


def kind_of(path: Path, shown: str, data: bytes | None = None) -> Kind:
    """The kind of a file: by its folder, else by the schema that its first lines name.

    `data` is its content where that is not read from `path`.
    """
    folder = os.path.dirname(path.absolute()).rpartition("/")[2]  # noqa: PTH120 (of 1,000 files)
    if folder in KINDS:
        return KINDS[folder]
    named_like = KINDS.get(path.stem) if path.suffix in SUFFIXES else None
    if named_like is not None and named_like.single:
        return named_like
    if data is None and path.exists() and not path.is_file():  # a pipe would never end
        what = "is a folder" if path.is_dir() else "is no regular file"
        raise InvalidInput(f"{what}, so it is no config", where=shown)
    try:
        if data is None:
            head = _head(path, _HEAD_BYTES)
        else:
            head = data[:_HEAD_BYTES].decode(errors="replace")
        named = _SCHEMA_LINE.search(head)
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", where=shown) from error
    if named and named[1] in KINDS:
        return KINDS[named[1]]
    if data is not None and not data.strip():
        raise InvalidInput("is empty", where=f"{shown}:1:1", hint="pipe a config into the command")
    of_stdin = ", or say what it is of: `--stdin-filename FILE`" if data is not None else ""
    raise ProblemsFound(
        f"{shown} is not valid",
        [
            Diagnostic(
                message=f"the kind of this config is unknown; kinds are {', '.join(KINDS)}",
                where=f"{shown}:1:1",
                hint="put it under configs/KIND/, or begin it with "
                f"`# yaml-language-server: $schema=.../KIND.json`{of_stdin}",
                code="unknown-kind",
            )
        ],
    )


def _header_problems(
    source: YamlSource, environments: DeclaredEnvironments
) -> Iterator[Diagnostic]:
    """What is wrong with the name and the environments, but for what is doubtful already."""
    for wrong in (*_wrong_name(source.value), *_wrong_overlays(source.value, environments)):
        if wrong.path not in source.doubtful:
            yield replace(wrong, where=source.where(wrong.path))


def _wrong_name(values: Mapping[str, Any]) -> Iterator[Diagnostic]:
    name = values.get("name")
    if name is not None and not (isinstance(name, str) and re.fullmatch(NAME_PATTERN, name)):
        message = f"'name' must be a name such as 'code_analysis', not {name!r}"
        yield Diagnostic(message=message, code="wrong-form", path=("name",))


def _wrong_overlays(
    values: Mapping[str, Any], environments: DeclaredEnvironments
) -> Iterator[Diagnostic]:
    overlays = values.get("environments")
    if overlays is not None and not isinstance(overlays, dict):
        message = f"'environments' must be a mapping of {', '.join(environments.names)}"
        yield Diagnostic(message=message, code="wrong-type", path=("environments",))
        return
    for environment, overlay in (overlays or {}).items():
        path = ("environments", environment)
        if environment not in environments.declared and not environments.problems:
            near = did_you_mean_environment(environment, environments.names)
            yield Diagnostic(
                message=f"unknown environment '{environment}'{near}",
                hint=f"there are {', '.join(environments.names)}; declare another in "
                f"{ENVIRONMENTS_FILE}",
                code="unknown-key",
                path=path,
            )
        elif overlay is not None and not isinstance(overlay, dict):
            message = f"'environments.{environment}' must be a mapping"
            yield Diagnostic(message=message, code="wrong-type", path=path)


def resolve(document: Document, environment: str | None = None) -> Resolved:
    """What a document says in an environment; without one, where no overlay is laid over it.

    Mappings are merged key by key; a list or a single value replaces the one below it, and null
    resets a key or a group to its default.
    """
    source = document.source
    header = document.kind.header_keys
    values = {key: value for key, value in source.value.items() if key not in header}
    layers = document.layers(environment)
    for overlay in layers.values():
        values = _merge(values, overlay, document.kind.settings_class)
    exponents = source.exponents
    if document.given is not None:
        above = {
            ("environments", GIVEN, *at): said
            for at, said in document.given.source.exponents.items()
        }
        exponents = {**exponents, **above}
    tops: list[KeyPath] = [*(("environments", name) for name in reversed(layers)), ()]

    def written(path: KeyPath) -> str | None:
        found = (exponents.get((*top, *path)) for top in tops)
        return next(filter(None, found), None)

    return Resolved(
        values=values,
        where=written_where(document, environment),
        written=written if exponents else None,
    )


def written_where(document: Document, environment: str | None) -> Callable[[KeyPath], str]:
    """Returns `file:line:col` of the value that is effective in an environment, by key path."""
    source = document.source
    layers = document.layers(environment)
    if not layers:
        return source.where

    def where(path: KeyPath) -> str:
        top, known = "", _known_depth(source.value, path)
        for name, overlay in layers.items():
            depth = _known_depth(overlay, path)
            # An overlay that only has the value's group says nothing of a value set below it.
            if depth > 0 and depth >= known:
                top, known = name, depth
        return document.where_in(top, path) if top else source.where(path)

    return where


def _known_depth(value: Any, path: KeyPath) -> int:
    """How many steps of a key path lead somewhere."""
    for depth, step in enumerate(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any], group: Any) -> dict[str, Any]:
    """`above` laid over `below`: mappings merge key by key, null takes away, else it replaces.

    `group` is the type of both. Where any value may stand, as in a JSON Schema, null is a value.
    """
    merged = dict(below)
    for key, value in above.items():
        if value is not None and not isinstance(value, dict):
            merged[key] = value
            continue
        under, inner = merged.get(key), _type_at(group, key)
        if value is None and inner is not None:
            merged.pop(key, None)
        elif isinstance(value, dict) and (isinstance(under, dict) or inner is not None):
            merged[key] = _merge(under if isinstance(under, dict) else {}, value, inner)
        else:
            merged[key] = value
    return merged


@lru_cache
def _type_at(group: Any, key: str) -> Any:
    """The type of the value at a key of a group or a mapping; None where it may be anything."""
    marked = unwrap(group)
    choices, _ = choices_of(marked.hint)
    if len(choices) == 1 and choices[0] is not marked.hint:
        return _type_at(choices[0], key)
    if is_dataclass(marked.hint):
        known = settings_fields(cast(type, marked.hint)).get(key)
        return known.hint if known and unwrap(known.hint).hint is not Any else None
    if get_origin(marked.hint) is Mapping:
        item = get_args(marked.hint)[1]
        return None if item is Any else item
    return None
