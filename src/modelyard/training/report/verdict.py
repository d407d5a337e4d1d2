"""What an evaluation amounts to, in one sentence. Does not know pages or terminals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.charts.scales import show_number

_TOLD_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence in two parts: `claim: grounds.`"""

    tone: Literal["better", "worse", "unclear"]
    """Which way it goes."""
    claim: str
    """What is so."""
    grounds: str
    """Why one may say so."""


def build_verdict(subject: str, evaluation: Mapping[str, Any]) -> Verdict:
    """Better or worse only when the whole 95% interval of the paired difference says so."""
    base, tuned = (show_number(evaluation[side]["loss"]) for side in ("base", "tuned"))
    grounds = f"eval loss is {tuned} instead of {base}"
    for group in told_answers(evaluation):
        before, after = group["base_right"], group["tuned_right"]
        change = "as before" if before == after else f"instead of {before:,}"
        grounds += f", {group['group']} {after:,} of {group['rows']:,} right {change}"
    difference = known_difference(evaluation.get("difference"))
    if difference is None:
        return Verdict("unclear", f"{subject} has no verdict for want of rows", grounds)
    _, low, high = difference
    if low <= 0 <= high:
        return Verdict("unclear", f"{subject} cannot be told from its base", grounds)
    if high < 0:
        return Verdict("better", f"{subject} is better than its base", grounds)
    return Verdict("worse", f"{subject} is worse than its base", grounds)


def told_answers(evaluation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The groups of judged answers, or their sum when there are too many to tell one by one."""
    groups: Sequence[Mapping[str, Any]] = evaluation.get("answers") or ()
    if len(groups) <= _TOLD_GROUPS:
        return groups
    sums = {
        key: sum(group[key] for group in groups) for key in ("rows", "base_right", "tuned_right")
    }
    return [{"group": "answers", **sums}]


def known_difference(difference: Mapping[str, Any] | None) -> tuple[float, float, float] | None:
    """(mean, low, high) when all three are known: too few rows give no interval."""
    if difference is None:
        return None
    mean, low, high = (
        math.nan if difference.get(key) is None else float(difference[key])
        for key in ("mean", "low", "high")
    )
    return (mean, low, high) if math.isfinite(mean + low + high) else None
