"""One call of one model: what is sent, what comes back, and why nothing did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.parts import Generation
from modelyard.pacing.retries import Failure

OnText = Callable[[str], None]
"""Is given each piece of an answer as it comes."""

Finish = Literal["stop", "length", "refused", "tool_calls"]
"""Why an answer ended: by itself, since it may not be longer, since the model or a content filter
of its provider refused, or for the tools that it wants called."""


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The tool that a model must call."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool
"""Whether a model may call tools, must not, must call one, or which one it must call."""

FailureKind = Literal[
    "invalid",
    "too_long",
    "no_access",
    "no_quota",
    "busy",
    "timeout",
    "unreachable",
    "broken",
    "cut_off",
    "out_of_time",
    "cancelled",
    "damaged",
]
"""
invalid: 400, 413, 422. The request is at fault, and every other model would say the same.
too_long: the context of this model is too short for it.
no_access: 401, 403, 404, no key: nothing helps until a person does something.
no_quota: 429 that means money and not speed.
busy: 408, 409, 425, 429, 5xx.
timeout: nothing came for too long.
unreachable: no connection, or one that was reset before the answer began.
broken: an answer that is none: HTML, broken JSON, no choices, a tool call that nobody asked for, a
    status that says none of the above.
cut_off: the answer ended in the middle, after some of it was shown.
out_of_time: the time for the whole answer was over.
cancelled: nobody wants the answer any more.
damaged: a local model cannot be used, such as an adapter whose files are not what they were.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that a model wants."""

    id: str
    """What the answer of the tool refers to."""
    name: str
    """The tool."""
    arguments: str
    """A JSON object as the model wrote it: it may be none, and may not fit the tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a model is asked."""

    messages: tuple[Message, ...]
    """The conversation; its last turn is the user's."""
    generation: Generation
    """How the answer is generated; `max_output_tokens` is always set."""
    json_schema: Mapping[str, Any] | None = None
    """The JSON Schema that the answer must meet, where the provider can see to it."""
    use_prefix_cache: bool = True
    """Whether a local model may reuse what it computed for the beginning of another prompt."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """What the model may call, in the form of the OpenAI API."""
    tool_choice: ToolChoice = "auto"
    """Whether it may, must or must not, or the one that it must call."""
    takes_empty: bool = False
    """Whether an empty text is an answer, as it is one of a model that is the caller's own."""
    cancelled: threading.Event | None = None
    """Is set when nobody wants the answer any more."""

    @property
    def must_call(self) -> bool:
        """Whether the answer is to be a call of a tool, and nothing else."""
        return bool(self.tools) and self.tool_choice not in ("auto", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of a call."""

    input_tokens: int
    """All tokens of the input, those from and for the provider's cache included."""
    output_tokens: int
    """Tokens of the answer, those of reasoning included."""
    cached_input_tokens: int = 0
    """Of the input, what the provider had in its cache."""
    cache_write_tokens: int = 0
    """Of the input, what it wrote into its cache."""
    is_estimated: bool = False
    """Whether the provider did not report them, or nothing that can be true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that came to its end."""

    text: str
    """The whole of it."""
    finish: Finish
    """Why it ended."""
    stop_sequence: str | None = None
    """Which of `stop` ended it, where one did and the provider says so."""
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model wants called."""
    usage: Usage
    """Its tokens."""
    model: str | None = None
    """What the provider says that answered."""
    request_id: str | None = None
    """What the provider calls the call, for its support."""
    not_taken: tuple[str, ...] = ()
    """Settings that the model refuses, so that it answered without them: `temperature`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure(Failure):
    """Why a call gave no answer."""

    kind: FailureKind
    """Its class, which decides what is done next."""
    usage: Usage | None = None
    """What is billed all the same, as far as it is known; None: not known whether anything is."""
    request_id: str | None = None
    """What the provider calls the call."""
    field: str | None = None
    """What of the request is at fault, where that is known: `tools`, `the JSON Schema`."""


class Provider(Protocol):
    """A client of one language model; threads may share it."""

    def send(self, call: Call, *, timeout_s: float, on_text: OnText | None) -> Reply | CallFailure:
        """Make one call, without repeating it, within `timeout_s` for the whole of it."""
