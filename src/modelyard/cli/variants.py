"""The two variants of an A/B test, as a person reads what is known of them."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.core.wording import counted
from modelyard.monitoring.variants import VariantCounts, VariantsCompared, VariantTold


def describe_variants(compared: VariantsCompared) -> Iterator[str]:
    """What was asked of each, and which one is better, in lines."""
    for name, counts in (("a", compared.a), ("b", compared.b)):
        yield f"{compared.test}/{name}: {_counts(counts)}"
    yield _told(compared.ratings, "is rated good more often", "which one is rated good more often")
    yield _told(compared.errors, "has fewer errors", "which one has fewer errors")


def _counts(counts: VariantCounts) -> str:
    asked = f"{counted(counts.requests, 'request')}, {counted(counts.errors, 'error')}"
    return f"{asked}; {counts.good:,} of {counts.rated:,} rated good"


def _told(told: VariantTold, better: str, which: str) -> str:
    if not told.pairs:
        return f"It cannot be told {which}: there is no pair yet."
    pairs = f"{counted(told.pairs, 'pair')}, only a good in {told.only_a:,}, only b in "
    pairs += f"{told.only_b:,}, p = {told.p_value:.2g}"
    if told.better is not None:
        return f"{told.better} {better}: {pairs}."
    return f"It cannot be told {which}: {pairs}."
