"""What is asked, what is answered, and the errors that stand for no answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.parts import Generation
from modelyard.core.errors import GateBreached, InvalidInput, ModelyardError, NoData
from modelyard.providers.call import FailureKind, Finish, ToolCall, ToolChoice, Usage

LeftOutFor = Literal[
    "breaker",
    "budget",
    "limit",
    "too_long",
    "local_only",
    "no_key",
    "unknown_price",
    "no_json",
    "not_local",
    "damaged",
    "out_of_time",
    "cancelled",
]
"""Why a model of the route is not called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenText:
    """A file that is given with a question."""

    name: str
    """What it is called for the model, such as its path."""
    text: str
    """What it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountedKey:
    """An API key whose cost is counted."""

    id: str
    """Its id."""
    per_month_usd: float | None = None
    """What its answers may cost in a calendar month (UTC), in all environments; None: no budget of
    its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question, with all that decides its answer beside the configs."""

    messages: tuple[Message, ...]
    """Turns of system, user, assistant and tool, with `tool_calls` and `tool_call_id` in `more`.
    System turns at the beginning are instructions as `system` is; the question is the last turn of
    the user."""
    system: str | None = None
    """Instructions after those of the domain."""
    files: tuple[GivenText, ...] = ()
    """Files that the question is about."""
    language: str | None = None
    """The language that it is in or about; a domain may take only some."""
    json_schema: Mapping[str, Any] | None = None
    """The JSON Schema that the answer must meet, instead of the domain's."""
    json_mode: bool = False
    """Whether the answer must be a JSON object, whichever."""
    generation: Generation | None = None
    """How the answer is generated; what it sets counts before profile and domain."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """What the model may call, in the form of the OpenAI API: `{"type": "function", ...}`."""
    tool_choice: ToolChoice = "auto"
    """Whether it may, must or must not call one, or the name of the one that it must call."""
    id: str | None = None
    """The id that the answer gets; None: a new one."""
    organisation: str | None = None
    """Who asks: whose budget, limits, cache and adapter count."""
    user: str | None = None
    """Who of the organisation; only the side of an A/B test depends on it, and it is kept nowhere.
    """
    parent_id: str | None = None
    """The answer that this one is needed for."""
    use_fallback: bool = True
    """Whether other models are asked when the first fails."""
    use_cache: bool = True
    """Whether an answer kept from before may be given, and a local model may reuse what it computed
    for the beginning of another prompt."""
    is_test: bool = False
    """Whether it tests the models, and nobody uses the answer: what users get is measured without
    it."""
    cancelled: threading.Event | None = None
    """Is set by another thread when nobody wants the answer any more: it ends within a step."""
    key: AccountedKey | None = None
    """The API key that it came with."""
    longest_turn_s: float = 60.0
    """The longest wait for room in `rate_limits`; where there is none until then, it is refused."""

    @property
    def question(self) -> str:
        """The last turn of the user."""
        return self.messages[self.question_place].content

    @property
    def question_place(self) -> int:
        """Which of the messages is the question; the last one where the user says nothing."""
        places = [place for place, turn in enumerate(self.messages) if turn.role == "user"]
        return places[-1] if places else len(self.messages) - 1

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self.cancelled is not None and self.cancelled.is_set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call that was made."""

    model: str
    """The language model, by its name in the configs."""
    outcome: Literal["answered", "refused", "missed_schema"] | FailureKind
    """How it ended."""
    reason: str | None = None
    """Why it gave no answer, in words, without secrets."""
    waited_s: float
    """Seconds before it, for its turn or for the service to recover."""
    latency_s: float
    """Seconds that it took."""
    usage: Usage | None = None
    """Its tokens; None where they are not known."""
    cost_usd: float | None = None
    """What it costs; None: unknown."""
    request_id: str | None = None
    """What the provider calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A model of the route that is not called."""

    model: str
    """The language model, by its name in the configs."""
    why: LeftOutFor
    """The kind of reason."""
    reason: str
    """The reason in words: `breaker open since 12:03:11, 3 failures in a row`."""
    wait_s: float | None = None
    """Seconds until there may be room for it, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedChunk:
    """A chunk that was given to the model."""

    number: int
    """How the prompt calls it, from 1: the answer may say [1]."""
    index: str
    """GROUP/NAME of its index."""
    place: str
    """PATH:LINE."""
    title: str
    """Its title."""
    text: str
    """What the model got of it."""
    is_named: bool = False
    """Whether the answer names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, and how it came about."""

    id: str
    """Its id, for feedback and records."""
    text: str
    """The answer."""
    model: str
    """The language model that gave it, by its name in the configs."""
    ref: str
    """What answered, as `ModelRef.parse` reads it."""
    adapter_digest: str | None = None
    """`sha256:<hex>` of the manifest of the adapter's version."""
    variant: str | None = None
    """The variant of an A/B test that it is of, `NAME/a` or `NAME/b`."""
    finish: Finish
    """Why it ended."""
    stop_sequence: str | None = None
    """The text that ended it, of those that were asked for, where one did."""
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model wants called; the text is then what it says beside, perhaps nothing."""
    degraded: bool = False
    """Whether no language model gave it: it quotes what was found."""
    from_cache: bool = False
    """Whether it was kept from before."""
    attempts: tuple[Attempt, ...]
    """Every call, in order; none for an answer from the cache."""
    left_out: tuple[LeftOut, ...] = ()
    """Models before it that were not called."""
    samples: int = 1
    """Answers that were drawn."""
    agreed: int = 1
    """How many of them are this one, normalised."""
    chunks: tuple[UsedChunk, ...] = ()
    """What was retrieved for it."""
    usage: Usage | None = None
    """Tokens of all calls; None where those of one are unknown."""
    cost_usd: float | None = None
    """What all calls cost; None: unknown."""
    load_s: float = 0.0
    """Seconds that loading took, of a local model or of a provider's client; no latency."""
    waited_s: float = 0.0
    """Seconds of the latency in which nothing was under way."""
    first_token_s: float | None = None
    """Seconds until it began, without `load_s`."""
    latency_s: float
    """Seconds until it ended, without `load_s`."""
    notes: tuple[str, ...] = ()
    """What a person should know, in sentences."""


class AnswerFailed(ModelyardError):
    """No model gave an answer, or one that broke off (exit code 1)."""

    def __init__(
        self,
        message: str,
        *,
        answer_id: str,
        hint: str | None = None,
        attempts: Sequence[Attempt] = (),
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.answer_id = answer_id
        self.attempts = tuple(attempts)
        self.left_out = tuple(left_out)


class ContextTooLong(AnswerFailed):
    """No model of the route has room for the request.

    tokens: those of its prompt.
    is_exact: whether they were counted; estimated where no tokenizer of the model is here, or where
        their least number is too large already.
    room: what the model that was asked last can hold, prompt and answer together.
    """

    tokens: int
    is_exact: bool
    room: int


class InputTooLong(InvalidInput):
    """The request has more tokens than its domain takes; nothing was called (exit code 2)."""


class NotTaken(AnswerFailed):
    """A model refuses the request as it is, such as its chat template: no other was asked.

    field: what of the request is at fault, where that is known: `tools`, `the JSON Schema`.
    """

    field: str | None = None


class EngineBusy(AnswerFailed):
    """As many requests wait for the local model as may wait: ask again later."""


class ModelNotServed(AnswerFailed):
    """The engine that computes the local models does not have the one that is asked.

    name: the adapter's version, or the base, as people write it.
    """

    name: str


class BrokenModel(AnswerFailed):
    """A local model cannot be used, such as an adapter whose files are damaged.

    name: the adapter's version, or the base, as people write it.
    """

    name: str


class AnswerCancelled(AnswerFailed):
    """Nobody wants the answer any more: `Request.cancelled` was set."""


class OverLimit(GateBreached):
    """A budget or a limit leaves no room for the request; nothing was called (exit code 4)."""

    wait_s: float | None = None
    """Seconds until there is room; None where waiting does not help."""
    is_budget: bool = False
    """Whether it is money that is used up, and not the requests of a minute."""
    has_no_price: bool = False
    """Whether no model that could be asked has a known price, so that no budget could hold."""


class NothingFound(NoData):
    """The domain answers only from what is retrieved, and nothing was found (exit code 5).

    search_failed: whether that is because nothing could be searched, such as without an index.
    """

    def __init__(self, message: str, *, hint: str, search_failed: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.search_failed = search_failed
