"""Boosts: what counts besides meaning and words. A file's age, its rank, its name in the query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.opened import Source
from modelyard.retrieval.query import glob_pattern
from modelyard.retrieval.ranking import Rows

RANKED_BELOW = 0.7
"""What counts of the score of a chunk that `rank_below` names."""
NAMED_FILE = 0.25
"""What a chunk gains when the query names its file."""


class BoostRules:
    """Which boosts the chunks of one index get for one query."""

    def __init__(self, settings: IndexSettings, named: Rows | None, now: datetime) -> None:
        """named: the rows of files that the query names."""
        self._below: list[re.Pattern[str]] = [glob_pattern(glob) for glob in settings.rank_below]
        self._half_life_s = settings.recency_half_life_s
        self._named = frozenset(named.tolist()) if named is not None else frozenset[int]()
        self._now = now

    @property
    def change_nothing(self) -> bool:
        """Whether no chunk gets any, so that their order is the one of the mix."""
        return not (self._below or self._half_life_s or self._named)

    def of(self, row: int, source: Source) -> Mapping[str, float]:
        """The boosts of a chunk by name, as in `Scores.boosts`."""
        boosts: dict[str, float] = {}
        is_named = row in self._named  # who names a test wants the test
        if not is_named and any(pattern.match(source.path) for pattern in self._below):
            boosts["rank_below"] = RANKED_BELOW
        if self._half_life_s:
            boosts["recency"] = _recency(source, self._now, self._half_life_s)
        if is_named:
            boosts["named_file"] = NAMED_FILE
        return boosts


def apply_boosts(score: float, boosts: Mapping[str, float]) -> float:
    """The score with its boosts; one that is not above zero is not made better by a fraction."""
    factor = boosts.get("rank_below", 1.0) * boosts.get("recency", 1.0)
    return (score * factor if score > 0 else score) + boosts.get("named_file", 0.0)


def _recency(source: Source, now: datetime, half_life_s: float) -> float:
    """How much a chunk counts for its age: 1 now, a half after `half_life_s`."""
    for written in (source.last_seen, source.modified_at):
        try:
            at = datetime.fromisoformat(written or "")
        except ValueError:
            continue
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return float(0.5 ** (max(0.0, (now - at).total_seconds()) / half_life_s))
    return 1.0
