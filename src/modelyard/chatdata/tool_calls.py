"""Calls of tools in the text of an answer: how a chat template's model writes them.

Templates render tools and earlier calls; what a model writes is only text, in the marks that it
was trained on. They stand in its template.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.chatdata.conversation import TEXT_ROLE, Message
from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import InvalidJson, parse_json

_DEFINITIONS = ("$defs", "definitions")
_REFERENCES = tuple(f"#/{name}/" for name in _DEFINITIONS)
_ARGUMENTS = ("arguments", "parameters")


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a family of models writes calls of tools."""

    begin: str
    """What stands before a call, or before a list of calls."""
    end: str
    """What stands after it; empty where nothing does."""
    is_list: bool
    """Whether it is a list of calls, even of one."""
    space: str = ""
    """What stands between the marks and the JSON."""


FORMS = (
    # Hermes, Qwen 2.5 and 3, SmolLM3: https://qwen.readthedocs.io/en/latest/framework/function_call.html
    CallForm("<tool_call>", "</tool_call>", is_list=False, space="\n"),
    # Mistral 7B v0.3 and later, up to 2024: https://docs.mistral.ai/capabilities/function_calling
    CallForm("[TOOL_CALLS]", "", is_list=True, space=" "),
)


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as a model wrote it."""

    name: str
    """The tool."""
    arguments: str
    """A JSON object."""


def require_form(tokenizer: ChatTokenizer) -> CallForm:
    """How the model of a template writes calls. Raises InvalidInput where it knows no tools."""
    template = tokenizer.template
    if "tools" not in template.variable_names:
        raise InvalidInput(
            "the chat template of the model knows no tools",
            where="tools",
            hint="leave the tools out, or name a model that was trained to call them",
        )
    form = next((form for form in FORMS if form.begin in template.text), None)
    if form is None:
        raise InvalidInput(
            "the chat template of the model renders tools, and in which marks it writes calls is "
            "not known",
            where="tools",
            hint=f"known are {', '.join(form.begin for form in FORMS)}",
        )
    return form


def split_calls(text: str, form: CallForm) -> tuple[str, tuple[WrittenCall, ...]]:
    """The text of an answer without its calls, and these; one that is no call stays in the text."""
    said, calls, rest = [], [], text
    while form.begin in rest:
        before, _, rest = rest.partition(form.begin)
        said.append(before)
        written, _, after = rest.partition(form.end) if form.end else (rest, "", "")
        found = _read(written, form)
        if found is None:
            said.append(form.begin)
        else:
            calls += found
            rest = after
    said.append(rest)
    return "".join(said).rstrip() if calls else text, tuple(calls)


def _read(written: str, form: CallForm) -> list[WrittenCall] | None:
    try:
        value = parse_json(written.strip())
    except InvalidJson:
        return None
    calls = value if form.is_list and isinstance(value, list) else [value]
    found = []
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return None
        arguments: Any = next((call[key] for key in _ARGUMENTS if key in call), {})
        if not isinstance(arguments, dict):
            return None
        found.append(WrittenCall(call["name"], json.dumps(arguments, ensure_ascii=False)))
    return found or None


def call_schema(tools: Sequence[Mapping[str, Any]], form: CallForm) -> dict[str, Any]:
    """The JSON Schema of a call of one of these tools, as the form has it."""
    each, definitions = [], {}
    for number, tool in enumerate(tools):
        parameters = _moved(tool["function"].get("parameters") or {"type": "object"}, number)
        for name in _DEFINITIONS:
            own = parameters.pop(name, {})
            definitions.update({f"{number}.{key}": value for key, value in own.items()})
        each.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": tool["function"]["name"]},
                    "arguments": parameters,
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    one: dict[str, Any] = {"anyOf": each}
    if form.is_list:
        one = {"type": "array", "items": one, "minItems": 1, "maxItems": 1}
    return {**one, "$defs": definitions} if definitions else one


def _moved(part: Any, number: int) -> Any:
    """A schema whose definitions stand elsewhere: under $defs of the whole, by numbered names."""
    if isinstance(part, list):
        return [_moved(each, number) for each in part]
    if not isinstance(part, Mapping):
        return part
    moved = {key: _moved(value, number) for key, value in part.items()}
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REFERENCES):
        name = reference.split("/", 2)[2]
        moved["$ref"] = f"#/$defs/{number}.{name}"
    return moved


def new_call_id() -> str:
    """An id that an answer of the tool can refer to; Mistral's templates take nine signs."""
    return secrets.token_hex(5)[:9]


def encode_request(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Token ids of a conversation and the tools that are offered, up to where the answer begins.

    A plain text (one message of the role `text`) gets no template around it: the answer goes on
    where it ends. Raises TemplateRefused, and InvalidInput for arguments of a call that are no
    JSON object.
    """
    if messages and messages[0].role == TEXT_ROLE:
        return tokenizer.tokenizer.encode(messages[0].content).ids
    return tokenizer.encode(render_request(tokenizer, messages, tools))


def render_request(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
) -> str:
    """The text of which `encode_request` makes tokens; raises what that does."""
    if messages and messages[0].role == TEXT_ROLE:
        return messages[0].content
    template = tokenizer.template.bound_to(tools, {}) if tools else tokenizer.template
    # Templates read the arguments of calls as objects, and not as the JSON text of the OpenAI API.
    return template.render([_readable(each) for each in messages], add_generation_prompt=True)


def _readable(message: Message) -> Message:
    calls = message.more.get("tool_calls")
    if not calls:
        return message
    read = [{**call, "function": _with_object(call["function"])} for call in calls]
    return Message(message.role, message.content, {**message.more, "tool_calls": read})


def _with_object(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments) if arguments.strip() else {}
        except InvalidJson as error:
            raise InvalidInput(
                f"the arguments of a call of {function.get('name')} are not JSON: {error.message}",
                where="messages",
            ) from error
    if not isinstance(arguments or {}, Mapping):
        raise InvalidInput(
            f"the arguments of a call of {function.get('name')} are no object", where="messages"
        )
    return {**function, "arguments": arguments or {}}
