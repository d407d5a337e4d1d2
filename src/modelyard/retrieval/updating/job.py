"""One update of one index: what every step works with, and the counts of what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders
from modelyard.results.json_form import published
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.embed import Embedding
from modelyard.retrieval.indexes import SearchIndex


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many files or chunks are new, changed, moved, removed and unchanged."""

    added: int = 0
    """New."""
    changed: int = 0
    """With other content in the same place."""
    moved: int = 0
    """With the same content in another place."""
    removed: int = 0
    """No longer there."""
    reused: int = 0
    """Unchanged."""

    @property
    def total(self) -> int:
        """How many there are now."""
        return self.added + self.changed + self.moved + self.reused


@dataclass(slots=True, kw_only=True)
class IndexUpdate:
    """What an update of one index did, or would do."""

    index: str = field(metadata=published("domain"))
    """GROUP/NAME."""
    dry_run: bool
    """Whether nothing was written."""
    built: str | None = None
    """Why the whole index was rebuilt; None: it was changed in place."""
    files: Counts = field(default_factory=Counts)
    """Its files."""
    chunks: Counts = field(default_factory=Counts, metadata=published("passages"))
    """Their chunks."""
    embedded: int = 0
    """Texts that the encoder embedded."""
    from_cache: int = 0
    """Texts whose vector was known, from the cache or an earlier index."""
    taken_over: str | None = None
    """The file of other settings that it began as a copy of; None: it had its own, or was built."""
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """Files that were left out in whole or in part, by reason."""
    unknown: str | None = None
    """Why a dry run could not count chunks; None: it could."""
    charged_tokens: int | None = None
    """Tokens that the encoder's service charged for, in a dry run an estimate; null: it runs here,
    or was not needed."""
    cost_usd: float | None = None
    """What they cost, in dollars; null where they are."""
    took_s: float = 0.0
    """How long it took, in seconds."""

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to do."""
        return (
            self.built is None and self.files.reused == self.files.total and not self.files.removed
        )

    def skip(self, reason: str, path: str) -> None:
        """Note that a file, or a part of it, is left out."""
        self.skipped.setdefault(reason, []).append(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUpdate:
    """One index that was updated, or would be."""

    update: IndexUpdate = field(metadata=published(inline=True, without=("dry_run",)))
    unchanged: bool
    """Whether there was nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUpdates:
    """The indexes that were updated, or would be."""

    dry_run: bool
    """Whether nothing was written."""
    indexes: tuple[ListedUpdate, ...] = field(metadata=published("domains"))
    """Each index that was asked for."""
    removed: tuple[str, ...]
    """The index files that no environment needs any more: removed, or to be."""


def list_updates(
    updates: Sequence[IndexUpdate], *, removed: Sequence[str] = (), dry_run: bool = False
) -> IndexUpdates:
    """Updates of several indexes, as programs read them."""
    indexes = tuple(ListedUpdate(update=done, unchanged=done.unchanged) for done in updates)
    return IndexUpdates(dry_run=dry_run, indexes=indexes, removed=tuple(removed))


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJob:
    """The index, what it is made with, and the counts of what is done to it."""

    project: Project
    """Where its files lie."""
    index: SearchIndex
    """The index to bring up to date."""
    encoders: Encoders
    """Opens the encoder when the first text needs it."""
    progress: Progress
    """Where progress is reported."""
    update: IndexUpdate
    """Counts, filled in step by step."""

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens of the encoder each text has."""
        return self.encoders.open(self.index.encoder).count_tokens(texts)

    @contextmanager
    def embedding(
        self, find_elsewhere: Callable[[Sequence[str]], Mapping[str, bytes]] | None = None
    ) -> Iterator[Embedding]:
        """What makes the vectors of this update; its counts are added at the end."""
        fingerprint = self.encoders.fingerprint(self.index.encoder)
        read_only = self.update.dry_run
        with open_cache(self.project, fingerprint, self.progress, read_only=read_only) as cache:
            embedding = Embedding(
                settings=self.index.encoder,
                encoders=self.encoders,
                cache=cache,
                progress=self.progress,
                find_elsewhere=find_elsewhere,
            )
            try:
                yield embedding
            finally:
                self._add(embedding)

    def _add(self, embedding: Embedding) -> None:
        update = self.update
        update.embedded += embedding.embedded
        update.from_cache += embedding.from_cache
        if embedding.cost_usd is not None and embedding.charged_tokens:
            update.charged_tokens = (update.charged_tokens or 0) + embedding.charged_tokens
            update.cost_usd = (update.cost_usd or 0.0) + embedding.cost_usd
