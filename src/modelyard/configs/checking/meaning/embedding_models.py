"""What a group of search domains cannot mean."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.meaning.endpoints import check_plain_http
from modelyard.configs.checking.meaning.globs import check_glob, finds_a_file
from modelyard.configs.checking.meaning.mistake import Mistake, warning
from modelyard.configs.checking.scene import Scene
from modelyard.configs.kinds.embedding_models import (
    EmbeddingGroup,
    Encoder,
    IndexSettings,
    SearchRules,
)
from modelyard.core.errors import KeyPath, did_you_mean

_WHEEL_ENCODERS = {"all-minilm-l6-v2": (384, 512)}
"""Encoders that come in a package: numbers of a vector, positions for tokens."""

_FILLED_LATER = (".models/", "experiments/")
"""Places that fill while people work: that nothing is there yet says nothing."""


def check(group: EmbeddingGroup, name: str, scene: Scene) -> Iterator[Mistake]:
    """Everything that is wrong with one group."""
    encoder = group.encoder
    if group.domains and encoder is None:
        yield Mistake(
            ("domains",),
            "incomplete",
            "'encoder' is required where there are domains: nothing else turns text into vectors",
            hint="such as the one of text_embeddings",
        )
    if not group.domains and encoder is None and group.search is None:
        yield warning((), "empty", "a group with no domains, no encoder and no search has no use")
    if encoder is not None:
        yield from _check_encoder(encoder, scene)
        if encoder.source == "wheel" and "image" in group.modalities:
            yield Mistake(
                ("modalities",),
                "contradiction",
                f"'modalities' has images, and {encoder.model} sees text only",
                hint="take an encoder for both, such as a CLIP model from the hub",
            )
    for domain, rules in group.domains.items():
        yield from _check_domain(rules, ("domains", domain), encoder, scene)
    if group.search is not None:
        yield from _check_search(group.search, scene)


def _check_encoder(encoder: Encoder, scene: Scene) -> Iterator[Mistake]:
    if encoder.source == "wheel":
        yield from _check_wheel(encoder)
    elif encoder.source == "hub" and encoder.model.count("/") != 1:
        yield Mistake(
            ("encoder", "model"),
            "wrong-form",
            f"'encoder.model' must be OWNER/NAME for the source hub, not '{encoder.model}'",
        )
    elif encoder.source == "path" and scene.has_project:
        yield from _check_folder(encoder.model, ("encoder", "model"), scene)
    if encoder.source == "endpoint":
        for key, why in (
            ("endpoint", "nobody else knows where it answers"),
            ("price_per_million", "an unknown price is not zero; for one of your own write $0"),
        ):
            if getattr(encoder, "price_per_million_usd" if key != "endpoint" else key) is None:
                message = f"'encoder.{key}' is required for the source endpoint: {why}"
                yield Mistake(("encoder",), "incomplete", message)
        yield from check_plain_http(encoder.endpoint, encoder.api_key, ("encoder", "endpoint"))
        return
    for key, value in (
        ("endpoint", encoder.endpoint),
        ("api_key", encoder.api_key),
        ("price_per_million", encoder.price_per_million_usd),
    ):
        if value is not None:
            yield Mistake(
                ("encoder", key),
                "contradiction",
                f"'encoder.{key}' contradicts the source {encoder.source}, which runs here and "
                "costs nothing",
                hint="leave it out, or write `source: endpoint`",
            )


def _check_folder(name: str, path: KeyPath, scene: Scene) -> Iterator[Mistake]:
    if not scene.project.written_path(name).is_dir():
        key = ".".join(str(part) for part in path)
        yield Mistake(
            path,
            "unknown-reference",
            f"'{key}' names the folder '{name}', which does not exist",
            hint="a relative path starts at the project",
        )


def _check_wheel(encoder: Encoder) -> Iterator[Mistake]:
    if encoder.model not in _WHEEL_ENCODERS:
        known = list(_WHEEL_ENCODERS)
        yield Mistake(
            ("encoder", "model"),
            "unknown-reference",
            f"'encoder.model' names '{encoder.model}', which comes in no package"
            f"{did_you_mean(encoder.model, known)}",
            hint=f"there is: {', '.join(known)}; others come with the sources hub, path, endpoint",
        )
        return
    numbers, tokens = _WHEEL_ENCODERS[encoder.model]
    if encoder.dimensions != numbers:
        yield Mistake(
            ("encoder", "dimensions"),
            "contradiction",
            f"'encoder.dimensions' is {encoder.dimensions}, and {encoder.model} gives {numbers}",
            hint=f"write {numbers}",
        )
    if encoder.max_tokens > tokens:
        yield Mistake(
            ("encoder", "max_tokens"),
            "token-limits",
            f"'encoder.max_tokens' is {encoder.max_tokens}, and {encoder.model} has places for "
            f"{tokens}",
            hint=f"at most {tokens}; it was trained with 256",
        )


def _check_domain(
    domain: IndexSettings, path: KeyPath, encoder: Encoder | None, scene: Scene
) -> Iterator[Mistake]:
    name = path[-1]
    if encoder is not None and domain.chunk_tokens > encoder.max_tokens:
        yield Mistake(
            (*path, "chunk_tokens"),
            "token-limits",
            f"'chunk_tokens' of {name} is {domain.chunk_tokens}, and the encoder sees only the "
            f"first {encoder.max_tokens}: the rest could not be found",
            hint=f"at most {encoder.max_tokens}",
        )
    if not domain.sources:
        yield Mistake(
            (*path, "sources"),
            "empty",
            f"'sources' of {name} is empty, so that there is nothing to find",
            hint="such as ['docs/**/*.md']",
        )
    for key in ("sources", "exclude", "rank_below"):
        for place, glob in enumerate(getattr(domain, key)):
            yield from check_glob(glob, (*path, key, place))
    if domain.sources and scene.has_project and not _finds_any(domain.sources, scene):
        yield warning(
            (*path, "sources"),
            "no-files",
            f"'sources' of {name} find no file in this project, so that its index would be empty",
            hint="globs start at the project's root",
        )


def _finds_any(globs: tuple[str, ...], scene: Scene) -> bool:
    if any(glob.startswith(_FILLED_LATER) or list(check_glob(glob, ())) for glob in globs):
        return True
    return any(finds_a_file(scene.project.root, glob) for glob in globs)


def _check_search(search: SearchRules, scene: Scene) -> Iterator[Mistake]:
    if not search.groups:
        yield Mistake(
            ("search", "groups"),
            "empty",
            "'search.groups' is empty, so that a search without a domain finds nothing",
        )
    for place, group in enumerate(search.groups):
        if group in search.groups[:place]:
            yield Mistake(
                ("search", "groups", place),
                "repeated",
                f"'{group}' is already in 'search.groups'",
                hint="leave one out",
            )
    for key in ("top", "reranked"):
        if getattr(search, key) > search.candidates:
            yield Mistake(
                ("search", key),
                "contradiction",
                f"'search.{key}' is {getattr(search, key)}, and there are only "
                f"{search.candidates} 'search.candidates' to take them from",
                hint=f"raise 'search.candidates', or lower 'search.{key}'",
            )
    if search.reranker is not None and scene.has_project:
        yield from _check_folder(search.reranker, ("search", "reranker"), scene)
