"""`models compare`: two things asked the same cases in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import Environment, Json, chosen_environment, work_in_project_of
from modelyard.cli.render import flush_results, print_json, print_note, print_warning
from modelyard.core.errors import Interrupted, NoData
from modelyard.core.layout import find_project
from modelyard.core.wording import counted

if TYPE_CHECKING:
    from modelyard.performance.compare import Compared, ComparedSide
    from modelyard.performance.targets import Target


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The first side.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The second.")],
    test_suite: Annotated[
        str, typer.Option("--test-suite", metavar="SUITE", help="A suite in configs/test_suites/.")
    ] = "quick",
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Ask both in this domain. Repeatable."),
    ] = None,
    until_significant: Annotated[
        bool,
        typer.Option(
            "--until-significant", help="End as soon as one is shown to be right more often."
        ),
    ] = False,
    max_cases: Annotated[
        int | None,
        typer.Option(
            "--max-cases", metavar="N", min=1, help="Ask at most so many cases, drawn by the seed."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Seed of the order and the answers. Default: the suite's."
        ),
    ] = None,
    environment: Environment = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 5 where it cannot be told, instead of 0.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask two sides the same cases, and say which is better.

    A side is `env:NAME`, as that environment answers; a performance profile, a language model or a
    domain, by its name or its file; a base, an adapter or one of its versions, such as `support@3`.
    Where names are alike, `profile:`, `model:`, `adapter:` and `domain:` tell them apart.

    Each case is asked of both, one right after the other, and each is first in every second pair.
    With --until-significant a sequential test is looked at after every pair: equal sides are told
    apart in at most 5 of 100 comparisons. Answers count for budgets, not in `models monitor`.
    Exit codes: 0 done, whichever is better; 1 a side answered nothing; 5 with --strict it cannot be
    told; 130 interrupted.

    \b
    models compare gpt4 claude --test-suite comprehensive
    models compare env:production balanced --domain code_analysis
    models compare support@3 support@4 --until-significant --max-cases 200
    """
    from modelyard.answering.answer import Answerer
    from modelyard.performance import compare as comparing
    from modelyard.performance.cases import load_suite
    from modelyard.performance.plan import build_plan
    from modelyard.performance.unbuilt import note_unbuilt

    work_in_project_of([a, b, test_suite, *(domain or ())])
    project = find_project()
    asked = chosen_environment(project, environment)
    suite = load_suite(project, test_suite, asked, seed=seed)
    first, second = (
        comparing.find_side(project, word, asked, domains=domain or ()) for word in (a, b)
    )
    plans = [build_plan(project, suite, side, seed=seed) for side in (first, second)]
    for note in dict.fromkeys(note for plan in plans for note in note_unbuilt(project, plan)):
        print_warning(note)
    with showing_progress() as progress, Answerer(project, note=print_warning) as answerer:
        progress.stage(f"{suite.name}: {_name(first, a)} and {_name(second, b)}")
        progress.begin("pairs", min(len(suite.cases), max_cases or len(suite.cases)), "pairs")
        found = comparing.compare(
            project,
            answerer,
            suite,
            first,
            second,
            environment=asked,
            until_significant=until_significant,
            max_cases=max_cases,
            seed=seed,
            on_pair=lambda done, _: progress.advance(done, ""),
        )
        progress.end()
    if as_json:
        print_json(found)
    else:
        _print(found, a, b)
    flush_results()
    if not found.complete:
        raise Interrupted("interrupted; what was measured is above")
    if strict and found.paired.better is None:
        raise NoData("it cannot be told which is right more often", hint="ask more cases")


def _print(found: Compared, a: str, b: str) -> None:
    from modelyard.cli.paired import print_paired

    if a == b:
        a, b = f"{a} (A)", f"{b} (B)"
    print_paired(found.paired, a, b)
    for note in found.notes:
        print_warning(note)
    asked = found.a.errors, found.b.errors
    pairs = found.paired.pairs
    how = f"of at most {found.most_pairs:,}" if found.until_significant else "in turn"
    print_note(
        f"{counted(pairs, 'pair')} {how}, in {found.wall_s:.0f} s; A: {_say(found.a, asked[0])}; "
        f"B: {_say(found.b, asked[1])}; on {found.machine}."
    )


def _say(side: ComparedSide, errors: int) -> str:
    by = f"answered by {', '.join(side.models)}" if side.models else "no model answered"
    failed = f", {counted(errors, 'error')}" if errors else ""
    return f"{side.name} in {side.environment}, {by}{failed}"


def _name(side: Target, word: str) -> str:
    """What a side is, and how it was called where that is not the same."""
    return (
        side.name if word in (side.name, side.name.partition(":")[2]) else f"{side.name} ({word})"
    )
