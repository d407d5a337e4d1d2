"""One answer while it is made: what is asked of each model, and what is made of what it says.

A run belongs to one thread. What several answers share is the `Answerer`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from modelyard.answering import answer_cache
from modelyard.answering.bill import Bill
from modelyard.answering.calls import AskedModel, Calls, draw_together
from modelyard.answering.json_answers import json_text, problem, repair_messages
from modelyard.answering.ledger import Reservation, reserve
from modelyard.answering.local_models import LocalModels
from modelyard.answering.majority import choose
from modelyard.answering.obstacles import find_obstacle
from modelyard.answering.prompt import count_input, estimate_tokens, wanted_schema
from modelyard.answering.recorded import Answering, total_cost_usd, total_usage
from modelyard.answering.request import (
    Answer,
    AnswerFailed,
    LeftOut,
    OverLimit,
    Request,
    UsedChunk,
)
from modelyard.answering.retrieving import mark_named
from modelyard.answering.route import InputSize, calls_at_most, longest_output, worst_call_usd
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective import Effective, EffectiveModel
from modelyard.providers.call import Call, CallFailure, OnText, Provider, Reply
from modelyard.providers.hosted import HostedModel

if TYPE_CHECKING:
    from modelyard.modelrefs.local_model import LocalModel

OpenClient = Callable[[LanguageModel], HostedModel]
"""The client of a model behind an API; the same one each time."""

_LEASE_SLACK_S = 60.0
_LONGEST_BUDGET_WAIT_S = 5.0
"""How long to wait for calls under way to cost less than was reserved for them."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One answer while it is made."""

    project: Project
    """Where."""
    id: str
    """Its id."""
    effective: Effective
    """By which settings."""
    request: Request
    """What was asked."""
    calls: Calls
    """The calls that were made."""
    local_models: LocalModels
    """The models that run here."""
    open_client: OpenClient
    """Opens the others."""
    on_text: OnText | None
    """Is given the answer: piece by piece, where nothing can take it back."""
    messages: tuple[Message, ...] = ()
    """What a model is sent."""
    chunks: tuple[UsedChunk, ...] = ()
    """What was retrieved, and is in them."""
    notes: list[str] = field(default_factory=list)
    """What a person should know."""
    left_out: list[LeftOut] = field(default_factory=list)
    """Models that were not called, in order."""
    refused: Answer | None = None
    """The last refusal after which the next model was asked."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema that the answer must meet, empty for any JSON; None: it may be text."""
        return wanted_schema(self.effective, self.request)

    def ask(self, model: EffectiveModel) -> Answer | None:
        """The answer of one model of the route; None when the next one is to be asked.

        Raises AnswerFailed when no other model is to be asked either.
        """
        local = self._find_local(model)
        key = self._cache_key(model, local)
        if key is not None and (kept := self._kept(key)):
            return kept
        size = self._size(local)
        if obstacle := self._obstacle(model, size):
            self.left_out.append(obstacle)
            return None
        output_tokens = longest_output(model.settings, size)
        worst_usd = worst_call_usd(
            model.settings,
            size,
            max_output_tokens=output_tokens,
            local_cost_per_hour_usd=self.effective.local_cost_per_hour_usd,
        )
        try:
            reservation, only_once = self._reserve(model, worst_usd)
        except OverLimit as error:
            why = "unknown_price" if worst_usd is None else "budget"
            reason = f"{error.message} ({error.hint})" if error.hint else error.message
            self._leave_out(model, why, reason, wait_s=error.wait_s)
            return None
        bill = Bill(worst_usd)
        try:
            asked = self._open(model, local, size, bill, output_tokens, only_once=only_once)
            answer = self._draw(asked, only_once=only_once) if asked else None
        finally:
            self._settle(reservation, bill)
        if answer is not None and key is not None:
            organisation = self.request.organisation
            answer_cache.keep(self.project, self.effective.cache, organisation, key, answer)
        return answer

    def quote(self, model: EffectiveModel) -> Answer:
        """The builtin answer, which quotes what was found."""
        from modelyard.answering.basic_nlp import basic_answer

        text = basic_answer(model.settings, self.request.question, self.chunks)
        answering = Answering(language_model=model.name, ref=f"model:{model.name}")
        answer = self._answer(answering, text, finish="stop", degraded=True)
        if self.on_text is not None:
            self.on_text(text)
        return answer

    # What is known of a model before it is asked.

    def _find_local(self, model: EffectiveModel) -> LocalModel | None:
        """The files of a local model; None where they cannot be used, which `_obstacle` says."""
        if model.settings.provider == "local":
            with suppress(ModelyardError):
                return self.local_models.find(model, self.effective.environment)
        return None

    def _size(self, local: LocalModel | None) -> InputSize:
        if local is not None:
            with suppress(InvalidInput):  # its template refuses them, as the call will say
                tokenizer = self.local_models.tokenizer(local)
                return InputSize.exact(len(tokenizer.encode_prompt(self.messages)))
        return size_of(self.messages, self.schema)

    def _obstacle(self, model: EffectiveModel, size: InputSize) -> LeftOut | None:
        if self.calls.deadline.left_s <= 0:
            return LeftOut(model=model.name, why="out_of_time", reason="no time was left for it")
        return find_obstacle(
            self.project,
            self.effective,
            model,
            self.local_models,
            needs_json=self.schema is not None,
            size=size,
        )

    def _leave_out(
        self, model: EffectiveModel, why: Any, reason: str, *, wait_s: float | None = None
    ) -> None:
        self.left_out.append(LeftOut(model=model.name, why=why, reason=reason, wait_s=wait_s))

    # Answers from before.

    def _cache_key(self, model: EffectiveModel, local: LocalModel | None) -> str | None:
        if not self.effective.cache.enabled:
            return None
        if model.settings.provider == "local" and local is None:
            return None
        return answer_cache.answer_key(
            self.effective,
            model,
            self.request,
            self.messages,
            weights=local.base.fingerprint if local else None,
            adapter_digest=local.version.manifest.digest if local and local.version else None,
        )

    def _kept(self, key: str) -> Answer | None:
        if not self.request.use_cache:
            return None
        kept = answer_cache.find(self.project, self.effective.cache, self.request.organisation, key)
        if kept is None:
            return None
        if self.on_text is not None:
            self.on_text(kept.text)
        return replace(
            self._answer(
                Answering(
                    language_model=kept.model,
                    ref=kept.ref,
                    adapter_digest=kept.adapter_digest,
                ),
                kept.text,
                finish="stop",
            ),
            from_cache=True,
            samples=kept.samples,
            agreed=kept.agreed,
            chunks=kept.chunks,
        )

    # Money.

    def _reserve(self, model: EffectiveModel, worst_usd: float | None) -> tuple[Reservation, bool]:
        """Reserve every call that may be made; where that does not fit, each draw only once.

        Raises OverLimit when that does not fit either.
        """
        most = calls_at_most(self.effective, model.settings, needs_json=self.schema is not None)
        try:
            return self._reserve_calls(model.settings, worst_usd, most, within_s=0.0), False
        except OverLimit:
            if worst_usd is None:
                raise
        within_s = min(self.calls.deadline.left_s, _LONGEST_BUDGET_WAIT_S)
        once = self.effective.samples
        return self._reserve_calls(model.settings, worst_usd, once, within_s=within_s), True

    def _reserve_calls(
        self, settings: LanguageModel, worst_usd: float | None, calls: int, *, within_s: float
    ) -> Reservation:
        limit = self.effective.max_cost_per_request_usd
        spent = total_cost_usd(self.calls.attempts) or 0.0
        longest_s = calls * (settings.timeout_s + settings.retries.longest_wait_s)
        return reserve(
            self.project,
            environment=self.effective.environment,
            organisation=self.request.organisation,
            answer_id=self.id,
            budgets=self.effective.budgets,
            max_cost_usd=None if limit is None else max(0.0, limit - spent),
            worst_usd=None if worst_usd is None else worst_usd * calls,
            lease_s=min(longest_s, self.calls.deadline.left_s) + _LEASE_SLACK_S,
            within_s=within_s,
            pause=self.calls.pause,
        )

    def _settle(self, reservation: Reservation, bill: Bill) -> None:
        try:
            reservation.settle(bill.total_usd)
        except ModelyardError as error:
            self.notes.append(f"its cost counts in full until its lease is over: {error}")

    # Asking.

    def _open(
        self,
        model: EffectiveModel,
        local: LocalModel | None,
        size: InputSize,
        bill: Bill,
        output_tokens: int,
        *,
        only_once: bool,
    ) -> AskedModel | None:
        """The model ready to be called; None, with the reason left, when it cannot be loaded."""
        settings, load_s = model.settings, 0.0
        if local is not None:
            try:
                provider: Provider
                provider, load_s = self.local_models.open(local, self.request.organisation)
            except ModelyardError as error:
                self._leave_out(model, "not_local", str(error))
                return None
        else:
            client = self.open_client(settings)
            provider, load_s = client, client.load()
        self.calls.deadline.leave_out(load_s)
        if only_once:
            settings = replace(settings, retries=replace(settings.retries, attempts=0))
        return AskedModel(
            name=model.name,
            settings=settings,
            provider=provider,
            answering=_answering(model, local),
            input_tokens=size.about,
            output_tokens=output_tokens,
            bill=bill,
            load_s=load_s,
        )

    def _draw(self, asked: AskedModel, *, only_once: bool) -> Answer | None:
        """Draw as many answers as the profile wants, and make one of them."""
        first = len(self.calls.attempts)
        call = Call(
            messages=self.messages,
            generation=replace(asked.settings.generation, max_output_tokens=asked.output_tokens),
            json_schema=self.schema or None,  # for any JSON, the instructions say so
        )
        is_direct = self.schema is None and self.effective.samples == 1
        made = draw_together(
            lambda number: self.calls.draw(
                asked, _drawn(call, number), on_text=self.on_text if is_direct else None
            ),
            self.effective.samples,
        )
        replies = [each for each in made if isinstance(each, Reply)]
        if not replies:
            self._pass_on(asked, made)
            return None
        if len(replies) < len(made):
            self.notes.append(f"{len(replies)} of {len(made)} answers were drawn by {asked.name}")
        if not_taken := sorted({name for reply in replies for name in reply.not_taken}):
            self.notes.append(f"{asked.name} takes no {', '.join(not_taken)}")
        answered = [reply for reply in replies if reply.finish != "refused"]
        if not answered:
            return self._refuse(asked, replies[0])
        if self.schema is not None:
            answered = self._meeting(self.schema, asked, call, answered, only_once=only_once)
            if not answered:
                self._mark_missed(first)
                return None
        chosen, agreed = choose([reply.text for reply in answered])
        reply = answered[chosen]
        text = reply.text if self.schema is None else json_text(reply.text)
        if not is_direct and self.on_text is not None:
            self.on_text(text)
        answer = self._answer(asked.answering, text, finish=reply.finish)
        return replace(answer, samples=len(answered), agreed=agreed)

    def _meeting(
        self,
        schema: Mapping[str, Any],
        asked: AskedModel,
        call: Call,
        replies: Sequence[Reply],
        *,
        only_once: bool,
    ) -> list[Reply]:
        """The replies that are JSON of the schema; where none is, the first one repaired, once."""
        problems = [problem(reply.text, schema) for reply in replies]
        good = [reply for reply, found in zip(replies, problems, strict=True) if found is None]
        if good or only_once or problems[0] is None:
            return good
        messages = repair_messages(call.messages, replies[0].text, problems[0], schema)
        settings = replace(asked.settings, retries=replace(asked.settings.retries, attempts=0))
        once = replace(asked, settings=settings)
        repaired = self.calls.draw(once, replace(call, messages=messages), on_text=None)
        if isinstance(repaired, Reply) and problem(repaired.text, schema) is None:
            return [repaired]
        return []

    def _mark_missed(self, first: int) -> None:
        """Say of the answers since `first` that they were not of the form that is wanted."""
        attempts = self.calls.attempts
        for place, attempt in enumerate(attempts[first:], first):
            if attempt.outcome == "answered":
                reason = "its answer is no JSON that meets the schema"
                attempts[place] = replace(attempt, outcome="missed_schema", reason=reason)

    def _refuse(self, asked: AskedModel, reply: Reply) -> Answer | None:
        """A refusal is the answer, or what the next model is asked for."""
        answer = self._answer(asked.answering, reply.text, finish="refused")
        if asked.settings.on_refusal == "next" and not self.calls.shown:
            self.refused = answer
            return None
        if not self.calls.shown and self.on_text is not None:
            self.on_text(reply.text)
        return answer

    def _pass_on(self, asked: AskedModel, made: Sequence[Reply | CallFailure | LeftOut]) -> None:
        """What follows from having no answer: the next model, or the end of it all."""
        failures = [each for each in made if isinstance(each, CallFailure)]
        if not failures:
            self.left_out += [each for each in made if isinstance(each, LeftOut)][:1]
            return
        for failure in failures:
            if self.calls.shown:
                raise self.failed(f"the answer of {asked.name} broke off: {failure.reason}")
            if failure.kind == "invalid":
                raise self.failed(
                    f"{asked.name} does not take the request: {failure.reason}",
                    hint="no other model was asked: the request is at fault, or its settings are",
                )
        if (lasting := failures[0]).kind in ("no_access", "no_quota"):
            self.notes.append(
                f"{asked.name} is not called for a while: {lasting.reason} "
                "(`models providers check` says what is wrong)"
            )

    def failed(self, message: str, *, hint: str | None = None) -> AnswerFailed:
        """The error that there is no answer, with all that was tried."""
        return AnswerFailed(
            message,
            answer_id=self.id,
            hint=hint,
            attempts=self.calls.attempts,
            left_out=self.left_out,
        )

    def _answer(
        self, answering: Answering, text: str, *, finish: Any, degraded: bool = False
    ) -> Answer:
        attempts, deadline = tuple(self.calls.attempts), self.calls.deadline
        latency_s = deadline.passed_s
        return Answer(
            id=self.id,
            text=text,
            model=answering.language_model,
            ref=answering.ref,
            adapter_digest=answering.adapter_digest,
            finish=finish,
            degraded=degraded,
            attempts=attempts,
            left_out=tuple(self.left_out),
            chunks=mark_named(self.chunks, text),
            usage=total_usage(attempts),
            cost_usd=total_cost_usd(attempts),
            load_s=deadline.load_s,
            waited_s=min(latency_s, sum(attempt.waited_s for attempt in attempts)),
            first_token_s=self.calls.first_token_s,
            latency_s=latency_s,
            notes=tuple(self.notes),
        )


def size_of(messages: Sequence[Message], schema: Mapping[str, Any] | None) -> InputSize:
    """How many tokens these have for a model whose tokenizer is not here."""
    return InputSize.between(
        count_input(messages, json_schema=schema, count=estimate_tokens),
        count_input(messages, json_schema=schema),
    )


def _answering(model: EffectiveModel, local: LocalModel | None) -> Answering:
    return Answering(
        language_model=model.name,
        ref=str(local.ref) if local else f"model:{model.name}",
        adapter_digest=local.version.manifest.digest if local and local.version else None,
        runs_here=local is not None,
    )


def _drawn(call: Call, number: int) -> Call:
    """The call of one draw of several: with a seed of its own, where one is set."""
    seed = call.generation.seed
    if seed is None or number == 0:
        return call
    return replace(call, generation=replace(call.generation, seed=(seed + number) % 2**31))
