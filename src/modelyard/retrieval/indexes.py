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
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.layout import Project
from modelyard.deployments.running import running_settings

CHUNKING_VERSION = 3
"""Increased when files are split differently: older indexes are then rebuilt."""


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
        """A digest of all settings that decide how files are split into chunks."""
        chosen = asdict(self.settings)
        parts = {key: chosen[key] for key in ("chunker", "chunk_tokens", "redact")}
        text = json.dumps({**parts, "version": CHUNKING_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_indexes(
    project: Project, environment: str = DEFAULT_ENVIRONMENT
) -> Mapping[str, SearchIndex]:
    """Every search index of an environment by GROUP/NAME.

    Raises ProblemsFound when an embedding config is not valid there, NotDeployed when nothing is
    deployed there.
    """
    indexes = [
        SearchIndex(
            group=group_name,
            name=name,
            settings=settings,
            encoder=group.encoder,
            fusion=settings.fusion or group.fusion,
            path=project.search_index(group_name, name),
        )
        for group_name, group in load_groups(project, environment).items()
        for name, settings in group.domains.items()
        if group.encoder is not None  # `models validate-config` reports a group without one
    ]
    return {index.label: index for index in indexes}


def load_groups(project: Project, environment: str) -> Mapping[str, EmbeddingGroup]:
    """Every embedding config that runs in an environment, by name."""
    return running_settings(project, environment, "embedding_models")


def choose_indexes(
    indexes: Mapping[str, SearchIndex], words: Sequence[str], *, groups: Sequence[str] = ()
) -> list[SearchIndex]:
    """The indexes named by NAME or GROUP/NAME; without words, those of the groups.

    Raises InvalidInput for a word that is no index, or that fits several.
    """
    if not words:
        return [index for index in indexes.values() if not groups or index.group in groups]
    chosen: dict[str, SearchIndex] = {}
    for word in words:
        fitting = [index for index in indexes.values() if word in (index.name, index.label)]
        if len(fitting) != 1:
            known = sorted({index.name for index in indexes.values()} | set(indexes))
            problem = "could be " + " or ".join(index.label for index in fitting)
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
    """The rules of the first embedding config that has a `search` part."""
    groups = load_groups(project, environment).values()
    return next((group.search for group in groups if group.search), None)
