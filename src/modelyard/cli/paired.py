"""What two sides make of the same cases, as a person reads it."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.cli.render import print_note, print_table, print_text, print_title, print_warning
from modelyard.core.wording import counted
from modelyard.performance.comparison import Comparison, Gap, PairedResults
from modelyard.settings.units import DURATION, MONEY, SHARE

_SHOWN_CHANGED = 5
_LONGEST_SHOWN = 100


def print_paired(paired: PairedResults, a: str, b: str) -> None:
    """The table of what differs, the verdict, and some cases that only one side has right.

    a, b: what the two are called.
    """
    print_table(
        ["measure", f">{a}", f">{b}", ">difference", "95% interval", "of"],
        [_right(paired), *_gaps(paired)],
    )
    print_text(say_verdict(paired, a, b))
    for name, side in ((a, "a"), (b, "b")):
        cases = [case for case in paired.changed if case.right == side]
        if cases:
            print_title(f"{counted(len(cases), 'case')} that only {name} has right")
            for case in cases[:_SHOWN_CHANGED]:
                print_note(f"{case.check}: {_short(case.question)}")
                print_note(f"  {_short(case.why)}")


def print_beside(beside: Comparison) -> None:
    """How a run differs from its baseline."""
    print_title(f"Beside {beside.name} of {beside.started_at[:10]}, {beside.target}")
    print_paired(beside.paired, beside.name, "this run")
    for note in beside.notes:
        print_warning(note)


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


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."
