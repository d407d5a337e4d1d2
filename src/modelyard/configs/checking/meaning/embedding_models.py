"""Contradictions in the config of a group of indexes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from modelyard.configs.checking.meaning import check_repeated, problem, warning
from modelyard.configs.checking.meaning.calls import check_endpoint
from modelyard.configs.checking.view import EnvironmentView
from modelyard.configs.kinds.embedding_models import (
    EmbeddingGroup,
    Encoder,
    IndexSettings,
    SearchRules,
)
from modelyard.configs.kinds.language_models import is_loopback
from modelyard.core.errors import Diagnostic, KeyPath, did_you_mean, dotted
from modelyard.core.globs import glob_pattern

_WHEEL_ENCODERS = {"all-minilm-l6-v2": (384, 512)}
"""Encoders that come in a package: numbers of a vector, positions for tokens."""

_FILLED_LATER = (".models/", "experiments/")
"""Folders that fill while people work, so that it is no mistake if they are empty."""

_MOST_WALKED = 20_000
"""Files that are compared with a glob; where there are more, it counts as finding one."""
_ALIKE = 0.75
"""How alike the name of a folder must be to one that is there, as difflib measures it."""
_WILD = re.compile(r"[*?\[]")


def check(group: EmbeddingGroup, name: str, view: EnvironmentView) -> Iterator[Diagnostic]:
    """Everything that is wrong with one group."""
    encoder = group.encoder
    if group.domains and encoder is None:
        yield problem(
            ("domains",),
            "incomplete",
            "'encoder' is required where there are domains: nothing else turns text into vectors",
            hint="such as the one of text_embeddings",
        )
    if not group.domains and encoder is None and group.search is None:
        yield warning((), "empty", "a group with no domains, no encoder and no search has no use")
    if encoder is not None:
        yield from _check_encoder(encoder, view)
        if encoder.source == "wheel" and "image" in group.modalities:
            yield problem(
                ("modalities",),
                "contradiction",
                f"'modalities' has images, and {encoder.model} takes text only",
                hint="take an encoder for both, such as a CLIP model from the hub",
            )
    for domain, rules in group.domains.items():
        yield from _check_domain(rules, ("domains", domain), encoder)
    if view.has_project:
        yield from _check_files(group, view)
    if group.search is not None:
        yield from _check_search(group.search, view)


def _check_encoder(encoder: Encoder, view: EnvironmentView) -> Iterator[Diagnostic]:
    if encoder.source == "wheel":
        yield from _check_wheel(encoder)
    elif encoder.source == "hub" and encoder.model.count("/") != 1:
        yield problem(
            ("encoder", "model"),
            "wrong-form",
            f"'encoder.model' must be OWNER/NAME for the source hub, not '{encoder.model}'",
        )
    elif encoder.source == "path" and view.has_project:
        yield from _check_folder(encoder.model, ("encoder", "model"), view)
    if encoder.source == "endpoint":
        for key, why in (
            ("endpoint", "it has no default URL"),
            ("price_per_million", "an unknown price is not zero; for one of your own write $0"),
        ):
            if getattr(encoder, "price_per_million_usd" if key != "endpoint" else key) is None:
                message = f"'encoder.{key}' is required for the source endpoint: {why}"
                yield problem(("encoder", key), "incomplete", message)
        yield from check_endpoint(encoder.endpoint, encoder.api_key, ("encoder", "endpoint"))
        if encoder.stays_local and encoder.endpoint and not is_loopback(encoder.endpoint):
            yield problem(
                ("encoder", "stays_local"),
                "contradiction",
                "'encoder.stays_local' contradicts 'endpoint', which is another machine's address",
                hint="name it by a loopback address, such as http://127.0.0.1:8000/v1, or leave "
                "'stays_local' out",
            )
        return
    for key, value in (
        ("endpoint", encoder.endpoint),
        ("api_key", encoder.api_key),
        ("price_per_million", encoder.price_per_million_usd),
        ("stays_local", encoder.stays_local or None),
    ):
        if value is not None:
            yield problem(
                ("encoder", key),
                "contradiction",
                f"'encoder.{key}' contradicts the source {encoder.source}, which runs here and "
                "costs nothing",
                hint="leave it out, or write `source: endpoint`",
            )


def _check_folder(name: str, path: KeyPath, view: EnvironmentView) -> Iterator[Diagnostic]:
    if not view.project.written_path(name).is_dir():
        yield problem(
            path,
            "unknown-reference",
            f"'{dotted(path)}' names the folder '{name}', which does not exist",
            hint="a relative path starts at the project",
        )


def _check_wheel(encoder: Encoder) -> Iterator[Diagnostic]:
    if encoder.model not in _WHEEL_ENCODERS:
        known = list(_WHEEL_ENCODERS)
        yield problem(
            ("encoder", "model"),
            "unknown-reference",
            f"'encoder.model' names '{encoder.model}', which no package contains"
            f"{did_you_mean(encoder.model, known)}",
            hint=f"there is: {', '.join(known)}; others come with the sources hub, path, endpoint",
        )
        return
    numbers, tokens = _WHEEL_ENCODERS[encoder.model]
    if encoder.dimensions != numbers:
        yield problem(
            ("encoder", "dimensions"),
            "contradiction",
            f"'encoder.dimensions' is {encoder.dimensions}, and {encoder.model} gives {numbers}",
            hint=f"write {numbers}",
        )
    if encoder.max_tokens > tokens:
        yield problem(
            ("encoder", "max_tokens"),
            "token-limits",
            f"'encoder.max_tokens' is {encoder.max_tokens}, and {encoder.model} has positions for "
            f"{tokens}",
            hint=f"at most {tokens}; it was trained with 256",
        )


def _check_domain(
    domain: IndexSettings, path: KeyPath, encoder: Encoder | None
) -> Iterator[Diagnostic]:
    name = path[-1]
    if encoder is not None and domain.chunk_tokens > encoder.max_tokens:
        yield problem(
            (*path, "chunk_tokens"),
            "token-limits",
            f"'chunk_tokens' of {name} is {domain.chunk_tokens}, and the encoder sees only the "
            f"first {encoder.max_tokens}: the rest could not be found",
            hint=f"at most {encoder.max_tokens}",
        )
    if not domain.sources:
        yield problem(
            (*path, "sources"),
            "empty",
            f"'sources' of {name} is empty, so that there is nothing to find",
            hint="such as ['docs/**/*.md']",
        )
    for key in ("sources", "exclude", "rank_below"):
        for place, glob in enumerate(getattr(domain, key)):
            yield from _check_glob(glob, (*path, key, place))


def _check_files(group: EmbeddingGroup, view: EnvironmentView) -> Iterator[Diagnostic]:
    """The domains for which there is no file, though something like it is there.

    Those of a new project wait for folders that are still to come; their updates say how many files
    they find.
    """
    empty = [
        name
        for name, domain in group.domains.items()
        if domain.sources
        and not _finds_any(domain.sources, view)
        and any(_is_misplaced(glob, view.project.root) for glob in domain.sources)
    ]
    if empty:
        named = f"{', '.join(empty[:-1])} and {empty[-1]}" if empty[1:] else empty[0]
        would_be = "their indexes are" if empty[1:] else "its index is"
        yield warning(
            ("domains", empty[0], "sources"),
            "no-files",
            f"'sources' of {named} find no file in this project, so that {would_be} empty",
            hint="globs start at the project's root: write where your files are, or leave it out "
            "until there are some",
        )


def _finds_any(globs: tuple[str, ...], view: EnvironmentView) -> bool:
    if any(glob.startswith(_FILLED_LATER) or list(_check_glob(glob, ())) for glob in globs):
        return True
    return any(_finds_a_file(view.project.root, glob) for glob in globs)


def _is_misplaced(glob: str, root: Path) -> bool:
    """Whether a glob that finds nothing leads into a folder that is there, or to a name that is
    nearly one of those at the project's root."""
    first, *further = glob.split("/")
    if _WILD.search(first):
        return False
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:
        return False
    return (first in names and bool(further)) or bool(get_close_matches(first, names, 1, _ALIKE))


def _check_search(search: SearchRules, view: EnvironmentView) -> Iterator[Diagnostic]:
    if not search.groups:
        yield problem(
            ("search", "groups"),
            "empty",
            "'search.groups' is empty, so that a search without a domain finds nothing",
        )
    yield from check_repeated(search.groups, ("search", "groups"))
    for key in ("top", "reranked"):
        if getattr(search, key) > search.candidates:
            yield problem(
                ("search", key),
                "contradiction",
                f"'search.{key}' is {getattr(search, key)}, and there are only "
                f"{search.candidates} 'search.candidates' to take them from",
                hint=f"raise 'search.candidates', or lower 'search.{key}'",
            )
    if search.reranker is not None and view.has_project:
        yield from _check_folder(search.reranker, ("search", "reranker"), view)


def _check_glob(glob: str, path: KeyPath) -> Iterator[Diagnostic]:
    """What keeps a glob from naming files of the project."""
    steps = glob.split("/")
    if not glob.strip():
        why = "is empty"
    elif glob.startswith(("/", "~")) or re.match(r"[A-Za-z]:", glob):
        why = f"is '{glob}', which does not start in the project"
    elif ".." in steps:
        why = f"is '{glob}', which leads out of the project"
    elif "\\" in glob:
        why = f"is '{glob}'; folders are separated by '/'"
    elif any("**" in step and step != "**" for step in steps):
        why = f"is '{glob}', where '**' is not a whole folder name, and so means no more than '*'"
    else:
        return
    yield problem(
        path,
        "wrong-glob",
        f"'{dotted(path)}' {why}",
        hint="write it from the project's root, such as 'docs/**/*.md'",
    )


@lru_cache(maxsize=4096)
def _finds_a_file(root: Path, glob: str) -> bool:
    """Whether there is a file that a glob names; also true where there are too many to compare."""
    steps = glob.split("/")
    wild = next((place for place, step in enumerate(steps) if _WILD.search(step)), len(steps))
    start = root.joinpath(*steps[:wild])
    if wild == len(steps):
        return start.is_file()
    matches = glob_pattern("/".join(steps[wild:])).fullmatch
    walked = 0
    for folder, folders, names in os.walk(start):
        if "**" not in steps and len(Path(folder).relative_to(root).parts) >= len(steps) - 1:
            folders.clear()
        shown = os.path.relpath(folder, start)
        for name in names:
            if matches(name if shown == "." else f"{shown}/{name}"):
                return True
        walked += len(names) + len(folders)
        if walked > _MOST_WALKED:
            return True
    return False
