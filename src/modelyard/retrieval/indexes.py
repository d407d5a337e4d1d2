"""The search indexes of a project: what is indexed, by which encoder, ranked how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import (
    EmbeddingGroup,
    Encoder,
    Fusion,
    IndexSettings,
    SearchRules,
)
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.shape import check_shape
from modelyard.core.errors import InvalidInput, ProblemsFound, did_you_mean
from modelyard.core.layout import Project

CHUNKING_VERSION = 3
"""Raised when readers cut differently: indexes made before are then built anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchIndex:
    """One search index, with everything that decides its content and its ranking."""

    group: str
    """The embedding config that it is declared in."""
    name: str
    """Its name, unique in the group."""
    settings: IndexSettings
    """What is indexed."""
    encoder: Encoder
    """What makes its vectors."""
    fusion: Fusion
    """How meaning and words are weighed."""
    path: Path
    """Its file: models/embeddings/GROUP/NAME.index."""

    @property
    def label(self) -> str:
        """GROUP/NAME."""
        return f"{self.group}/{self.name}"

    @property
    def chunking(self) -> str:
        """A digest of all that decides how files are cut; another one never mixes with it."""
        chosen = asdict(self.settings)
        parts = {key: chosen[key] for key in ("chunker", "chunk_tokens", "redact")}
        text = json.dumps({**parts, "version": CHUNKING_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_indexes(
    project: Project, environment: str = DEFAULT_ENVIRONMENT
) -> Mapping[str, SearchIndex]:
    """Every search index of the project by GROUP/NAME, as the configs say in an environment.

    Raises ProblemsFound when an embedding config is not valid there.
    """
    found: dict[str, SearchIndex] = {}
    for name, group in load_groups(project, environment).items():
        for index, settings in group.domains.items():
            if group.encoder is None:
                continue  # `models validate-config` says so
            one = SearchIndex(
                group=name,
                name=index,
                settings=settings,
                encoder=group.encoder,
                fusion=settings.fusion or group.fusion,
                path=project.search_index(name, index),
            )
            found[one.label] = one
    return found


def load_groups(project: Project, environment: str) -> Mapping[str, EmbeddingGroup]:
    """Every embedding config of the project by name."""
    catalogue = ConfigCatalogue(project)
    groups: dict[str, EmbeddingGroup] = {}
    for path in catalogue.paths("embedding_models"):
        document = catalogue.read(path)
        shaped = check_shape(document, (environment,))
        if shaped.problems:
            raise ProblemsFound(f"{document.source.name} is not valid", shaped.problems)
        groups[document.name] = shaped.settings[environment]
    return groups


def choose_indexes(
    indexes: Mapping[str, SearchIndex], words: Sequence[str], *, groups: Sequence[str] = ()
) -> list[SearchIndex]:
    """The indexes that are meant: by NAME or GROUP/NAME; without words, those of the groups.

    Raises InvalidInput for a word that is no index, or that fits several.
    """
    if not words:
        return [one for one in indexes.values() if not groups or one.group in groups]
    chosen: dict[str, SearchIndex] = {}
    for word in words:
        fitting = [one for one in indexes.values() if word in (one.name, one.label)]
        if len(fitting) != 1:
            known = sorted({one.name for one in indexes.values()} | set(indexes))
            problem = "could be " + " or ".join(one.label for one in fitting)
            raise InvalidInput(
                f"the search index {word!r} {problem}"
                if fitting
                else f"there is no search index {word!r}{did_you_mean(word, known)}",
                hint="indexes are declared in configs/embedding_models/: "
                + ", ".join(sorted(indexes)),
            )
        chosen[fitting[0].label] = fitting[0]
    return list(chosen.values())


def default_search_rules(
    project: Project, environment: str = DEFAULT_ENVIRONMENT
) -> SearchRules | None:
    """How a search that names no index goes: the first embedding config with a `search` part."""
    groups = load_groups(project, environment)
    return next((group.search for group in groups.values() if group.search), None)
