"""Whether a template renders the whole of a row's tools, calls and reasoning, and not a part.

Each part is rendered once more with a mark at its end. Where the mark follows the whole text, in
one of the forms that templates write, the part is there. Does not know turns' texts or masks.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.template import ChatTokenizer, TemplateRefused

_ID_PARTS = re.compile("[.:]")

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "tool_plan")
"""Keys of a turn that hold its reasoning as text."""


class Kind(Enum):
    """What a part is; the value is how a refusal names it."""

    CALL = "calls tools, and the chat template does not render each call's name"
    ARGUMENT = "calls tools, and the chat template does not render each argument as it is"
    REASONING = "has reasoning in a turn, and the chat template does not render all of it"
    TOOL = "has tools, and the chat template does not render each tool's name"
    DESCRIPTION = "has tools, and the chat template renders not all of their descriptions"
    PARAMETER = "has tools, and the chat template renders not all names of their parameters"


MAY_BE_LEFT_OUT = (Kind.DESCRIPTION, Kind.PARAMETER)
"""What some templates leave out of every tool: named on the card, and no reason to refuse."""


@dataclass(frozen=True, slots=True)
class Part:
    """One text or value of a row that a template must render."""

    kind: Kind
    value: Any
    """A text, a number or a boolean."""
    mark: str
    """What was put at the text's end, or in the value's place."""


@dataclass(frozen=True, slots=True)
class LostParts:
    """What a template leaves out of a row's tools, calls and reasoning."""

    wrong: tuple[Kind, ...] = ()
    """Why the row must not be trained on."""
    left_out: tuple[Kind, ...] = ()
    """What it leaves out of every tool of the row."""


def find_lost_parts(conversation: Conversation, tokenizer: ChatTokenizer) -> LostParts:
    """The kinds of parts that are not rendered whole.

    Raises TemplateRefused when the template refuses the row as it is.
    """
    marker = _Marker()
    marked = marker.conversation(conversation)
    if not marker.parts:
        return LostParts()
    plain = tokenizer.bound_to(conversation).render(conversation.messages)
    try:
        rendered = tokenizer.bound_to(marked).render(marked.messages)
        parts = marker.parts
    except TemplateRefused:  # it depends on these texts, so they are looked for as they are
        rendered = plain
        parts = [replace(part, mark="") for part in marker.parts]
    seen, seen_plain = _squeezed(rendered), _squeezed(plain)
    seen += f"\0{html.unescape(seen)}"  # for what is escaped for XML
    found: dict[Kind, list[bool]] = {}
    for part in parts:
        found.setdefault(part.kind, []).append(_is_there(part, seen, seen_plain))
    lost = [kind for kind in Kind if not all(found.get(kind, ()))]
    left_out = tuple(kind for kind in lost if kind in MAY_BE_LEFT_OUT and not any(found[kind]))
    wrong = [kind for kind in lost if kind not in left_out]
    if Kind.CALL in wrong and Kind.ARGUMENT in wrong:  # with a call goes what it holds
        wrong.remove(Kind.ARGUMENT)
    return LostParts(tuple(wrong), left_out)


class _Marker:
    """Copies a conversation with a mark of its own at each part, and lists the parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def conversation(self, conversation: Conversation) -> Conversation:
        return replace(
            conversation,
            messages=tuple(map(self._message, conversation.messages)),
            tools=tuple(map(self._tool, conversation.tools)),
        )

    def _message(self, turn: Message) -> Message:
        more = dict(turn.more)
        for key in REASONING_KEYS:
            if key in more:
                more[key] = self._text(Kind.REASONING, more[key])
        if calls := more.get("tool_calls"):
            more["tool_calls"] = [self._call(call) for call in calls]
        return replace(turn, more=more)

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = dict(call["function"])
        name = function["name"]
        function["name"] = self._text(Kind.CALL, name)
        function["arguments"] = self._argument(function["arguments"])
        marked = {**call, "function": function}
        # Kimi K2 writes the id in place of the name: `functions.NAME:0`.
        if name in _ID_PARTS.split(str(call.get("id", ""))):
            marked["id"] = str(call["id"]).replace(name, function["name"])
        return marked

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                self._text(Kind.ARGUMENT, key): self._argument(item) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._argument(item) for item in value]
        if value is None or isinstance(value, str):
            return self._text(Kind.ARGUMENT, value)
        return self._add(Kind.ARGUMENT, value)

    def _tool(self, tool: Any) -> Any:
        if not isinstance(tool, Mapping):
            return tool
        if not isinstance(function := tool.get("function"), Mapping):
            return self._function(tool)
        return {**tool, "function": self._function(function)}

    def _function(self, function: Mapping[str, Any]) -> dict[str, Any]:
        marked = dict(function)
        for key, kind in (("name", Kind.TOOL), ("description", Kind.DESCRIPTION)):
            if key in marked:
                marked[key] = self._text(kind, marked[key])
        if isinstance(schema := marked.get("parameters"), Mapping):
            marked["parameters"] = self._parameters(schema)
        return marked

    def _parameters(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(properties := schema.get("properties"), Mapping):
            return dict(schema)
        names = {name: self._text(Kind.PARAMETER, name) for name in properties}
        marked = {**schema, "properties": {names[key]: properties[key] for key in properties}}
        if isinstance(required := schema.get("required"), (list, tuple)):
            marked["required"] = [names.get(key, key) for key in required if isinstance(key, str)]
        return marked

    def _text(self, kind: Kind, value: Any) -> Any:
        """The text with its mark; what holds no text as it is."""
        if not isinstance(value, str) or not value.strip():
            return value
        return value.rstrip() + self._add(kind, value.rstrip())

    def _add(self, kind: Kind, value: Any) -> str:
        mark = f"zq{len(self.parts)}qz"
        self.parts.append(Part(kind, value, mark))
        return mark


def _is_there(part: Part, seen: str, seen_plain: str) -> bool:
    """Whether a part is in a rendering; the renderings are without whitespace."""
    if not isinstance(part.value, str):
        forms = (json.dumps(part.value), str(part.value))
        return part.mark in seen and any(_squeezed(form) in seen_plain for form in forms)
    if part.mark not in seen:
        return False
    text = part.value + part.mark
    if any(_squeezed(form) in seen for form in _written_forms(text)):
        return True
    # A description of several lines stands behind the marks of comments, line for line.
    is_lines = part.kind is Kind.DESCRIPTION and "\n" in text
    return is_lines and all(_squeezed(line) in seen for line in text.splitlines())


def _written_forms(text: str) -> Iterator[str]:
    """The text as templates write it: as it is, escaped for JSON or Python, in JSON twice."""
    once: tuple[Callable[[str], str], ...] = (str, _json, _ascii_json, _python)
    for write in once:
        written = write(text)
        yield written
        yield _json(written)
        yield written.replace("'", "\\'")


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _ascii_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _python(text: str) -> str:
    return repr(text)[1:-1]


def _squeezed(text: str) -> str:
    return "".join(text.split())
