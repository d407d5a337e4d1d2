"""What two sides make of the same cases, as a person reads it."""

from __future__ import annotations

from modelyard.cli.render import print_table, print_text, print_title, print_warning
from modelyard.core.wording import counted
from modelyard.performance.comparison import Comparison, PairedResults
from modelyard.performance.shown_pairs import paired_rows, say_verdict

_SHOWN_CHANGED = 5
_LONGEST_SHOWN = 100


def print_paired(paired: PairedResults, a: str, b: str) -> None:
    """The table of what differs, the verdict, and some cases that only one side has right.

    a, b: what the two are called.
    """
    print_table(
        ["measure", f">{a}", f">{b}", ">difference", "95% interval", "of"],
        paired_rows(paired),
    )
    print_text(say_verdict(paired, a, b))
    for name, side in ((a, "a"), (b, "b")):
        cases = [case for case in paired.changed if case.right == side]
        if cases:
            print_title(f"{counted(len(cases), 'case')} that only {name} has right")
            for case in cases[:_SHOWN_CHANGED]:
                print_text(f"{case.check}: {_short(case.question)}")
                print_text(f"  {_short(case.why)}")


def print_beside(beside: Comparison) -> None:
    """How a run differs from its baseline."""
    print_title(f"Beside {beside.name} of {beside.started_at[:10]}, {beside.target}")
    print_paired(beside.paired, beside.name, "this run")
    for note in beside.notes:
        print_warning(note)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."
