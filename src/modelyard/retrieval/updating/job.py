"""One update of one index: what every step of it works with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders.pool import Encoders
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.embed import Embedding
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.updating.cutting import CutFile, cut_file
from modelyard.retrieval.updating.outcome import IndexUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJob:
    """The index, what it is made with, and the counts of what is done to it."""

    project: Project
    """Where its files lie."""
    index: SearchIndex
    """What is brought in step."""
    encoders: Encoders
    """Opened when the first text is there."""
    progress: Progress
    """Told how far it is."""
    update: IndexUpdate
    """Counts; filled as the steps go."""

    def cut(self, source: SourceFile) -> CutFile | None:
        """A file in chunks; None, with the reason reported, when it cannot be read."""
        return cut_file(source, self.index.settings, self._count_tokens, self.update)

    def _count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        return self.encoders.open(self.index.encoder).count_tokens(texts)

    @contextmanager
    def embedding(self) -> Iterator[Embedding]:
        """What makes the vectors of this update; what it made is counted at the end."""
        fingerprint = self.encoders.fingerprint(self.index.encoder)
        read_only = self.update.dry_run
        with open_cache(self.project, fingerprint, self.progress, read_only=read_only) as cache:
            embedding = Embedding(
                settings=self.index.encoder,
                encoders=self.encoders,
                cache=cache,
                progress=self.progress,
            )
            yield embedding
        self.update.embedded += embedding.embedded
        self.update.from_cache += embedding.from_cache
