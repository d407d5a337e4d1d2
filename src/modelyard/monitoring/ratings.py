"""Accuracy as people rate it: good and bad answers, by the ids of the answers."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from modelyard.core.clock import utc_text
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.monitoring.chosen_answers import Chosen
from modelyard.monitoring.periods import GROUP_COLUMNS, GroupBy, Period

_IDS_AT_ONCE = 500
_RATED = """
SELECT answer_id, rating, recorded_at FROM feedback
WHERE rating IS NOT NULL AND answer_id IS NOT NULL AND statement IS NULL
    AND recorded_at >= ? AND recorded_at <= ? ORDER BY id
"""


@dataclass(slots=True)
class Ratings:
    """How many answers were rated, and how many of them good."""

    good: int = 0
    """Rated good."""
    rated: int = 0
    """Rated."""

    def add(self, other: Ratings) -> None:
        """Add those of other answers."""
        self.good += other.good
        self.rated += other.rated


RatedFigures = dict[str | None, list[Ratings]]
"""By group, the ratings in each piece of the period; without groups, there is one: None."""


def read_ratings(
    project: Project,
    traffic: sqlite3.Connection,
    chosen: Chosen,
    period: Period,
    by: GroupBy | None = None,
) -> RatedFigures:
    """The ratings that were given in a period to the chosen answers.

    The time is that of the rating: answers are rated long after a short window has passed. Of
    several ratings of an answer the last one counts. Those of an answer that is not recorded, or
    that is known by its text only, are left out: who gave it is not known.
    """
    latest = {
        answer_id: (rating, _ms(recorded_at))
        for answer_id, rating, recorded_at in read_state(
            project, _RATED, (utc_text(period.start_ms), utc_text(period.end_ms))
        )
    }
    figures: RatedFigures = {} if by else {None: _pieces(period)}
    group = GROUP_COLUMNS[by] if by else "NULL"
    ids = list(latest)
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[start : start + _IDS_AT_ONCE]
        query = (
            f"SELECT answer_id, {group} FROM samples WHERE kind = 'answer' "
            f"AND answer_id IN ({', '.join('?' * len(some))}) AND {chosen.condition}"
        )
        for answer_id, name in traffic.execute(query, (*some, *chosen.values)):
            rating, rated_at_ms = latest[answer_id]
            if name not in figures:
                figures[name] = _pieces(period)
            piece = figures[name][period.piece_at(rated_at_ms)]
            piece.add(Ratings(good=rating == "good", rated=1))
    return figures


def _pieces(period: Period) -> list[Ratings]:
    return [Ratings() for _ in range(period.pieces)]


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
