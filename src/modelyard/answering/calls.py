"""The calls of one answer: each in its turn, within the time, repeated as its model's settings say.

This is the one owner of repetitions: the clients of providers make none. What a failure means for
the model's breaker is here too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from modelyard.answering import breaker
from modelyard.answering.deadline import Deadline
from modelyard.answering.input_size import InputSize
from modelyard.answering.limits import LimitScope, hold, model_scope, take_turn
from modelyard.answering.money.bill import Bill, call_cost_usd
from modelyard.answering.prompt import estimate_tokens
from modelyard.answering.recorded import Answering, SampleWriter
from modelyard.answering.repeated import without_request
from modelyard.answering.request import Attempt, LeftOut
from modelyard.configs.kinds.language_models import LanguageModel
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import Effective
from modelyard.pacing import Pause, RetryPolicy
from modelyard.providers.call import Call, CallFailure, FailureKind, OnText, Provider, Reply, Usage

_FAULTS: frozenset[FailureKind] = frozenset({"busy", "timeout", "unreachable", "broken", "cut_off"})
"""What counts against a model."""
_LASTING: frozenset[FailureKind] = frozenset({"no_access", "no_quota"})
"""What opens its breaker at once: nothing helps until a person does something."""
_LEASE_SLACK_S = 30.0
_LONGEST_TURN_S = 60.0
"""How long a call waits for its turn at least, where the answer has no deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """A model that is about to be called."""

    name: str
    """Its name in the configs."""
    settings: LanguageModel
    """Its settings, with those of the domain and the profile."""
    provider: Provider
    """Its client."""
    answering: Answering
    """What its samples say."""
    size: InputSize
    """Tokens of the input, as far as they are known."""
    output_tokens: int
    """The most tokens of an answer; with those of the input they count for a minute's limit."""
    bill: Bill
    """What its calls cost."""
    load_s: float = 0.0
    """Seconds that loading it took, just before."""


@dataclass(slots=True, kw_only=True)
class Calls:
    """The calls of one answer, in whatever thread they are made."""

    project: Project
    effective: Effective
    """By which settings."""
    deadline: Deadline
    """The time for all of them."""
    samples: SampleWriter
    """Where each of them is recorded."""
    pause: Pause
    """Waits between two of them."""
    cancelled: threading.Event | None = None
    """Is set when nobody wants the answer any more."""
    attempts: list[Attempt] = field(default_factory=list)
    """Those that have ended, in this order."""
    shown: list[str] = field(default_factory=list)
    """The pieces of the answer that were shown as they came."""
    first_token_s: float | None = None
    """When the first piece of the last call came, in seconds since the answer began."""
    unfinished: int = 0
    """Calls that were sent and have not ended."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for the answer any more: no further call is made."""
    _loads_recorded: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(
        self, asked: AskedModel, call: Call, *, on_text: OnText | None
    ) -> Reply | CallFailure | LeftOut:
        """One answer of a model: a call, again while its failure is temporary and time is left.

        on_text: is given each piece as it comes, so that the answer cannot be taken back: when it
        fails after that, the failure is `cut_off`.
        Returns the last failure when it is given up, and LeftOut when it was never called.
        """
        settings = asked.settings
        policy = RetryPolicy(
            attempts=settings.retries.attempts + 1,
            unreached_attempts=settings.retries.attempts + 1,
            first_wait_s=settings.retries.first_wait_s,
            longest_wait_s=settings.retries.longest_wait_s,
        )
        scope = model_scope(
            self.effective.environment,
            asked.name,
            settings.limits,
            is_local=settings.provider == "local",
        )
        last: CallFailure | None = None
        attempt, waited_s = 0, 0.0
        while True:
            attempt += 1
            made = self._call_in_turn(asked, call, scope, waited_s, on_text)
            if isinstance(made, LeftOut):
                return last or made
            if not isinstance(made, CallFailure):
                return made
            last = made
            if made.asked_wait_s is not None:
                with suppress(ModelyardError):
                    hold(self.project, scope.name, made.asked_wait_s)
            wait_s = policy.wait_s(made, attempt, left_s=self.deadline.left_s)
            if wait_s is None or self._is_open(asked.name) or self.pause(wait_s):
                return made
            if self.stopped.is_set():
                return made
            waited_s = wait_s

    def _is_open(self, name: str) -> bool:
        strategy = self.effective.fallback_strategy
        return breaker.peek(self.project, self._breaker(name), strategy).state == "open"

    def _breaker(self, name: str) -> str:
        return f"{self.effective.environment}/{name}"

    def _call_in_turn(
        self,
        asked: AskedModel,
        call: Call,
        scope: LimitScope,
        waited_s: float,
        on_text: OnText | None,
    ) -> Reply | CallFailure | LeftOut:
        """Wait for the turn, ask the breaker, and make the call."""
        name, began = asked.name, time.perf_counter()
        timeout_s = min(asked.settings.timeout_s, self.deadline.left_s)
        turn = take_turn(
            self.project,
            (scope,),
            tokens=asked.size.about + asked.output_tokens,
            within_s=min(self.deadline.left_s, max(_LONGEST_TURN_S, asked.settings.timeout_s)),
            pause=self.pause,
            lease_s=timeout_s + _LEASE_SLACK_S,
        )
        if isinstance(turn, float):
            reason = f"its limits leave no room for {turn:.1f} s"
            return LeftOut(model=name, why="limit", reason=reason, wait_s=turn)
        with turn:
            if self.cancelled is not None and self.cancelled.is_set():
                return LeftOut(model=name, why="cancelled", reason="nobody wants it any more")
            waited_s += time.perf_counter() - began
            timeout_s = min(asked.settings.timeout_s, self.deadline.left_s)
            if timeout_s <= 0:
                return LeftOut(model=name, why="out_of_time", reason="no time was left for it")
            admission = breaker.admit(
                self.project,
                self._breaker(name),
                self.effective.fallback_strategy,
                lease_s=timeout_s + _LEASE_SLACK_S,
            )
            if admission.state == "open":
                return LeftOut(model=name, why="breaker", reason=admission.words)
            return self._call(asked, call, timeout_s, waited_s, on_text)

    def _call(
        self,
        asked: AskedModel,
        call: Call,
        timeout_s: float,
        waited_s: float,
        on_text: OnText | None,
    ) -> Reply | CallFailure:
        with self._lock:
            self.unfinished += 1
            load_s = 0.0 if asked.name in self._loads_recorded else asked.load_s
            self._loads_recorded.add(asked.name)
        listener = None if on_text is None else _Listener(on_text, self.shown)
        began = time.perf_counter()
        asked.bill.begin()
        try:
            result = asked.provider.send(call, timeout_s=timeout_s, on_text=listener)
            if listener is not None and listener.error is not None:
                raise listener.error
        except BaseException:
            with suppress(ModelyardError):
                breaker.record_nothing(self.project, self._breaker(asked.name))
            passed_s = time.perf_counter() - began
            self.samples.record_call(
                asked.answering,
                None,
                load_s=load_s,
                first_token_s=listener.after(began) if listener else None,
                passed_s=passed_s,
            )
            raise
        latency_s = time.perf_counter() - began
        is_blameless = asked.answering.runs_here and _comes_of_request(result)
        if isinstance(result, CallFailure):
            result = self._explained(asked, result, timeout_s)
        cost = call_cost_usd(
            asked.settings,
            result.usage,
            seconds=latency_s,
            local_cost_per_hour_usd=self.effective.local_cost_per_hour_usd,
        )
        asked.bill.end(cost)
        with suppress(ModelyardError):  # a disk that is full now takes no answer away
            self._tell_breaker(asked, call, result, is_blameless=is_blameless)
        attempt = _attempt(asked.name, result, waited_s, latency_s, cost)
        with self._lock:
            self.unfinished -= 1
            self.attempts.append(attempt)
            if listener is not None and listener.first_s is not None:
                since_s = time.perf_counter() - listener.first_s
                self.first_token_s = self.deadline.passed_s - since_s
        self.samples.record_call(
            asked.answering,
            attempt,
            load_s=load_s,
            first_token_s=listener.after(began) if listener else None,
            passed_s=latency_s,
        )
        return result

    def _explained(self, asked: AskedModel, failure: CallFailure, timeout_s: float) -> CallFailure:
        """The failure as it is for the answer: whether it was shown, and whose time was over."""
        if self.shown and failure.kind != "cancelled":
            usage = failure.usage or Usage(
                input_tokens=asked.size.about,
                output_tokens=estimate_tokens("".join(self.shown)),
                is_estimated=True,
            )
            return replace(failure, kind="cut_off", is_temporary=False, usage=usage)
        if failure.kind in ("timeout", "out_of_time"):
            if timeout_s < asked.settings.timeout_s and self.deadline.left_s <= 0:
                reason = f"the {self.deadline.seconds:g} s for the whole answer were over"
                return replace(failure, kind="out_of_time", reason=reason, is_temporary=False)
            return replace(failure, kind="timeout", is_temporary=True)
        return failure

    def _tell_breaker(
        self, asked: AskedModel, call: Call, result: Reply | CallFailure, *, is_blameless: bool
    ) -> None:
        place = self._breaker(asked.name)
        if not isinstance(result, CallFailure):
            breaker.record_success(self.project, place)
        elif is_blameless:
            breaker.record_nothing(self.project, place)
        elif result.kind in _FAULTS or result.kind in _LASTING:
            breaker.record_failure(
                self.project,
                place,
                self.effective.fallback_strategy,
                without_request(result.reason, (turn.content for turn in call.messages)),
                opens_at_once=result.kind in _LASTING,
            )
        else:
            breaker.record_nothing(self.project, place)


def _comes_of_request(result: Reply | CallFailure) -> bool:
    """Whether a local model failed only because of what was asked, or because many ask.

    Organisations share a base, so none may have it left alone for all by what it asks for: a form
    that cannot be kept to, or an answer that is longer than its time.
    """
    if not isinstance(result, CallFailure):
        return False
    written = result.usage.output_tokens if result.usage is not None else 0
    return result.kind in ("busy", "invalid") or (result.kind == "timeout" and written > 0)


class _Listener:
    """Shows the pieces of a call as they come, and knows when the first came."""

    def __init__(self, on_text: OnText, shown: list[str]) -> None:
        self._on_text = on_text
        self._shown = shown
        self.first_s: float | None = None
        """When the first piece came, by `time.perf_counter`."""
        self.error: BaseException | None = None
        """What showing a piece raised, such as that nobody reads it any more."""

    def __call__(self, piece: str) -> None:
        if self.first_s is None:
            self.first_s = time.perf_counter()
        self._shown.append(piece)
        try:
            self._on_text(piece)
        except BaseException as error:
            self.error = error
            raise

    def after(self, began_s: float) -> float | None:
        """Seconds until the first piece; None without one."""
        return None if self.first_s is None else self.first_s - began_s


def _attempt(
    name: str,
    result: Reply | CallFailure,
    waited_s: float,
    latency_s: float,
    cost_usd: float | None,
) -> Attempt:
    usage: Usage | None = result.usage
    if isinstance(result, CallFailure):
        return Attempt(
            model=name,
            outcome=result.kind,
            reason=result.reason,
            waited_s=waited_s,
            latency_s=latency_s,
            usage=usage,
            cost_usd=cost_usd,
            request_id=result.request_id,
        )
    return Attempt(
        model=name,
        outcome="refused" if result.finish == "refused" else "answered",
        waited_s=waited_s,
        latency_s=latency_s,
        usage=usage,
        cost_usd=cost_usd,
        request_id=result.request_id,
    )


Draw = Callable[[int], Reply | CallFailure | LeftOut]
"""Makes one draw, which has a number from 0."""


def draw_together(draw: Draw, count: int) -> list[Reply | CallFailure | LeftOut]:
    """Several draws at once, in their order.

    Each has a thread of its own: what is raised in one is raised here, and ^C here waits for none.
    """
    if count == 1:
        return [draw(0)]
    made: list[Reply | CallFailure | LeftOut | BaseException | None] = [None] * count
    done = threading.Semaphore(0)

    def run(number: int) -> None:
        try:
            made[number] = draw(number)
        except BaseException as error:
            made[number] = error
        finally:
            done.release()

    for number in range(count):
        name = f"modelyard-draw-{number}"
        threading.Thread(target=run, args=(number,), name=name, daemon=True).start()
    for _ in range(count):
        done.acquire()
    results = []
    for each in made:
        if isinstance(each, BaseException):
            raise each
        assert each is not None
        results.append(each)
    return results
