"""Anthropic's Messages.

Source: https://docs.anthropic.com/en/api/messages and its page on streaming.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from modelyard.providers.bounds import CallEnded
from modelyard.providers.call import Call, Finish, Usage
from modelyard.providers.failures import broken, error_in_answer, read_said
from modelyard.providers.heard import Heard, HeardCall, as_sent
from modelyard.providers.hosted import HostedModel
from modelyard.providers.message_blocks import tools_of, turns_of
from modelyard.providers.usage import count_of

_OPTIONAL = ("temperature", "top_p", "top_k", "stop_sequences", "output_config")
_FINISHES: Mapping[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}
_NOT_ASKED = "a tool call, which nobody asked for"


class AnthropicMessages(HostedModel):
    """A model of Anthropic."""

    client_module = "anthropic"
    client_class = "Anthropic"
    client_options = MappingProxyType({"open_telemetry": False})
    default_endpoint = "https://api.anthropic.com"

    @property
    def endpoint(self) -> str:
        """The URL of the API; the client adds the version to it."""
        return super().endpoint.removesuffix("/v1")

    def build_body(self, call: Call) -> dict[str, Any]:
        """The body of a message; instructions are no turn there."""
        drawn = call.generation
        system = "\n\n".join(turn.content for turn in call.messages if turn.role == "system")
        schema = call.json_schema
        optional = {
            "system": as_sent(system) or None,
            "temperature": drawn.temperature,
            "top_p": drawn.top_p,
            "top_k": drawn.top_k,
            "stop_sequences": list(drawn.stop) if drawn.stop else None,
            "output_config": schema and {"format": {"type": "json_schema", "schema": schema}},
        }
        return {
            "model": self.settings.model,
            "messages": turns_of(call.messages),
            **tools_of(call),
            "max_tokens": drawn.max_output_tokens,
            "stream": True,
            **{
                name: value
                for name, value in optional.items()
                if value is not None and name not in self.refused
            },
        }

    def optional_in(self, body: dict[str, Any]) -> frozenset[str]:
        """What can be left out."""
        return frozenset(name for name in _OPTIONAL if name in body)

    def not_taken(self, call: Call) -> frozenset[str]:
        """Its names for the settings of a call, and that there is no seed."""
        seed = ["seed"] if call.generation.seed is not None else []
        stop = ["stop"] if "stop_sequences" in self.refused and call.generation.stop else []
        return super().not_taken(call) | frozenset([*seed, *stop])

    def start(self, client: Any, body: dict[str, Any]) -> Any:
        """Send it, with every event as plain JSON."""
        from anthropic import Stream

        return client.post(
            "/v1/messages", cast_to=object, body=body, stream=True, stream_cls=Stream[object]
        )

    def read_event(self, event: object, heard: Heard) -> str:
        """The text of an event; kinds that a client does not know are passed over."""
        if not isinstance(event, dict):
            raise CallEnded(broken("an event that is no JSON object"))
        match event.get("type"):
            case "message_start":
                if heard.parts:
                    raise CallEnded(broken("a second beginning in the middle"))
                _begin(_object(event, "message"), heard)
            case "content_block_start":
                return _begin_block(_object(event, "content_block"), event.get("index"), heard)
            case "content_block_delta":
                delta = _object(event, "delta")
                if delta.get("type") == "input_json_delta":
                    _hear_arguments(delta.get("partial_json"), event.get("index"), heard)
                    return ""
                return _text_of(delta) if delta.get("type") == "text_delta" else ""
            case "message_delta":
                _end(_object(event, "delta"), event.get("usage"), heard)
            case "message_stop":
                heard.is_over = heard.finish is not None
            case "error":
                raise CallEnded(error_in_answer(read_said(event)))
        return ""

    def read_whole(self, answer: object, heard: Heard) -> str:
        """The text of a message that was not streamed."""
        if not isinstance(answer, dict):
            raise CallEnded(broken("no JSON object"))
        if answer.get("error"):
            raise CallEnded(error_in_answer(read_said(answer)))
        blocks = answer.get("content")
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise CallEnded(broken("a content that is none"))
        _begin(answer, heard)
        _end(answer, answer.get("usage"), heard)
        return "".join(_begin_block(block, place, heard) for place, block in enumerate(blocks))


def _object(event: dict[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    if not isinstance(value, dict):
        raise CallEnded(broken(f"an event without its {key}"))
    return value


def _begin(message: dict[str, Any], heard: Heard) -> None:
    heard.model, heard.id = message.get("model"), message.get("id")
    if isinstance(message.get("usage"), dict):
        heard.usage = _usage_of(message["usage"], None)


def _end(delta: dict[str, Any], usage: object, heard: Heard) -> None:
    """The end of an answer; the counts of the last event are those of all of it."""
    reason = delta.get("stop_reason")
    if reason == "tool_use":
        if not heard.may_call:
            raise CallEnded(broken(_NOT_ASKED))
        heard.finish = "stop"
    elif reason is not None:
        finish = _FINISHES.get(reason) if isinstance(reason, str) else None
        if finish is None:
            raise CallEnded(broken(f"an end for the reason {str(reason)[:40]!r}"))
        heard.finish = finish
        sequence = delta.get("stop_sequence")
        heard.stop_sequence = sequence if isinstance(sequence, str) else None
    if isinstance(usage, dict):
        heard.usage = _usage_of(usage, heard.usage)


def _begin_block(block: dict[str, Any], place: object, heard: Heard) -> str:
    """The text of a block; one that is a call of a tool is noted."""
    kind = block.get("type")
    if not (isinstance(kind, str) and kind.endswith("tool_use")):
        return _text_of(block)
    if kind != "tool_use" or not heard.may_call or not isinstance(place, int):
        raise CallEnded(broken(_NOT_ASKED))
    given, name = block.get("id"), block.get("name")
    if not (isinstance(given, str) and isinstance(name, str)):
        raise CallEnded(broken("a tool call that is none"))
    arguments = json.dumps(block["input"]) if block.get("input") else ""
    heard.calls[place] = HeardCall(given, name, arguments)
    return ""


def _hear_arguments(piece: object, place: object, heard: Heard) -> None:
    if not isinstance(place, int) or place not in heard.calls or not isinstance(piece, str):
        raise CallEnded(broken(_NOT_ASKED))
    heard.calls[place].arguments += piece


def _text_of(block: dict[str, Any]) -> str:
    """The text of a block or of a piece of one; thoughts have none, and are not the answer."""
    kind = block.get("type")
    if kind not in ("text", "text_delta"):
        return ""
    text = block.get("text")
    if not isinstance(text, str):
        raise CallEnded(broken("a text that is none"))
    return text


def _usage_of(reported: dict[str, Any], before: Usage | None) -> Usage:
    """The tokens so far. Anthropic counts those from and for its cache apart from the input."""
    made = count_of(reported.get("output_tokens"))
    if before is not None and reported.get("input_tokens") is None:
        return replace(before, output_tokens=made)
    cached = count_of(reported.get("cache_read_input_tokens"))
    written = count_of(reported.get("cache_creation_input_tokens"))
    counts = (count_of(reported.get("input_tokens")), cached, written)
    return Usage(
        input_tokens=sum(counts) if min(counts) >= 0 else -1,
        output_tokens=made,
        cached_input_tokens=cached,
        cache_write_tokens=written,
    )
