"""Measures of one ranking, and the mean of a measure over queries with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RESAMPLES = 2_000
Figures = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean over queries, with the 95% interval of a bootstrap over them."""

    value: float
    """The mean."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""

    @property
    def shown(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def ndcg(found: Sequence[str], grades: Mapping[str, float], depth: int = 10) -> float:
    """Discounted gain of the first results over the best that could be, as trec_eval has it."""
    gains = [grades.get(name, 0.0) for name in found[:depth]]
    best = sorted(grades.values(), reverse=True)[:depth]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Sequence[float]) -> float:
    places = np.log2(np.arange(2, len(gains) + 2))
    return float((np.array(gains) / places).sum())


def recall(found: Sequence[str], grades: Mapping[str, float], depth: int) -> float:
    """The share of what answers that is among the first results."""
    return len(set(found[:depth]) & set(grades)) / len(grades)


def reciprocal_rank(found: Sequence[str], grades: Mapping[str, float]) -> float:
    """One over the place of the first answer; 0 when none of the first hundred is one."""
    return next((1 / place for place, name in enumerate(found, 1) if name in grades), 0.0)


MEASURES: Mapping[str, Callable[[Sequence[str], Mapping[str, float]], float]] = {
    "nDCG@10": ndcg,
    "recall@10": lambda found, grades: recall(found, grades, 10),
    "recall@100": lambda found, grades: recall(found, grades, 100),
    "MRR": reciprocal_rank,
}


def bootstrap(figures: Figures) -> Figure:
    """The mean of one figure a query, with its 95% interval; always the same for the same."""
    drawn = np.random.default_rng(0).integers(0, len(figures), (_RESAMPLES, len(figures)))
    low, high = np.percentile(figures[drawn].mean(axis=1), [2.5, 97.5])
    return Figure(value=float(figures.mean()), low=float(low), high=float(high))
