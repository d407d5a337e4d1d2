"""One answer while it is made: what is asked of each model, and what is made of what it says.

A run belongs to one thread. What several answers share is the `Answerer`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from modelyard.answering import answer_cache
from modelyard.answering.answer_cache import cache_key
from modelyard.answering.calls import AskedModel, Calls
from modelyard.answering.drawing import NotDrawn, draw_answer
from modelyard.answering.held_form import hold_to_form
from modelyard.answering.input_size import InputSize, least_beyond, size_of
from modelyard.answering.local_models import LocalModels
from modelyard.answering.local_provider import LocalProvider, share_of
from modelyard.answering.money.bill import Bill
from modelyard.answering.money.ledger import Reservation, reserve
from modelyard.answering.money.worst_case import WorstCase, worst_case
from modelyard.answering.obstacles import find_obstacle, find_stand_in
from modelyard.answering.outside_engine import NotListed, OutsideEngine
from modelyard.answering.prompt import wanted_schema
from modelyard.answering.recorded import Answering, total_cost_usd, total_usage
from modelyard.answering.request import (
    Answer,
    AnswerCancelled,
    AnswerFailed,
    LeftOut,
    LeftOutFor,
    NotTaken,
    OverLimit,
    Request,
    UsedChunk,
)
from modelyard.answering.request_tools import offered_tools
from modelyard.answering.retrieving import mark_named
from modelyard.answering.unanswered import Unanswered, is_damage
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.providers.call import Call, OnText
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
    outside: OutsideEngine | None = None
    """What computes them instead, where that is another process."""
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
    spent_usd: float = 0.0
    """What the models that were asked cost, the most that it can be where it is not known."""
    damaged: dict[str, str] = field(default_factory=dict)
    """By the name of a base, the adapter of it that could not be used: its base does not answer
    instead."""
    why: Unanswered = field(default_factory=Unanswered)
    """Why there is no answer, as far as models were asked."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema that the answer must meet, empty for any JSON; None: it may be text."""
        return wanted_schema(self.effective, self.request)

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """What the model may call."""
        return offered_tools(self.request)

    def ask(self, model: EffectiveModel) -> Answer | None:
        """The answer of one model of the route; None when the next one is to be asked.

        Raises AnswerFailed when no other model is to be asked either.
        """
        self.require_wanted()
        if stand_in := find_stand_in(model, self.damaged):
            self.left_out.append(stand_in)
            return None
        digest = None
        if self.outside is not None and model.settings.provider == "local":
            try:
                placed = self.outside.place(model, self.effective.environment)
            except ModelyardError as error:
                if isinstance(error, NotListed):
                    self.why.not_served = error.name
                self._leave_out(model, "not_local", str(error))
                return None
            model, digest = placed.model, placed.adapter_digest
        local = self._find_local(model)
        key = cache_key(self.effective, model, self.request, self.messages, local)
        if key is not None and (kept := self._kept(key)):
            return kept
        size = self._size(model, local)
        if obstacle := self._obstacle(model, size):
            if obstacle.why == "too_long":
                self.why.too_long = size, model.settings.context_tokens
            self.left_out.append(obstacle)
            return None
        worst = worst_case(self.effective, model, size, schema=self.schema)
        try:
            reservation, worst = self._reserve(model, worst)
        except OverLimit as error:
            why: LeftOutFor = "unknown_price" if worst.usd is None else "budget"
            reason = f"{error.message} ({error.hint})" if error.hint else error.message
            self._leave_out(model, why, reason, wait_s=error.wait_s)
            return None
        bill, repair_bill = Bill(worst.call_usd), Bill(worst.repair_usd)
        try:
            asked = self._open(model, local, size, worst, bill)
            if asked is not None and digest is not None:
                named = replace(asked.answering, adapter_digest=digest)
                asked = replace(asked, answering=named)
            answer = self._draw(model, asked, worst, repair_bill) if asked else None
        finally:
            self._settle(reservation, bill, repair_bill)
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
            try:
                return self.local_models.find(model, self.effective.environment)
            except ModelyardError as error:
                if is_damage(error):
                    self._note_damage(model, error.message)
        return None

    def _note_damage(self, model: EffectiveModel, reason: str) -> None:
        settings = model.settings
        if settings.adapter is None:
            self.why.broken = settings.model, reason
        else:
            self.why.broken = settings.adapter, reason
            self.damaged[settings.model] = settings.adapter

    def _size(self, model: EffectiveModel, local: LocalModel | None) -> InputSize:
        if local is not None:
            from modelyard.chatdata.tool_calls import encode_request, render_request

            with suppress(InvalidInput):  # its template refuses them, as the call will say
                tokenizer = self.local_models.tokenizer(local)
                text = render_request(tokenizer, self.messages, self.tools)
                least = least_beyond(tokenizer, text, model.settings.context_tokens)
                if least is not None:
                    return InputSize.from_least(least, text)
                return InputSize.exact(len(encode_request(tokenizer, self.messages, self.tools)))
        return size_of(self.messages, self.schema, self.tools)

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
        self, model: EffectiveModel, why: LeftOutFor, reason: str, *, wait_s: float | None = None
    ) -> None:
        self.left_out.append(LeftOut(model=model.name, why=why, reason=reason, wait_s=wait_s))

    # Answers from before.

    def _kept(self, key: str) -> Answer | None:
        """The answer that was kept under a key, shown whole."""
        if not self.request.use_cache:
            return None
        kept = answer_cache.find(self.project, self.effective.cache, self.request.organisation, key)
        if kept is None:
            return None
        if self.on_text is not None:
            self.on_text(kept.text)
        answering = Answering(
            language_model=kept.model, ref=kept.ref, adapter_digest=kept.adapter_digest
        )
        return replace(
            self._answer(answering, kept.text, finish="stop"),
            from_cache=True,
            stop_sequence=kept.stop_sequence,
            samples=kept.samples,
            agreed=kept.agreed,
            chunks=kept.chunks,
        )

    # Money.

    def _reserve(self, model: EffectiveModel, worst: WorstCase) -> tuple[Reservation, WorstCase]:
        """Reserve every call that may be made; where that does not fit, each draw only once.

        Raises OverLimit when that does not fit either.
        """
        try:
            return self._reserve_calls(model, worst, within_s=0.0), worst
        except OverLimit:
            if worst.usd is None:
                raise
        within_s = min(self.calls.deadline.left_s, _LONGEST_BUDGET_WAIT_S)
        return self._reserve_calls(model, worst.once, within_s=within_s), worst.once

    def _reserve_calls(
        self, model: EffectiveModel, worst: WorstCase, *, within_s: float
    ) -> Reservation:
        limit = self.effective.max_cost_per_request_usd
        settings = model.settings
        longest_s = worst.calls * (settings.timeout_s + settings.retries.longest_wait_s)
        return reserve(
            self.project,
            environment=self.effective.environment,
            organisation=self.request.organisation,
            key=self.request.key,
            answer_id=self.id,
            budgets=self.effective.budgets,
            max_cost_usd=None if limit is None else max(0.0, limit - self.spent_usd),
            worst_usd=worst.usd,
            lease_s=min(longest_s, self.calls.deadline.left_s) + _LEASE_SLACK_S,
            within_s=within_s,
            pause=self.calls.pause,
        )

    def _settle(self, reservation: Reservation, *bills: Bill) -> None:
        totals = [bill.total_usd for bill in bills]
        known = [total for total in totals if total is not None]
        self.spent_usd += sum(known)
        try:
            reservation.settle(sum(known) if len(known) == len(totals) else None)
        except ModelyardError as error:
            self.notes.append(f"its cost counts in full until its lease is over: {error}")

    # Asking.

    def _open(
        self,
        model: EffectiveModel,
        local: LocalModel | None,
        size: InputSize,
        worst: WorstCase,
        bill: Bill,
    ) -> AskedModel | None:
        """The model ready to be called; None, with the reason left, when it cannot be loaded."""
        settings, load_s = model.settings, 0.0
        provider: LocalProvider | HostedModel
        if local is not None:
            try:
                provider, load_s = self.local_models.open(
                    local, self.request.organisation, share_of(self.effective)
                )
            except ModelyardError as error:
                if is_damage(error):
                    self._note_damage(model, error.message)
                self._leave_out(model, "damaged" if is_damage(error) else "not_local", str(error))
                return None
            room = min(settings.context_tokens, provider.context_tokens)
            settings = replace(settings, context_tokens=room)
        else:
            provider = self.open_client(settings)
            load_s = provider.load()
        self.calls.deadline.leave_out(load_s)
        retries = replace(settings.retries, attempts=worst.repetitions)
        return AskedModel(
            name=model.name,
            settings=replace(settings, retries=retries),
            provider=provider,
            answering=Answering.of(model, local),
            size=size,
            output_tokens=worst.output_tokens,
            bill=bill,
            load_s=load_s,
        )

    def _draw(
        self, model: EffectiveModel, asked: AskedModel, worst: WorstCase, repair_bill: Bill
    ) -> Answer | None:
        """What the model makes of the request; None when the next one is to be asked."""
        held = hold_to_form(asked, self.schema, is_own=self.request.json_schema is not None)
        self.notes += held.notes
        call = Call(
            messages=self.messages,
            generation=replace(asked.settings.generation, max_output_tokens=worst.output_tokens),
            json_schema=held.schema,
            use_prefix_cache=self.request.use_cache,
            tools=self.tools,
            tool_choice=self.request.tool_choice,
            takes_empty=self.outside is not None and self.outside.computes(model),
            cancelled=self.request.cancelled,
        )
        never_again = replace(asked.settings, retries=replace(asked.settings.retries, attempts=0))
        repairing = replace(asked, settings=never_again, bill=repair_bill)
        drawn = draw_answer(
            self.calls,
            asked,
            call,
            samples=self.effective.samples,
            schema=self.schema,
            holds=held.holds,
            repairing=repairing if worst.repairs else None,
            on_text=self.on_text,
        )
        if isinstance(drawn, NotDrawn):
            self._pass_on(model, asked, drawn)
            return None
        self.notes += drawn.notes
        answer = self._answer(asked.answering, drawn.text, finish=drawn.finish)
        answer = replace(answer, tool_calls=drawn.tool_calls, stop_sequence=drawn.stop_sequence)
        if drawn.finish == "refused":
            return self._refuse(asked, answer)
        return replace(answer, samples=drawn.samples, agreed=drawn.agreed)

    def _refuse(self, asked: AskedModel, answer: Answer) -> Answer | None:
        """A refusal is the answer, or what the next model is asked for."""
        if asked.settings.on_refusal == "next" and not self.calls.shown:
            self.refused = answer
            return None
        if not self.calls.shown and self.on_text is not None:
            self.on_text(answer.text)
        return answer

    def _pass_on(self, model: EffectiveModel, asked: AskedModel, made: NotDrawn) -> None:
        """What follows from having no answer: the next model, or the end of it all."""
        if made.left_out is not None:
            self.left_out.append(made.left_out)
        for failure in made.failures:
            if failure.kind == "cancelled":
                raise self.failed("nobody wants the answer any more", AnswerCancelled)
            if failure.kind == "too_long":
                self.why.too_long = asked.size, asked.settings.context_tokens
            if failure.kind == "damaged":
                self._note_damage(model, failure.reason)
            if failure.kind == "busy" and asked.answering.runs_here:
                self.why.engine_busy = True
            if self.calls.shown:
                raise self.failed(f"the answer of {asked.name} broke off: {failure.reason}")
            if failure.kind == "invalid":
                error = self.failed(
                    f"{asked.name} does not take the request: {failure.reason}",
                    NotTaken,
                    hint="no other model was asked: the request is at fault, or its settings are",
                )
                if isinstance(error, NotTaken):
                    error.field = failure.field
                raise error
        lasting = [each for each in made.failures if each.kind in ("no_access", "no_quota")]
        if lasting:
            self.notes.append(
                f"{asked.name} is not called for a while: {lasting[0].reason} "
                "(`models providers check` says what is wrong)"
            )

    def require_wanted(self) -> None:
        """Raise AnswerCancelled when nobody wants the answer any more."""
        if self.request.is_cancelled:
            raise self.failed("nobody wants the answer any more", AnswerCancelled)

    def unanswered(self, tried: str) -> AnswerFailed:
        """The error that no model answered; `tried` says what was tried."""
        return self.why.error(
            tried, answer_id=self.id, attempts=self.calls.attempts, left_out=self.left_out
        )

    def failed(
        self, message: str, kind: type[AnswerFailed] = AnswerFailed, *, hint: str | None = None
    ) -> AnswerFailed:
        """The error that there is no answer, with all that was tried."""
        return kind(
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
            variant=self.effective.variant,
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
