"""Turns and tools in the form of Anthropic's Messages, from that of the OpenAI API.

Source: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelyard.chatdata.conversation import Message
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.providers.call import Call, NamedTool
from modelyard.providers.heard import as_sent

_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def turns_of(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The turns without instructions; answers of tools are blocks in a turn of the user."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role != "tool":
            turns.append({"role": message.role, "content": _content_of(message)})
            continue
        block = {
            "type": "tool_result",
            "tool_use_id": message.more.get("tool_call_id"),
            "content": as_sent(message.content),
        }
        if turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
            turns[-1]["content"].append(block)
        else:
            turns.append({"role": "user", "content": [block]})
    return turns


def _content_of(message: Message) -> str | list[dict[str, Any]]:
    calls = message.more.get("tool_calls")
    text = as_sent(message.content)
    if not calls:
        return text
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text.strip() else []
    for call in calls:
        function = call["function"]
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function["name"],
                "input": _arguments_of(function.get("arguments")),
            }
        )
    return blocks


def _arguments_of(given: object) -> object:
    if not isinstance(given, str):
        return given or {}
    try:
        return parse_json(given) if given.strip() else {}
    except InvalidJson:
        return {"arguments": given}  # what a model wrote before; its API takes objects only


def tools_of(call: Call) -> dict[str, Any]:
    """The tools of a call, and whether one must be called."""
    if not call.tools:
        return {}
    choice = call.tool_choice
    named = {"type": "tool", "name": choice.name} if isinstance(choice, NamedTool) else None
    return {
        "tools": [_tool_of(tool["function"]) for tool in call.tools],
        "tool_choice": named or {"type": _CHOICES[str(choice)]},
    }


def _tool_of(function: Any) -> dict[str, Any]:
    described = {"description": function["description"]} if function.get("description") else {}
    schema = function.get("parameters") or {"type": "object"}
    return {"name": function["name"], **described, "input_schema": schema}
