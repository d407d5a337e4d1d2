"""The search indexes of a project: what is indexed, by which encoder, ranked how, in which file.

The file of an index is named after the settings that decide its content. So environments with equal
ones share it, those of others lie beside it, and an edit of a draft changes no file that another
environment reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import (
    EmbeddingGroup,
    Encoder,
    Fusion,
    IndexSettings,
    Modality,
    SearchRules,
)
from modelyard.core.errors import InvalidInput, did_you_mean
from modelyard.core.layout import Project
from modelyard.deployments.running import running_settings

CHUNKING_VERSION = 7
"""Increased when files are split differently: indexes are then rebuilt in their place, and the old
ones answer until then."""

_DECISIVE_SETTINGS = ("chunker", "chunk_tokens", "max_file_size_bytes", "redact")
_DECISIVE_ENCODER = (
    "source",
    "model",
    "endpoint",
    "dimensions",
    "max_tokens",
    "query_prefix",
    "document_prefix",
)


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
    modalities: tuple[Modality, ...]
    """What it is for."""
    path: Path
    """Its file, which updates write: models/embeddings/GROUP/NAME@DIGEST.index."""
    former_path: Path
    """The file that versions of 2026-11 kept for all settings, GROUP/NAME.index; only read."""

    @property
    def label(self) -> str:
        """GROUP/NAME."""
        return f"{self.group}/{self.name}"

    @property
    def readable_path(self) -> Path:
        """The file to search: the index's own, or while it has none, the former one."""
        if not self.path.exists() and self.former_path.is_file():
            return self.former_path
        return self.path

    @property
    def chunking(self) -> str:
        """A digest of all settings that decide how files are split into chunks."""
        chosen = asdict(self.settings)
        parts = {key: chosen[key] for key in ("chunker", "chunk_tokens", "redact")}
        text = json.dumps({**parts, "version": CHUNKING_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_digest(settings: IndexSettings, encoder: Encoder) -> str:
    """Identifies the settings that decide what an index contains, in 8 hex digits.

    Those that only rank its chunks, or only decide how fast or for how much vectors are made, are
    no part of it. The order of globs is none either.
    """
    decisive = {
        "encoder": {key: getattr(encoder, key) for key in _DECISIVE_ENCODER},
        "sources": sorted(set(settings.sources)),
        "exclude": sorted(set(settings.exclude)),
        **{key: getattr(settings, key) for key in _DECISIVE_SETTINGS},
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]


def declared_index(
    project: Project,
    group: str,
    name: str,
    *,
    settings: IndexSettings,
    encoder: Encoder,
    fusion: Fusion,
    modalities: tuple[Modality, ...] = ("text",),
) -> SearchIndex:
    """The index GROUP/NAME with these settings, and where its files are."""
    return SearchIndex(
        group=group,
        name=name,
        settings=settings,
        encoder=encoder,
        fusion=fusion,
        modalities=modalities,
        path=project.search_index(group, name, settings_digest(settings, encoder)),
        former_path=project.former_search_index(group, name),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What the embedding configs of one environment say."""

    indexes: Mapping[str, SearchIndex]
    """Every search index by GROUP/NAME."""
    rules: SearchRules | None
    """The rules of the first embedding config that has a `search` part."""


def load_search_settings(
    project: Project, environment: str = DEFAULT_ENVIRONMENT
) -> SearchSettings:
    """The search indexes of an environment, and how they are searched.

    Raises ProblemsFound when an embedding config is not valid there, NotDeployed when nothing is
    deployed there.
    """
    return build_search_settings(
        project, running_settings(project, environment, "embedding_models")
    )


def build_search_settings(project: Project, groups: Mapping[str, EmbeddingGroup]) -> SearchSettings:
    """The search settings that these embedding configs, by name, come to."""
    indexes = [
        declared_index(
            project,
            group_name,
            name,
            settings=settings,
            encoder=group.encoder,
            fusion=settings.fusion or group.fusion,
            modalities=group.modalities,
        )
        for group_name, group in groups.items()
        for name, settings in group.domains.items()
        if group.encoder is not None  # `models validate-config` reports a group without one
    ]
    return SearchSettings(
        indexes={index.label: index for index in indexes},
        rules=next((group.search for group in groups.values() if group.search), None),
    )


def load_indexes(
    project: Project, environment: str = DEFAULT_ENVIRONMENT
) -> Mapping[str, SearchIndex]:
    """Every search index of an environment by GROUP/NAME; raises as `load_search_settings` does."""
    return load_search_settings(project, environment).indexes


def missing_indexes(project: Project, groups: Mapping[str, EmbeddingGroup]) -> tuple[str, ...]:
    """GROUP/NAME of each index of these embedding configs, by name, that has no file to search."""
    indexes = build_search_settings(project, groups).indexes
    return tuple(label for label, index in indexes.items() if not index.readable_path.exists())


def update_command(labels: Iterable[str], environment: str) -> str:
    """The command that updates these indexes (none: all) in an environment."""
    words = ["models update-embeddings", *(f"--domain {label}" for label in labels)]
    if environment != DEFAULT_ENVIRONMENT:
        words.append(f"--env {environment}")
    return " ".join(words)


def where_to_declare(environment: str) -> str:
    """What to do in an environment where no index is declared."""
    if environment == DEFAULT_ENVIRONMENT:
        return "declare one in configs/embedding_models/"
    deploy = f"models deploy-config embedding_models/NAME --env {environment}"
    return f"deploy the config that declares one: `{deploy}`"


def index_lock(project: Project, group: str, name: str) -> Path:
    """The lock under which all files of an index, whatever its settings, are written."""
    return project.lock(f"search-{group}", name)


def require_modality(indexes: Sequence[SearchIndex], modality: Modality) -> list[SearchIndex]:
    """Those of some indexes that are for text, code or images. Raises InvalidInput for none."""
    found = [index for index in indexes if modality in index.modalities]
    if not found:
        have = "; ".join(
            f"{group}: {', '.join(modalities)}"
            for group, modalities in {index.group: index.modalities for index in indexes}.items()
        )
        raise InvalidInput(
            f"none of these indexes is for {modality}" + (f" ({have})" if have else ""),
            hint="`modalities` of a config in configs/embedding_models/ says what its indexes are "
            "for",
        )
    return found


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
