"""Base against tuned, as the report page shows it: charts, and the answers side by side.

Does not know how either was judged, or the page around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup

from modelyard.charts.charts import Bar, Interval, render_bars, render_intervals
from modelyard.charts.scales import is_finite, show_number
from modelyard.training.report.verdict import known_difference

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
    if known := [one for one in intervals if one]:
        charts.append(render_intervals("Tuned minus base, 95% interval", known, unit="loss"))
    if answers := _largest(evaluation.get("answers") or ()):
        shares = [(f"{one['group']} · {one['rows']:,} rows", _shares(one)) for one in answers]
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
    """Examples by what became of them, worst first: heading, the first ones, how many in all."""
    kinds: dict[str, list[Mapping[str, Any]]] = {
        "Lost: the base was right and the tuned model is not": [],
        "Wrong: neither is right": [],
        "Not judged": [],
        "Won: the tuned model is right and the base was not": [],
        "Both right": [],
    }
    lost, wrong, open_, won, both = kinds.values()
    for one in evaluation.get("examples") or ():
        base, tuned = one.get("base_right"), one.get("tuned_right")
        if tuned is None:
            open_.append(one)
        elif tuned:
            (both if base else won).append(one)
        else:
            (lost if base else wrong).append(one)
    return [(name, found[:_SHOWN_ANSWERS], len(found)) for name, found in kinds.items() if found]
