"""The promotion gate: whether the figures of a version allow it to come into use.

A pure rule over plain mappings, of the shape that evaluation writes and TRAINING_INFO.md keeps:

    rows: 62
    fingerprint: sha256:...                       # of the rows that were evaluated
    base: {loss: 3.11, perplexity: 22.4, ...}     # the base model on them
    tuned: {loss: 1.20, perplexity: 3.3, ...}     # the version on them
    difference: {mean: -1.91, low: -2.1, high: -1.7}   # tuned minus base; low and high: 95%
    old: {rows: 60, fingerprint: sha256:..., loss: 1.3}   # the version on its parent's rows, if any

Does not know where figures come from, nor how a version is promoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class PromotionDecision(NamedTuple):
    """Whether a version may come into use, and the numbers that say so."""

    allowed: bool
    reason: str


def decide_promotion(
    new: Mapping[str, Any], in_use: Mapping[str, Any] | None = None
) -> PromotionDecision:
    """Allow a version that beats its base with confidence, and is not worse than the one in use.

    `in_use` are the figures of the version in use on the same base; they count only when they come
    from the same evaluation rows, or from rows that a continued version was judged on as well.
    """
    if not new:
        return PromotionDecision(False, "it has not been evaluated")
    difference = new["difference"]
    loss, base_loss = new["tuned"]["loss"], new["base"]["loss"]
    if difference["high"] is None:
        return PromotionDecision(
            False, f"{new['rows']} evaluation rows are too few to tell it from the base"
        )
    figures = (
        f"loss {loss:.3f} against {base_loss:.3f} of the base (difference "
        f"{difference['mean']:+.3f}, 95% interval {difference['low']:+.3f} to "
        f"{difference['high']:+.3f}, {new['rows']} rows)"
    )
    if not difference["high"] < 0:
        return PromotionDecision(
            False, f"it is not better than the base with confidence: {figures}"
        )
    if in_use and (same := _on_same_rows(new, in_use)):
        loss, rows = same
        loss_in_use = in_use["tuned"]["loss"]
        if not loss <= loss_in_use:
            return PromotionDecision(
                False,
                f"it is worse than the version in use: loss {loss:.3f} against {loss_in_use:.3f} "
                f"on the same {rows} rows",
            )
        figures += (
            f"; on the {rows} rows of the version in use {loss:.3f} against {loss_in_use:.3f}"
        )
    return PromotionDecision(True, f"it is better than the base with confidence: {figures}")


def _on_same_rows(new: Mapping[str, Any], in_use: Mapping[str, Any]) -> tuple[float, int] | None:
    """The new version's loss on the rows that the one in use was judged on, and their number."""
    if in_use["fingerprint"] == new["fingerprint"]:
        return new["tuned"]["loss"], new["rows"]
    old = new.get("old")
    if old and in_use["fingerprint"] == old["fingerprint"]:
        return old["loss"], old["rows"]
    return None
