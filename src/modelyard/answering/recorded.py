"""The records of an answer: one sample for it, and one for each of its calls.

They hold names, counts, times and costs. A call's sample has the answer's id as its parent, and its
cost is in the answer's own: what is summed over answers counts it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.answering.request import Answer, Attempt
from modelyard.core.clock import utc_now_ms
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.providers.call import Usage
from modelyard.records.sample import Outcome, Sample, TokenSource, new_answer_id
from modelyard.records.spool import Recorder

if TYPE_CHECKING:
    from modelyard.modelrefs.local_model import LocalModel

_LONGEST_ROUTE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What all samples of an answer share."""

    answer_id: str
    """The answer."""
    parent_id: str | None
    """The answer that it is needed for."""
    organisation: str | None
    """Who asked."""
    effective: Effective
    """By which settings."""
    is_test: bool = False
    """Whether it tests the models, and no user gets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What a call was made with."""

    language_model: str
    """The language model, by its name in the configs."""
    ref: str
    """What answers, as `ModelRef.parse` reads it."""
    adapter_digest: str | None = None
    """Of the adapter's version."""
    runs_here: bool = False
    """Whether its tokens are counted here."""

    @classmethod
    def of(cls, model: EffectiveModel, local: LocalModel | None) -> Answering:
        """A language model; `local` are its files, where it runs here."""
        return cls(
            language_model=model.name,
            ref=str(local.ref) if local else f"model:{model.name}",
            adapter_digest=local.version.manifest.digest if local and local.version else None,
            runs_here=local is not None,
        )


class SampleWriter:
    """Writes the samples of one answer; without a recorder, none are wanted."""

    def __init__(self, recorder: Recorder | None, asked: Asked) -> None:
        self._recorder = recorder
        self._asked = asked
        self._here: set[str] = set()
        """The models that run here."""

    def record_call(
        self,
        answering: Answering,
        attempt: Attempt | None,
        *,
        load_s: float,
        first_token_s: float | None,
        passed_s: float,
    ) -> None:
        """Record a call; no attempt is one that was interrupted, after `passed_s`."""
        if answering.runs_here:
            self._here.add(answering.language_model)
        if self._recorder is None:
            return
        usage = attempt.usage if attempt else None
        outcome, failure = _outcome_of(attempt)
        self._recorder.record(
            Sample(
                answer_id=new_answer_id(),
                kind="test_call" if self._asked.is_test else "call",
                parent_id=self._asked.answer_id,
                answered_at_ms=utc_now_ms(),
                organisation=self._asked.organisation,
                domain=self._asked.effective.domain,
                profile=self._asked.effective.profile,
                variant=self._asked.effective.variant,
                language_model=answering.language_model,
                model=answering.ref,
                adapter_digest=answering.adapter_digest,
                environment=self._asked.effective.environment,
                config_revision=self._asked.effective.revision or None,
                **_tokens(usage, runs_here=answering.runs_here),
                load_s=load_s,
                first_token_s=first_token_s,
                waited_s=attempt.waited_s if attempt else None,
                latency_s=attempt.latency_s if attempt else passed_s,
                cost_usd=attempt.cost_usd if attempt else None,
                failure=failure,
                outcome=outcome,
            )
        )

    def record_answer(self, answer: Answer) -> None:
        """Record an answer that was given."""
        outcome: Outcome = "answered"
        if answer.degraded:
            outcome = "degraded"
        elif answer.finish == "refused":
            outcome = "refused"
        self._record(
            outcome,
            answer.attempts,
            language_model=answer.model,
            ref=answer.ref,
            adapter_digest=answer.adapter_digest,
            usage=answer.usage,
            cost_usd=answer.cost_usd,
            calls=len(answer.attempts),
            load_s=answer.load_s,
            first_token_s=answer.first_token_s,
            waited_s=answer.waited_s,
            latency_s=answer.latency_s,
            drawn=answer.samples,
            agreed=answer.agreed,
            from_cache=answer.from_cache,
        )

    def record_none(
        self,
        outcome: Outcome,
        attempts: Sequence[Attempt],
        *,
        unfinished: int,
        load_s: float,
        latency_s: float,
        failure: str | None = None,
    ) -> None:
        """Record that there was no answer; of `unfinished` calls nobody knows what they cost."""
        first = self._asked.effective.model
        last = attempts[-1].model if attempts else first.name
        self._record(
            outcome,
            attempts,
            language_model=last,
            ref=f"model:{last}",
            usage=None if unfinished else total_usage(attempts),
            cost_usd=None if unfinished else total_cost_usd(attempts),
            calls=len(attempts) + unfinished,
            load_s=load_s,
            waited_s=min(latency_s, sum(attempt.waited_s for attempt in attempts)),
            latency_s=latency_s,
            failure=failure,
        )

    def _record(
        self,
        outcome: Outcome,
        attempts: Sequence[Attempt],
        *,
        language_model: str,
        ref: str,
        usage: Usage | None,
        cost_usd: float | None,
        calls: int,
        load_s: float,
        waited_s: float,
        latency_s: float,
        adapter_digest: str | None = None,
        first_token_s: float | None = None,
        drawn: int | None = None,
        agreed: int | None = None,
        failure: str | None = None,
        from_cache: bool = False,
    ) -> None:
        if self._recorder is None:
            return
        effective = self._asked.effective
        self._recorder.record(
            Sample(
                answer_id=self._asked.answer_id,
                kind="test" if self._asked.is_test else "answer",
                parent_id=self._asked.parent_id,
                answered_at_ms=utc_now_ms(),
                organisation=self._asked.organisation,
                domain=effective.domain,
                profile=effective.profile,
                variant=effective.variant,
                language_model=language_model,
                model=ref,
                adapter_digest=adapter_digest,
                environment=effective.environment,
                config_revision=effective.revision or None,
                **_tokens(usage, runs_here={each.model for each in attempts} <= self._here),
                load_s=load_s,
                first_token_s=first_token_s,
                waited_s=waited_s,
                latency_s=latency_s,
                cost_usd=cost_usd,
                calls=calls,
                drawn=drawn,
                agreed=agreed,
                route="cache" if from_cache else _route(attempts),
                failure=failure,
                outcome=outcome,
            )
        )


def total_usage(attempts: Sequence[Attempt]) -> Usage | None:
    """The tokens of all calls; None where those of one are unknown."""
    known = [attempt.usage for attempt in attempts if attempt.usage is not None]
    if len(known) < len(attempts):
        return None
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in known),
        output_tokens=sum(usage.output_tokens for usage in known),
        cached_input_tokens=sum(usage.cached_input_tokens for usage in known),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in known),
        is_estimated=any(usage.is_estimated for usage in known),
    )


def total_cost_usd(attempts: Sequence[Attempt]) -> float | None:
    """What all calls cost; None where the cost of one is unknown."""
    costs = [attempt.cost_usd for attempt in attempts]
    known = [cost for cost in costs if cost is not None]
    return None if len(known) < len(costs) else sum(known)


def _tokens(usage: Usage | None, *, runs_here: bool) -> dict[str, Any]:
    """The fields of a sample that say how many tokens there were."""
    if usage is None:
        return {}
    source: TokenSource = "counted" if runs_here else "reported"
    return {
        "prompt_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "token_source": "estimated" if usage.is_estimated else source,
    }


def _outcome_of(attempt: Attempt | None) -> tuple[Outcome, str | None]:
    if attempt is None:
        return "interrupted", None
    if attempt.outcome in ("answered", "refused"):
        return attempt.outcome, None
    return "failed", attempt.outcome


def _route(attempts: Sequence[Attempt]) -> str | None:
    """Such as `gpt4 busy > claude answered`."""
    if not attempts:
        return None
    text = " > ".join(f"{attempt.model} {attempt.outcome}" for attempt in attempts)
    return text if len(text) <= _LONGEST_ROUTE else f"... {text[4 - _LONGEST_ROUTE :]}"
