"""OpenAI's Chat Completions, and the many servers that speak it: vLLM, Ollama, llama.cpp, Azure.

Source: https://platform.openai.com/docs/api-reference/chat/create and its page on streaming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.chatdata.conversation import TEXT_ROLE, Message
from modelyard.providers.bounds import CallEnded
from modelyard.providers.call import Call, Finish, NamedTool, Usage
from modelyard.providers.failures import broken, error_in_answer, read_said
from modelyard.providers.heard import Heard, HeardCall, as_sent
from modelyard.providers.hosted import HostedModel
from modelyard.providers.strict_schema import is_strict
from modelyard.providers.usage import count_of

_LIMITS = ("max_completion_tokens", "max_tokens")
"""The present and the former name of the longest answer. OpenAI's reasoning models take only the
first, and many compatible servers only the second."""
_OPTIONAL = (
    *("temperature", "top_p", "top_k", "stop", "seed"),
    *("response_format", "stream_options", "stream"),
)
_FINISHES: Mapping[str, Finish] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
    **dict.fromkeys(("content_filter", "refusal", "safety"), "refused"),
}
"""How answers end, the words of compatible servers included."""
_NOT_ASKED = "a tool call, which nobody asked for"


class OpenAIChat(HostedModel):
    """A model of OpenAI, or of an endpoint that is compatible."""

    client_module = "openai"
    client_class = "OpenAI"
    default_endpoint = "https://api.openai.com/v1"

    def build_body(self, call: Call) -> dict[str, Any]:
        """The body of a chat completion; of a completion for a text without turns."""
        drawn = call.generation
        optional = {
            "temperature": drawn.temperature,
            "top_p": drawn.top_p,
            "top_k": drawn.top_k if self._is_compatible else None,
            "stop": list(drawn.stop) if drawn.stop else None,
            "seed": drawn.seed,
            "response_format": _response_format(call.json_schema),
            "stream": True,
            "stream_options": {"include_usage": True} if "stream" not in self.refused else None,
        }
        return {
            "model": self.settings.model,
            **_asked(call.messages),
            **_tools_of(call),
            self._limit: drawn.max_output_tokens,
            **{
                name: value
                for name, value in optional.items()
                if value is not None and name not in self.refused
            },
        }

    def not_taken(self, call: Call) -> frozenset[str]:
        """What the API refuses, and what OpenAI's own does not have."""
        absent = call.generation.top_k is not None and not self._is_compatible
        return super().not_taken(call) | frozenset(["top_k"] if absent else [])

    @property
    def _limit(self) -> str:
        """How the API calls the longest answer; the other name once it refused the first."""
        present, former = _LIMITS
        first, second = (former, present) if self._is_compatible else (present, former)
        return second if first in self.refused else first

    @property
    def _is_compatible(self) -> bool:
        return self.settings.provider == "openai_compatible"

    def optional_in(self, body: dict[str, Any]) -> frozenset[str]:
        """What can be left out; of the two names of the longest answer, one must be taken."""
        limits = [name for name in _LIMITS if name in body and not self.refused & set(_LIMITS)]
        return frozenset([*limits, *(name for name in _OPTIONAL if name in body)])

    def start(self, client: Any, body: dict[str, Any]) -> Any:
        """Send it, with every event as plain JSON."""
        from openai import Stream

        # Not `chat.completions.create`: that loads 0.4 s of types, to check what was built here.
        return client.post(
            "/completions" if "prompt" in body else "/chat/completions",
            cast_to=object,
            body=body,
            stream=True,
            stream_cls=Stream[object],
            options={"stream_mode": "events"},  # gives errors too, instead of raising them
        )

    def read_event(self, event: object, heard: Heard) -> str:
        """The text of a chunk: the `delta` of its first choice, or its `text`."""
        return _read(event, heard, part="delta")

    def read_whole(self, answer: object, heard: Heard) -> str:
        """The text of a completion: the `message` of its first choice, or its `text`."""
        return _read(answer, heard, part="message")


def _asked(messages: Sequence[Message]) -> dict[str, Any]:
    if messages[0].role == TEXT_ROLE:
        return {"prompt": as_sent(messages[0].content)}
    return {"messages": [_message_of(turn) for turn in messages]}


def _message_of(turn: Message) -> dict[str, Any]:
    """A turn as the API takes it, with the calls of tools in it, or the one that it answers."""
    kept = {key: turn.more[key] for key in ("tool_calls", "tool_call_id") if key in turn.more}
    return {"role": turn.role, "content": as_sent(turn.content), **kept}


def _tools_of(call: Call) -> dict[str, Any]:
    if not call.tools:
        return {}
    choice = call.tool_choice
    if isinstance(choice, NamedTool):
        return {
            "tools": list(call.tools),
            "tool_choice": {"type": "function", "function": {"name": choice.name}},
        }
    return {"tools": list(call.tools), "tool_choice": choice}


def _response_format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    described = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
    return {"type": "json_schema", "json_schema": described}


def _read(event: object, heard: Heard, *, part: str) -> str:
    if not isinstance(event, dict):
        raise CallEnded(broken("an event that is no JSON object"))
    if event.get("error") or event.get("object") == "error":
        raise CallEnded(error_in_answer(read_said(event)))
    heard.model, heard.id = event.get("model") or heard.model, event.get("id") or heard.id
    reported = event.get("usage")
    if isinstance(reported, dict):
        heard.usage = _usage_of(reported)
    choices = event.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise CallEnded(broken("choices that are none"))
    said = "".join(
        _read_choice(choice, heard, part) for choice in choices if not choice.get("index")
    )
    # Some servers report with every event: what counts is the report of the end, or after it.
    heard.is_over = heard.finish is not None and isinstance(reported, dict)
    return said


def _read_choice(choice: dict[str, Any], heard: Heard, part: str) -> str:
    delta = choice.get(part) or {}
    if not isinstance(delta, dict):
        raise CallEnded(broken(f"a {part} that is none"))
    if heard.finish is not None:  # the same end again, or what should not be there
        return ""
    if delta.get("function_call") or (delta.get("tool_calls") and not heard.may_call):
        raise CallEnded(broken(_NOT_ASKED))
    _hear_calls(delta.get("tool_calls") or [], heard)
    refusal = delta.get("refusal")
    said = _text_of(delta.get("content")) + _text_of(refusal) + _text_of(choice.get("text"))
    ended = choice.get("finish_reason")
    if ended is not None:
        heard.finish = _finish_of(ended, heard)
    if refusal:
        heard.was_refused = True
    if heard.was_refused and heard.finish is not None:
        heard.finish = "refused"
    return said


def _text_of(content: object) -> str:
    """The text of a content: a string, nothing, or parts (Mistral) of which some are text."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(_text_of(part.get("text")) for part in parts)
    if not isinstance(content, str):
        raise CallEnded(broken("a content that is no text"))
    return content


def _hear_calls(pieces: object, heard: Heard) -> None:
    """Add pieces of calls: the first of a call has its name, those after it more arguments."""
    if not isinstance(pieces, list):
        raise CallEnded(broken("tool calls that are none"))
    for place, piece in enumerate(pieces):
        function = piece.get("function") if isinstance(piece, dict) else None
        if not isinstance(function, dict):
            raise CallEnded(broken("a tool call that is none"))
        index = piece.get("index")
        call = heard.calls.setdefault(index if isinstance(index, int) else place, HeardCall())
        call.id = call.id or _string(piece.get("id"))
        call.name = call.name or _string(function.get("name"))
        call.arguments += _string(function.get("arguments"))


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _finish_of(reason: object, heard: Heard) -> Finish:
    if reason in ("tool_calls", "function_call"):
        if not heard.may_call:
            raise CallEnded(broken(_NOT_ASKED))
        return "stop"
    finish = _FINISHES.get(reason.lower()) if isinstance(reason, str) else None
    if finish is None:
        raise CallEnded(broken(f"an end for the reason {str(reason)[:40]!r}"))
    return finish


def _usage_of(reported: dict[str, Any]) -> Usage:
    details = reported.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None:
        cached = reported.get("prompt_cache_hit_tokens")  # DeepSeek
    return Usage(
        input_tokens=count_of(reported.get("prompt_tokens")),
        output_tokens=count_of(reported.get("completion_tokens")),
        cached_input_tokens=count_of(cached),
    )
