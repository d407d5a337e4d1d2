"""The tools of a request: whether they can be offered, and which are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.answering.prompt import wanted_schema
from modelyard.answering.request import Request
from modelyard.chatdata.json_values import TOO_DEEP, is_too_deep
from modelyard.core.errors import InvalidInput
from modelyard.deployments.effective_settings import Effective
from modelyard.providers.call import NamedTool


def offered_tools(request: Request) -> tuple[Mapping[str, Any], ...]:
    """What the model may call: all, the one that it must call, or nothing."""
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        return tuple(each for each in request.tools if each["function"]["name"] == choice.name)
    return () if choice == "none" else request.tools


def check_tools(effective: Effective, request: Request) -> None:
    """Raise InvalidInput for tools that no model can be offered."""
    names = [_name_of(tool, place) for place, tool in enumerate(request.tools)]
    choice = request.tool_choice
    if isinstance(choice, NamedTool) and choice.name not in names:
        there_are = f"there are {', '.join(names)}" if names else "there is none"
        raise InvalidInput(
            f"the tool {choice.name!r} must be called and is not among the tools",
            where="tool_choice",
            hint=there_are,
        )
    if choice == "required" and not names:
        raise InvalidInput("a tool must be called, and there is none", where="tool_choice")
    if len(set(names)) < len(names):
        raise InvalidInput("two tools have one name", where="tools")
    if offered_tools(request) and wanted_schema(effective, request) is not None:
        raise InvalidInput(
            "an answer that must be JSON cannot be a call of a tool",
            where="tools",
            hint="leave out the tools or the form of the answer",
        )


def _name_of(tool: Mapping[str, Any], place: int) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if tool.get("type", "function") != "function" or not isinstance(name, str) or not name:
        raise InvalidInput(
            'is no tool of the form {"type": "function", "function": {"name": ...}}',
            where=f"tools[{place}]",
        )
    assert isinstance(function, Mapping)
    if not isinstance(function.get("parameters") or {}, Mapping):
        raise InvalidInput("has parameters that are no JSON Schema", where=f"tools[{place}]")
    if is_too_deep(function):
        raise InvalidInput(TOO_DEEP, where=f"tools[{place}]")
    return name
