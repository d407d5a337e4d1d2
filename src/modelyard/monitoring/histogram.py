"""Histograms of times with buckets of equal ratio: small, can be added up, and 1% exact.

Each bucket is 2% wider than the one before, and a time is read back as the geometric middle of its
bucket, so that it is at most 1% off, whatever the distribution. Source: Masson, Rim and
Lee, DDSketch, PVLDB 12(12), 2019.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_RATIO = 1.02
_LOG_RATIO = math.log(_RATIO)
_LEAST_S = 1e-6
"""What is shorter is in bucket 0, and read back as this."""


def bucket_of(seconds: float) -> int:
    """The bucket of a time; 0 or more."""
    if seconds < _LEAST_S:
        return 0
    return 1 + math.floor(math.log(seconds / _LEAST_S) / _LOG_RATIO)


def bucket_edges(bucket: int) -> tuple[float, float]:
    """The shortest time of a bucket and the one where the next begins, in seconds."""
    if bucket == 0:
        return 0.0, _LEAST_S
    return _LEAST_S * _RATIO ** (bucket - 1), _LEAST_S * _RATIO**bucket


def bucket_value(bucket: int) -> float:
    """The time that stands for all of a bucket, in seconds: at most 1% off each of them."""
    low, high = bucket_edges(bucket)
    return math.sqrt(low * high) if low else high


def pack_counts(counts: Mapping[int, int]) -> bytes:
    """Counts by bucket as bytes; those of several histograms, one after the other, are their sum.

    Pairs of bucket and count, each a little-endian uint32.
    """
    pairs = [number for pair in sorted(counts.items()) for number in pair]
    return struct.pack(f"<{len(pairs)}I", *pairs)


def unpack_counts(packed: bytes) -> Counter[int]:
    """The counts by bucket of what `pack_counts` gave."""
    counts: Counter[int] = Counter()
    for bucket, count in struct.iter_unpack("<II", packed):
        counts[bucket] += count
    return counts


class Histogram:
    """The sum of packed histograms."""

    def __init__(self, packed: Iterable[bytes]) -> None:
        import numpy as np

        pairs = np.frombuffer(b"".join(packed), dtype="<u4").reshape(-1, 2)
        counts: np.ndarray = np.bincount(pairs[:, 0], weights=pairs[:, 1])
        self._cumulative = np.cumsum(counts)
        """float64 [buckets]: how many times are in a bucket or a lower one."""

    @property
    def n(self) -> int:
        """How many times there are."""
        return int(self._cumulative[-1]) if len(self._cumulative) else 0

    def bucket_at(self, rank: int) -> int:
        """The bucket of the time that is at a rank, from 1, when they are sorted."""
        return int(self._cumulative.searchsorted(rank))
