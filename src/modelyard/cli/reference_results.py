"""The part of docs/cli.md that says what `--json` prints, made from the result classes."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.cli.results import RESULTS, Printed
from modelyard.results.shape import KeyLine, key_lines, render_shape


def result_lines(function: str) -> Iterator[str]:
    """The Markdown of what a command prints with `--json`; none when it has no such option."""
    for printed in RESULTS.get(function, ()):
        yield from _form_lines(printed)


def _form_lines(printed: Printed) -> Iterator[str]:
    when, result = f", {printed.when}" if printed.when else "", printed.load()
    yield from (f"`--json`{when}:", "", "```", render_shape(result), "```", "")
    yield from ("<details><summary>The keys</summary>", "")
    yield from ("| key | may be | meaning |", "|---|---|---|")
    yield from map(_row, key_lines(result))
    yield from ("", "</details>", "")


def _row(line: KeyLine) -> str:
    sometimes = "" if line.always else " (not always there)"
    meaning = " ".join(line.meaning.replace("|", "\\|").split())
    return f"| `{line.path}`{sometimes} | {line.may_be} | {meaning} |"
