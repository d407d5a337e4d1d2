"""Base against tuned, as the report page shows it: charts, and the answers side by side.

Does not know how either was evaluated, or the page around it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from modelyard.charts.charts import Bar, Interval, render_bars, render_intervals
from modelyard.charts.scales import is_finite, show_number

_SHOWN_ANSWERS = 100
_SHOWN_GROUPS = 12


def render_comparison(evaluation: Mapping[str, Any]) -> list[Markup]:
    """The charts of base against tuned."""
    if not evaluation:
        return []
    groups = _largest(evaluation.get("groups") or ())
    losses = _losses(evaluation["base"]["loss"], evaluation["tuned"]["loss"])
    bars = [(f"all · {evaluation['rows']:,} rows", losses)]
    intervals = [_interval("all", evaluation.get("difference"))]
    for group in groups if len(groups) > 1 else ():
        name = f"{group['name']} · {group['rows']:,} rows"
        bars.append((name, _losses(group["base_loss"], group["tuned_loss"])))
        intervals.append(_interval(group["name"], group.get("difference")))
    charts = [render_bars("Eval loss, less is better", bars)]
    if known := [interval for interval in intervals if interval]:
        charts.append(render_intervals("Tuned minus base, 95% interval", known, unit="loss"))
    if answers := _largest(evaluation.get("answers") or ()):
        shares = [
            (f"{group['group']} · {group['rows']:,} rows", _shares(group)) for group in answers
        ]
        charts.append(render_bars("Right answers, more is better", shares, full=1.0))
    return charts


def _largest(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The groups of the most rows, as many as one can take in, in the order they came."""
    by_rows = sorted(groups, key=lambda group: -group["rows"])[:_SHOWN_GROUPS]
    return [group for group in groups if group in by_rows]


def _losses(base: float | None, tuned: float | None) -> list[Bar]:
    return [
        Bar(name="base", value=base, text=show_number(base)),
        Bar(name="tuned", value=tuned, text=show_number(tuned)),
    ]


def _shares(group: Mapping[str, Any]) -> list[Bar]:
    def bar(name: Literal["base", "tuned"]) -> Bar:
        right, rows = group[f"{name}_right"], group["rows"]
        share = right / rows if rows else None
        text = f"{right:,} of {rows:,}" if share is None else f"{right:,} · {share:.0%}"
        low, high = group.get(f"{name}_interval") or (None, None)
        known = (low, high) if is_finite(low) and is_finite(high) else None
        return Bar(name=name, value=share, text=text, interval=known)

    return [bar("base"), bar("tuned")]


def _interval(name: str, difference: Mapping[str, Any] | None) -> Interval | None:
    known = known_difference(difference)
    return Interval(name, *known) if known else None


def group_answers(evaluation: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]], int]]:
    """Examples by outcome, worst first: heading, the first ones, how many in all."""
    kinds: dict[str, list[Mapping[str, Any]]] = {
        "Lost: the base was right and the tuned model is not": [],
        "Wrong: neither is right": [],
        "Not scored": [],
        "Won: the tuned model is right and the base was not": [],
        "Both right": [],
    }
    lost, wrong, open_, won, both = kinds.values()
    for example in evaluation.get("examples") or ():
        base, tuned = example.get("base_right"), example.get("tuned_right")
        if tuned is None:
            open_.append(example)
        elif tuned:
            (both if base else won).append(example)
        else:
            (lost if base else wrong).append(example)
    return [(name, found[:_SHOWN_ANSWERS], len(found)) for name, found in kinds.items() if found]


_SHOWN_ANSWER_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence in two parts: `claim: grounds.`"""

    tone: Literal["better", "worse", "unclear"]
    """The direction of the change."""
    claim: str
    """The statement."""
    grounds: str
    """The figures that support it."""


def build_verdict(subject: str, evaluation: Mapping[str, Any]) -> Verdict:
    """Better or worse only when the whole 95% interval of the paired difference says so."""
    base, tuned = (show_number(evaluation[side]["loss"]) for side in ("base", "tuned"))
    grounds = f"eval loss is {tuned} instead of {base}"
    for group in shown_answers(evaluation):
        before, after = group["base_right"], group["tuned_right"]
        change = "as before" if before == after else f"instead of {before:,}"
        grounds += f", {group['group']} {after:,} of {group['rows']:,} right {change}"
    difference = known_difference(evaluation.get("difference"))
    if difference is None:
        return Verdict("unclear", f"{subject} has too few rows for a verdict", grounds)
    _, low, high = difference
    if low <= 0 <= high:
        return Verdict("unclear", f"{subject} is not distinguishable from its base", grounds)
    if high < 0:
        return Verdict("better", f"{subject} is better than its base", grounds)
    return Verdict("worse", f"{subject} is worse than its base", grounds)


def shown_answers(evaluation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The groups of scored answers, or their sum when there are too many to list."""
    groups: Sequence[Mapping[str, Any]] = evaluation.get("answers") or ()
    if len(groups) <= _SHOWN_ANSWER_GROUPS:
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
