"""How two sides that were asked the same cases are told of, on a terminal and in a page."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.core.wording import counted
from modelyard.performance.comparison import Gap, PairedResults
from modelyard.settings.units import DURATION, MONEY, SHARE


def say_verdict(paired: PairedResults, a: str, b: str) -> str:
    """Which side is right more often, or what it would take to tell."""
    if not paired.pairs:
        return "It cannot be told: no case is known to be right or wrong on both sides."
    if not paired.only_a and not paired.only_b:
        return "It cannot be told which is right more often: both have the same cases right."
    alone = (
        f"only {a} has {counted(paired.only_a, 'case')} right, only {b} "
        f"{counted(paired.only_b, 'case')} (p = {paired.p_value:.2g})"
    )
    if paired.better is not None:
        return f"{a if paired.better == 'a' else b} is right more often: {alone}."
    said = f"It cannot be told which is right more often: {alone}."
    if paired.pairs_needed is not None and paired.pairs_needed > paired.pairs:
        said += (
            f" About {paired.pairs_needed:,} cases would show a gap like this one in 8 of 10 tries."
        )
    return said


def paired_rows(paired: PairedResults) -> list[list[str]]:
    """measure, A, B, difference, its interval, and of how many cases, of all that is known."""
    return [_right(paired), *_gaps(paired)]


def _right(paired: PairedResults) -> list[str]:
    of_a, of_b = (paired.both + only for only in (paired.only_a, paired.only_b))
    if not paired.pairs:
        return ["right answers", "", "", "", "", "no case"]
    return [
        "right answers",
        f"{of_a:,}",
        f"{of_b:,}",
        f"{of_b - of_a:+,}",
        "",
        counted(paired.pairs, "case"),
    ]


def _gaps(paired: PairedResults) -> list[list[str]]:
    rows = [
        ("mean score", paired.score, _share, _points),
        ("latency", paired.latency, _seconds, _times),
        ("cost of a request", paired.cost_usd, _usd, _signed_usd),
    ]
    return [_row(*row) for row in rows if row[1].value is not None]


def _row(
    measure: str, gap: Gap, show: Callable[[float], str], compare: Callable[[float], str]
) -> list[str]:
    def of(value: float | None, say: Callable[[float], str]) -> str:
        return "" if value is None else say(value)

    ends = [of(end, compare) for end in (gap.low, gap.high)]
    return [
        measure,
        of(gap.a, show),
        of(gap.b, show),
        of(gap.value, compare),
        " to ".join(filter(None, ends)),
        counted(gap.n, "case"),
    ]


def _share(value: float) -> str:
    return SHARE.show(round(value, 3))


def _points(value: float) -> str:
    """A difference of shares, in percentage points."""
    return f"{value * 100:+.1f} points"


def _seconds(value: float) -> str:
    return DURATION.show(float(f"{value:.3g}"))


def _times(value: float) -> str:
    return f"× {value:.2f}"


def _usd(value: float) -> str:
    return MONEY.show(float(f"{value:.3g}"))


def _signed_usd(value: float) -> str:
    return ("+" if value >= 0 else "-") + _usd(abs(value))
