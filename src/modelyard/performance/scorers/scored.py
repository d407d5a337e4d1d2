"""What a scorer says of an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """How good an answer is."""

    score: float | None
    """0 to 1; None: it could not be scored."""
    right: bool | None
    """Whether it is right; None: it could not be scored."""
    why: str = ""
    """Why it is not right, or could not be scored, in words."""
    judge_cost_usd: float | None = None
    """What judging it cost; None: nobody judged it, or it is unknown."""


RIGHT = Scored(score=1.0, right=True)


def wrong(why: str) -> Scored:
    """An answer that is wrong."""
    return Scored(score=0.0, right=False, why=why)


def right_or(is_right: bool, why: str) -> Scored:
    """An answer that is right, or wrong for this reason."""
    return RIGHT if is_right else wrong(why)


def unknown(why: str, *, judge_cost_usd: float | None = None) -> Scored:
    """An answer of which nobody knows whether it is right."""
    return Scored(score=None, right=None, why=why, judge_cost_usd=judge_cost_usd)
