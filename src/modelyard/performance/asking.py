"""One request of a test: asked by the settings of its target, and what came of it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

from modelyard.answering.answer import Answerer
from modelyard.answering.recorded import total_cost_usd, total_usage
from modelyard.answering.request import Answer, AnswerFailed, NothingFound, OverLimit, Request
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.performance.cases import Case
from modelyard.performance.results import LOAD, CaseOutcome, CaseResult
from modelyard.performance.scorers.scored import Scored, unknown, wrong
from modelyard.performance.scoring import Scorers

_TIME_IS_OVER = ("timeout", "out_of_time")
_NOT_SCORED = Scored(score=None, right=None)


def ask_case(
    answerer: Answerer,
    scorers: Scorers | None,
    effective: Effective,
    case: Case,
    *,
    timeout_s: float,
    began_s: float,
    repeat: int = 0,
    seed: int = 0,
) -> CaseResult:
    """Ask one case once, and score what comes.

    scorers: None for a request of the load, which is only measured.
    timeout_s: the time for the answer, where the settings do not leave it less.
    began_s: when the run began, as `time.perf_counter` says it.
    repeat, seed: decide the seed of a model that draws its answers.
    What an answer may end in is its outcome, and nothing is raised for it. Raises ModelyardError
    where this machine is at fault, such as NoSpace, which says nothing of any model.
    """
    started_s = time.perf_counter() - began_s
    limit_s = min(timeout_s, effective.timeout_s or timeout_s)
    chosen = _drawing_by(effective, f"{seed}/{case.id}/{repeat}")
    request = Request(messages=case.messages, system=case.system, use_cache=False, is_test=True)
    answer: Answer | None = None
    error: ModelyardError | None = None
    try:
        answer = answerer.answer(
            replace(chosen, timeout_s=limit_s), request, on_text=lambda _: None
        )
        answered_s = time.perf_counter() - began_s
    except (AnswerFailed, OverLimit, NothingFound, InvalidInput) as failure:
        answered_s, error = time.perf_counter() - began_s, failure
    call_s = min(limit_s, effective.model.settings.timeout_s)
    outcome = _outcome_of(answer, error, ran_out=answered_s - started_s >= call_s)
    scored = _NOT_SCORED
    if scorers is not None:
        scored = _score(scorers, case, answer, error, outcome)
    return build_result(
        case,
        scored,
        outcome=outcome,
        repeat=repeat,
        started_s=started_s,
        ended_s=answered_s,
        answer=answer,
        error=error,
        is_load=scorers is None,
    )


def build_result(
    case: Case,
    scored: Scored,
    *,
    outcome: CaseOutcome,
    repeat: int,
    started_s: float,
    ended_s: float,
    answer: Answer | None = None,
    error: ModelyardError | None = None,
    is_load: bool = False,
) -> CaseResult:
    """The record of a request, of what is known of it."""
    attempts = answer.attempts if answer else ()
    if isinstance(error, AnswerFailed):
        attempts = error.attempts
    usage = total_usage(attempts) if attempts else None
    calls_known = answer is not None or isinstance(error, AnswerFailed | OverLimit | NothingFound)
    return CaseResult(
        check=LOAD if is_load else case.check.name,
        case=case.id,
        repeat=repeat,
        tags=() if is_load else case.right.tags,
        weight=case.right.weight,
        question=case.question,
        expected="" if is_load else case.expected,
        answer=answer.text if answer else None,
        score=scored.score,
        right=scored.right,
        why=scored.why or (_said(error) if error else ""),
        outcome=outcome,
        model=answer.model if answer else None,
        latency_s=answer.latency_s if answer else None,
        first_token_s=answer.first_token_s if answer else None,
        cost_usd=total_cost_usd(attempts) if calls_known else None,
        prompt_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        judge_cost_usd=scored.judge_cost_usd,
        started_s=started_s,
        ended_s=ended_s,
    )


def _outcome_of(
    answer: Answer | None, error: ModelyardError | None, *, ran_out: bool
) -> CaseOutcome:
    """How it ended. ran_out: whether it took all the time that there was."""
    if answer is not None:
        if answer.degraded:
            return "degraded"
        return "refused" if answer.finish == "refused" else "answered"
    if isinstance(error, NothingFound):
        return "nothing_found"
    if isinstance(error, OverLimit):  # without time there is no turn either
        return "timeout" if ran_out else "over_limit"
    if isinstance(error, AnswerFailed):
        last = error.attempts[-1].outcome if error.attempts else None
        if last in _TIME_IS_OVER or (last == "cut_off" and ran_out):
            return "timeout"
        if any(each.why == "out_of_time" for each in error.left_out):
            return "timeout"
    return "failed"


def _score(
    scorers: Scorers,
    case: Case,
    answer: Answer | None,
    error: ModelyardError | None,
    outcome: CaseOutcome,
) -> Scored:
    if answer is not None:
        return scorers.score(case, answer)
    said = _said(error) if error else ""
    if outcome == "over_limit":  # nobody was asked, so nothing was wrong
        return unknown(said)
    if isinstance(error, NothingFound) and error.search_failed:  # so nothing could be found
        return unknown(said)
    return scorers.score_silence(case, said) if outcome == "nothing_found" else wrong(said)


def _said(error: ModelyardError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _drawing_by(effective: Effective, text: str) -> Effective:
    """The settings with a seed of its own for each model that draws and takes one.

    So the answers to one question differ between repeats, and a run can be made again. A model
    behind an API gets a seed only where its config has one: some know none.
    """
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 2**31

    def seeded(model: EffectiveModel) -> EffectiveModel:
        generation = model.settings.generation
        if generation.seed is None and model.settings.provider != "local":
            return model
        settings = replace(model.settings, generation=replace(generation, seed=seed))
        return replace(model, settings=settings)

    return replace(
        effective,
        model=seeded(effective.model),
        fallback=tuple(map(seeded, effective.fallback)),
        rules=tuple(replace(rule, model=seeded(rule.model)) for rule in effective.rules),
    )
