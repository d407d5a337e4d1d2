"""Whether a run heard anything of a model, and what follows where it did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelyard.core.wording import counted
from modelyard.performance.results import ERRORS, GIVEN, LOAD, CaseResult, TestRun

_NO_MODEL = "nothing was found, and where a model was asked in this run, none answered"


def none_answered(results: Sequence[CaseResult]) -> bool:
    """Whether requests failed, and none was ended by a language model."""
    outcomes = {result.outcome for result in results}
    return not outcomes.isdisjoint(ERRORS) and outcomes.isdisjoint(GIVEN)


def leave_out_silence(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The results, where none was answered without those that are right since nothing was found.

    A domain that answers only from what is found says so without asking a model, and that is the
    right end of a question that cannot be answered. Where every model failed it shows nothing of
    what is tested: nobody knows whether it is right.
    """
    if not none_answered(results):
        return list(results)
    return [
        replace(result, score=None, right=None, why=_NO_MODEL)
        if result.outcome == "nothing_found" and result.right
        else result
        for result in results
    ]


def notes_on_unscored(results: Sequence[CaseResult]) -> list[str]:
    """How many answers nobody could score, and why, in sentences; limits have one of their own."""
    unscored = [
        result
        for result in results
        if result.right is None and result.check != LOAD and result.outcome != "over_limit"
    ]
    unsearched = [
        result
        for result in unscored
        if result.outcome == "nothing_found" and result.why != _NO_MODEL
    ]
    others = [result for result in unscored if result not in unsearched]
    notes = []
    if unsearched:
        notes.append(
            f"{counted(len(unsearched), 'answer is', 'answers are')} not scored, since nothing "
            f"could be searched: {unsearched[0].why}"
        )
    if others:
        reasons = list(dict.fromkeys(result.why for result in others))
        more = f"; and {counted(len(reasons) - 1, 'more reason')}" if len(reasons) > 1 else ""
        notes.append(
            f"{counted(len(others), 'answer is', 'answers are')} not scored: {reasons[0]}{more}"
        )
    return notes


def why_no_data(run: TestRun) -> str | None:
    """Why a run says nothing of what was tested, in words; None: it says something.

    So it is when no request was made, for want of budget or because of a limit, and when the suite
    asks questions and not one answer could be scored.
    """
    refused = [result for result in run.cases if result.outcome == "over_limit"]
    if refused and len(refused) == len(run.cases):
        return f"no request was made: {refused[0].why}"
    asked = [result for result in run.cases if result.check != LOAD]
    if asked and not run.scored:
        return f"no answer could be scored: {asked[0].why}"
    return None
