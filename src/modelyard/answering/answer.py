"""The one function that answers: what the configs say of a request is what happens here.

    with Answerer(project) as answerer:
        answer = answerer.answer(load_effective("production", "code_analysis"), request)

Input rules, retrieval, prompt and the limits of the service come first; then the models of the
route are asked one after the other (`run.py`) until one answers. However it ends, it is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from modelyard.answering.ab_test import follow_ab_test
from modelyard.answering.calls import Calls
from modelyard.answering.deadline import Deadline
from modelyard.answering.engine_thread import Note
from modelyard.answering.input_rules import check_input
from modelyard.answering.input_size import InputSize, least_beyond, size_of
from modelyard.answering.json_answers import check_schema
from modelyard.answering.limits import service_scopes, take_turn
from modelyard.answering.local_models import LocalModels
from modelyard.answering.money.worst_case import longest_output, worst_case
from modelyard.answering.outside_engine import OutsideEngine
from modelyard.answering.prompt import CountTokens, bound_tokens, build_messages, estimate_tokens
from modelyard.answering.recorded import Asked, SampleWriter
from modelyard.answering.recorded_prompts import record_prompt
from modelyard.answering.request import (
    Answer,
    AnswerCancelled,
    AnswerFailed,
    BrokenModel,
    ContextTooLong,
    NothingFound,
    OverLimit,
    Request,
)
from modelyard.answering.request_settings import with_request
from modelyard.answering.request_tools import check_tools, offered_tools
from modelyard.answering.retrieving import LONGEST_WAIT_S, retrieve
from modelyard.answering.route import (
    Step,
    order_models,
)
from modelyard.answering.run import Run
from modelyard.answering.searchers import Searchers
from modelyard.answering.speeds import Speeds
from modelyard.answering.unanswered import is_request_at_fault
from modelyard.configs.kinds.language_models import LanguageModel, Retries
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project, check_name, find_project
from modelyard.deployments.effective_settings import Effective, EffectiveModel
from modelyard.inference.engine_limits import EngineFigures, EngineLimits
from modelyard.pacing import Pause, pause
from modelyard.providers.call import OnText
from modelyard.providers.hosted import HostedModel
from modelyard.providers.open import open_provider
from modelyard.records.sample import Outcome, new_answer_id
from modelyard.records.spool import Recorder

_DEFAULT_LIMITS = EngineLimits()
_LEFT_FOR_MONEY = ("budget", "unknown_price", "limit")
"""What leaves a model out that could answer otherwise."""


class Answerer:
    """What answers in a project: clients, local models and indexes, opened when first needed.

    Any number of threads may share one; each process has its own. Clients and local models answer
    several threads at once, and a few of them search at once; the others wait.

    note: is told, in a sentence, what a person should know of a local model that is loaded.
    pause: waits between attempts; when it is ended early, nothing is tried again.
    engine: what the engine of each local base keeps to.
    outside: the engine that computes the local models instead of this process.
    """

    def __init__(
        self,
        project: Project,
        *,
        note: Note = lambda _: None,
        pause: Pause = pause,
        engine: EngineLimits = _DEFAULT_LIMITS,
        outside: OutsideEngine | None = None,
    ) -> None:
        self.project = project
        self.outside = outside
        self.local_models = LocalModels(project, note=note, limits=engine)
        self.recorder = Recorder(project)
        self.speeds = Speeds(project)
        self._pause = pause
        self._lock = threading.Lock()
        self._clients: dict[LanguageModel, HostedModel] = {}
        self.searchers = Searchers(project)

    def __enter__(self) -> Answerer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what was opened; answers that are under way in other threads fail."""
        self.local_models.close()
        self.recorder.close()
        self.searchers.close()

    def figures(self) -> EngineFigures:
        """What the local models of this process do and hold now."""
        return self.local_models.figures()

    def answer(
        self, effective: Effective, request: Request, *, on_text: OnText | None = None
    ) -> Answer:
        """Answer a request by the settings of its domain, and record it.

        on_text: is given the answer; piece by piece as it comes, unless it may yet be taken back:
        one that must be JSON, or that several draws decide, comes whole.
        Raises InvalidInput for a request that the domain does not take, OverLimit when budgets or
        limits leave no room for it, NothingFound when it may only say what is found and nothing is,
        AnswerFailed when no model answered or one broke off in the middle; its classes say where
        the context is too short, too many wait, a model is damaged, or nobody wants the answer.
        """
        if request.organisation is not None:
            check_name(request.organisation, "organisation")
        if request.json_schema is not None:
            check_schema(request.json_schema, where="the JSON Schema")
        effective = with_request(follow_ab_test(effective, request), request)
        check_tools(effective, request)
        count = self._counter(effective, request)
        messages = build_messages(effective, request, ())
        check_input(effective, request, messages, count=count or estimate_tokens)
        run = self._begin(effective, request, on_text)
        try:
            answer = self._answer(run, count)
        except BaseException as error:
            self._record_none(run, error)
            raise
        finally:
            run.calls.stopped.set()
        unrecorded = record_prompt(
            self.project, effective.record_prompts, request, answer_id=run.id, answer=answer.text
        )
        if unrecorded is not None:
            run.notes.append(unrecorded)
        run.calls.samples.record_answer(answer)
        return replace(answer, left_out=tuple(run.left_out), notes=tuple(run.notes))

    def _begin(self, effective: Effective, request: Request, on_text: OnText | None) -> Run:
        answer_id = request.id or new_answer_id()
        asked = Asked(
            answer_id=answer_id,
            parent_id=request.parent_id,
            organisation=request.organisation,
            effective=effective,
            is_test=request.is_test,
        )
        recorder = self.recorder if effective.monitoring.enabled else None
        return Run(
            project=self.project,
            id=answer_id,
            effective=effective,
            request=request,
            calls=Calls(
                project=self.project,
                effective=effective,
                deadline=Deadline(effective.timeout_s),
                samples=SampleWriter(recorder, asked),
                pause=request.cancelled.wait if request.cancelled else self._pause,
                cancelled=request.cancelled,
            ),
            local_models=self.local_models,
            outside=self.outside,
            open_client=self.open_client,
            on_text=on_text,
        )

    def _answer(self, run: Run, count: CountTokens | None) -> Answer:
        effective, request = run.effective, run.request
        if effective.retrieval is not None:
            within_s = min(run.calls.deadline.left_s / 2, LONGEST_WAIT_S)
            found = retrieve(
                self.searchers.for_answer(effective, within_s=within_s),
                effective,
                request,
                count or bound_tokens,
                within_s=within_s,
            )
            run.chunks, run.notes = found.chunks, list(found.notes)
        run.messages = build_messages(effective, request, run.chunks)
        size = size_of(run.messages, run.schema, run.tools)
        steps = self.order(effective, size, schema=run.schema)
        if not request.use_fallback:
            steps = steps[:1]
        self._take_turn(run, size, steps)
        for step in steps:
            if step.model.settings.provider == "builtin":
                continue
            answer = run.ask(step.model)
            if answer is not None:
                return answer
        return self._without_models(run, steps)

    def _take_turn(self, run: Run, size: InputSize, steps: Sequence[Step]) -> None:
        """Count the request against the limits of the service; raises OverLimit without room.

        Tokens that no model has room for are not counted: they go nowhere.
        """
        effective, organisation = run.effective, run.request.organisation
        tokens = 0
        asked = [step.model.settings for step in steps if step.model.settings.provider != "builtin"]
        if any(size.least < settings.context_tokens for settings in asked):
            tokens = size.about + longest_output(effective.model.settings, size)
        turn = take_turn(
            self.project,
            service_scopes(effective.environment, effective.rate_limits, organisation),
            tokens=tokens,
            within_s=min(run.calls.deadline.left_s, run.request.longest_turn_s),
            pause=run.calls.pause,
        )
        run.require_wanted()
        if isinstance(turn, float):
            error = OverLimit(
                f"the limits of this service leave no room for a request for {turn:.0f} s",
                hint="ask again then, or raise rate_limits of the integration config",
            )
            error.wait_s = turn
            raise error
        with turn:  # what is limited is how many begin in a minute, not how many are under way
            pass

    def _without_models(self, run: Run, steps: tuple[Step, ...]) -> Answer:
        """The end of a request that no language model answered."""
        if run.refused is not None:
            return run.refused
        run.require_wanted()
        reasons = [f"{each.model}: {each.reason}" for each in run.calls.attempts if each.reason]
        reasons += [f"{each.model}: {each.reason}" for each in run.left_out]
        tried = "; ".join(dict.fromkeys(reasons))  # of equal failures, one
        left_out = run.left_out
        if left_out and not run.calls.attempts and _all_for_money(run):
            waits = [each.wait_s for each in left_out if each.wait_s is not None]
            error = OverLimit(
                f"nothing was called: {tried}",
                hint="ask again then, or raise `limits` of the language model, or the `timeout` of "
                "the profile, up to which is waited"
                if any(each.why == "limit" for each in left_out)
                else None,
            )
            error.wait_s = min(waits, default=None)
            error.is_budget = all(each.why != "limit" for each in left_out)
            error.has_no_price = all(each.why == "unknown_price" for each in left_out)
            raise error
        builtin = next((s.model for s in steps if s.model.settings.provider == "builtin"), None)
        unanswered = run.unanswered(tried)
        if isinstance(unanswered, (ContextTooLong, BrokenModel)) and not run.chunks:
            raise unanswered  # it says what to mend, and there is nothing to quote
        if builtin is not None and run.schema is None:
            if tried:
                run.notes.append(f"no language model answered: {tried}")
            return run.quote(builtin)
        if run.schema is not None and any(
            each.outcome == "missed_schema" for each in run.calls.attempts
        ):
            raise run.failed(f"no model gave JSON that meets the schema: {tried}")
        raise unanswered

    def _record_none(self, run: Run, error: BaseException) -> None:
        """Leave the sample of a request that has no answer."""
        outcome: Outcome = "interrupted"
        if isinstance(error, AnswerCancelled):
            outcome = "interrupted"
        elif isinstance(error, OverLimit):
            outcome = "over_limit"
        elif isinstance(error, NothingFound):
            outcome = "nothing_found"
        elif is_request_at_fault(error, run.request, has_sources=bool(run.chunks)):
            outcome = "not_taken"
        elif isinstance(error, Exception):
            outcome = "failed"
        attempts = run.calls.attempts
        failed = outcome == "failed" and attempts and isinstance(error, AnswerFailed)
        run.calls.samples.record_none(
            outcome,
            attempts,
            unfinished=run.calls.unfinished,
            load_s=run.calls.deadline.load_s,
            latency_s=run.calls.deadline.passed_s,
            failure=attempts[-1].outcome if failed else None,
        )

    # What is shared.

    def order(
        self, effective: Effective, size: InputSize, *, schema: Mapping[str, Any] | None
    ) -> tuple[Step, ...]:
        """The route of a request of this length: who is asked, in which order.

        schema: of the JSON that the answer must be, empty for any; None: it may be text.
        """
        typical_s: Mapping[str, float] = {}
        if effective.strategy == "fastest":
            window_s = effective.monitoring.window_s
            typical_s = self.speeds.typical_s(effective.environment, window_s)

        def worst_cost(model: EffectiveModel) -> float | None:
            return worst_case(effective, model, size, schema=schema).usd

        return order_models(effective, size.about, worst_cost=worst_cost, typical_s=typical_s)

    def open_client(self, settings: LanguageModel) -> HostedModel:
        """The client of a model behind an API: the same one for every domain that uses it."""
        of_any_domain = replace(settings, generation=Generation(), retries=Retries())
        with self._lock:
            client = self._clients.get(of_any_domain)
            if client is None:
                client = open_provider(of_any_domain, self.project)
                self._clients[of_any_domain] = client
        return client

    def _counter(self, effective: Effective, request: Request) -> CountTokens | None:
        """Counts the tokens of a text for the first model, where that is one of this machine.

        Raises InvalidInput where its chat template knows no tools, and some are offered.
        """
        if effective.model.settings.provider != "local" or self.outside is not None:
            return None
        try:
            local = self.local_models.find(effective.model, effective.environment)
            tokenizer = self.local_models.tokenizer(local)
        except ModelyardError:
            return None  # said when it is to be asked
        if offered_tools(request):
            from modelyard.chatdata.tool_calls import require_form

            require_form(tokenizer)
        context = effective.model.settings.context_tokens

        def count(text: str) -> int:
            least = least_beyond(tokenizer, text, context)
            return len(tokenizer.encode(text)) if least is None else least

        return count


def answer(
    effective: Effective,
    request: Request,
    *,
    project: Project | None = None,
    on_text: OnText | None = None,
) -> Answer:
    """One answer, with everything opened for it and closed after it; see `Answerer.answer`."""
    with Answerer(project or find_project()) as answerer:
        return answerer.answer(effective, request, on_text=on_text)


def _all_for_money(run: Run) -> bool:
    return all(each.why in _LEFT_FOR_MONEY for each in run.left_out)
