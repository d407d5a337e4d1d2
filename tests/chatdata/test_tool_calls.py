"""Calls of tools are found in an answer's text, and shown texts never hold a part of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.answering.local_calls import CallReader
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tool_calls import FORMS, CallForm, WrittenCall, call_schema, split_calls
from modelyard.providers.call import Reply, Usage

HERMES, MISTRAL = FORMS
FIND = WrittenCall("find", '{"id": 7}')


@pytest.mark.parametrize(
    ("form", "text", "said", "calls"),
    [
        (HERMES, "No call.", "No call.", ()),
        (
            HERMES,
            'I look.\n<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call>',
            "I look.",
            (FIND,),
        ),
        (
            HERMES,
            '<tool_call>{"name": "find", "parameters": {"id": 7}}</tool_call>\n'
            '<tool_call>{"name": "go"}',
            "",
            (FIND, WrittenCall("go", "{}")),
        ),
        (HERMES, "<tool_call>{broken</tool_call> x", "<tool_call>{broken</tool_call> x", ()),
        (HERMES, '<tool_call>{"name": 3}</tool_call>', '<tool_call>{"name": 3}</tool_call>', ()),
        (
            MISTRAL,
            '[TOOL_CALLS] [{"name": "find", "arguments": {"id": 7}}, {"name": "go"}]',
            "",
            (FIND, WrittenCall("go", "{}")),
        ),
        (MISTRAL, "[TOOL_CALLS] [3]", "[TOOL_CALLS] [3]", ()),
    ],
)
def test_calls_are_told_from_the_text(
    form: CallForm, text: str, said: str, calls: tuple[WrittenCall, ...]
) -> None:
    assert split_calls(text, form) == (said, calls)


def test_definitions_of_several_tools_do_not_meet() -> None:
    def tool(name: str, what: str) -> dict[str, object]:
        parameters = {
            "type": "object",
            "properties": {"it": {"$ref": "#/$defs/it"}},
            "$defs": {"it": {"type": what}},
        }
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    schema = call_schema([tool("a", "string"), tool("b", "number")], HERMES)
    assert schema["$defs"] == {"0.it": {"type": "string"}, "1.it": {"type": "number"}}
    second = schema["anyOf"][1]["properties"]["arguments"]
    assert second["properties"] == {"it": {"$ref": "#/$defs/1.it"}}


ANSWER = 'I look <here>. \n\n<tool_call>{"name": "find", "arguments": {"id": 7}}</tool_call>'


@pytest.mark.parametrize("size", [1, 3, 400])
def test_what_is_shown_ends_before_a_call(tiny_base_folder: Path, size: int) -> None:
    tokenizer = ChatTokenizer.load(tiny_base_folder)
    shown: list[str] = []
    reader = CallReader(HERMES, tokenizer, shown.append)
    for start in range(0, len(ANSWER), size):
        reader.show(ANSWER[start : start + size])
    usage = Usage(input_tokens=1, output_tokens=1)
    reply = reader.end(Reply(text=ANSWER, finish="stop", usage=usage), [])
    assert ("".join(shown), reply.text, reply.finish) == ("I look <here>.",) * 2 + ("tool_calls",)
    assert [each.name for each in reply.tool_calls] == ["find"]


def test_a_mark_that_is_a_control_token_is_found_by_its_token(tiny_base_folder: Path) -> None:
    tokenizer = ChatTokenizer.load(tiny_base_folder)
    form = replace(MISTRAL, begin="<|im_start|>")
    tokens = tokenizer.encode('Look.<|im_start|> [{"name": "find", "arguments": {"id": 7}}]')
    pieces = tokenizer.decode(tokens)
    shown: list[str] = []
    reader = CallReader(form, tokenizer, shown.append)
    reader.show(pieces)
    assert shown == []
    usage = Usage(input_tokens=1, output_tokens=1)
    reply = reader.end(Reply(text=pieces, finish="stop", usage=usage), tokens)
    assert (reply.text, shown, reply.finish) == ("Look.", ["Look."], "tool_calls")
