"""What searches for answers: a few searchers, each used by one thread at a time.

A searcher keeps its indexes open and its encoder in memory, so it is kept for the next request; one
whose configs have changed since is closed instead. The encoders are shared by all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import Effective
from modelyard.deployments.running import drafts_stamp

if TYPE_CHECKING:
    from modelyard.configs.kinds.embedding_models import Encoder
    from modelyard.encoders import Encoders, TextEncoder
    from modelyard.retrieval.results import SearchResults
    from modelyard.retrieval.search import Searcher

_AT_ONCE = 4
"""Searches under way; each takes a core for some milliseconds, or waits for an encoder."""


class Searchers:
    """The searchers of a project; threads may share it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._idle: list[tuple[Any, Searcher]] = []
        """Each with the environment and what its configs were."""
        self._encoders: Encoders | None = None

    def for_answer(self, effective: Effective, *, within_s: float) -> SearchOfAnswer:
        """What searches for one answer, by the configs that are live now.

        within_s: how long it waits for others that search.
        """
        return SearchOfAnswer(self, effective, within_s)

    @contextmanager
    def borrow(self, effective: Effective, within_s: float) -> Iterator[Searcher]:
        """A searcher, until the block is left.

        Raises ModelyardError when others search all that time, and for configs that are not valid.
        """
        if not self._slots.acquire(timeout=min(within_s, threading.TIMEOUT_MAX)):
            raise ModelyardError(
                f"other searches took the {within_s:.1f} s that there were", hint="ask again"
            )
        try:
            stamp = self._stamp(effective)
            searcher = self._take(stamp) or self._open(effective.environment)
            try:
                yield searcher
            except BaseException as error:
                if not isinstance(error, ModelyardError):  # ^C may have come in the middle
                    searcher.close()
                    raise
                self._give_back(stamp, searcher)
                raise
            self._give_back(stamp, searcher)
        finally:
            self._slots.release()

    def _give_back(self, stamp: Any, searcher: Searcher) -> None:
        with self._lock:
            self._idle.append((stamp, searcher))

    def close(self) -> None:
        """Close what nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, searcher in idle:
            searcher.close()

    def _stamp(self, effective: Effective) -> Any:
        environment = effective.environment
        drafts = drafts_stamp(self._project) if environment == DEFAULT_ENVIRONMENT else None
        return environment, effective.revision, drafts

    def _take(self, stamp: Any) -> Searcher | None:
        """An idle searcher of these configs; those of the same environment's earlier ones go."""
        with self._lock:
            outdated = [each for each in self._idle if each[0][0] == stamp[0] and each[0] != stamp]
            self._idle = [each for each in self._idle if each not in outdated]
            place = next((n for n, each in enumerate(self._idle) if each[0] == stamp), None)
            found = None if place is None else self._idle.pop(place)[1]
        for _, searcher in outdated:
            searcher.close()
        return found

    def encoder(self, settings: Encoder) -> TextEncoder:
        """The encoder of a group of indexes, fetched and loaded if it was not."""
        encoders = self._shared_encoders()
        with self._lock:
            return encoders.open(settings)

    def _open(self, environment: str) -> Searcher:
        from modelyard.retrieval.search import Searcher

        encoders = self._shared_encoders()
        return Searcher(self._project, environment=environment, encoders=encoders)

    def _shared_encoders(self) -> Encoders:
        from modelyard.encoders import Encoders

        with self._lock:
            if self._encoders is None:
                self._encoders = Encoders(project=self._project, progress=Silent())
            return self._encoders


class SearchOfAnswer:
    """The search of one answer: what is wrong with its configs fails it, and not the answer."""

    def __init__(self, searchers: Searchers, effective: Effective, within_s: float) -> None:
        self._searchers, self._effective, self._within_s = searchers, effective, within_s

    def search(self, text: str, **settings: Any) -> SearchResults:
        """What `Searcher.search` finds."""
        with self._searchers.borrow(self._effective, self._within_s) as searcher:
            return searcher.search(text, **settings)
