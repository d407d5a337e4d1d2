"""What prepare-data writes, the reader accepts and gives back equal."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.chatdata.columns import BadRow
from modelyard.chatdata.conversation import conversation_row
from modelyard.chatdata.json_values import parse_json
from modelyard.chatdata.row_formats import build_conversation

texts = st.text(min_size=1, max_size=12)
keys = st.sampled_from(
    [
        *(
            "id",
            "group",
            "fact",
            "label",
            "expect",
            "weight",
            "train",
            "system",
            "tools",
            "history",
        ),
        *("images", "kto_tag", "messages", "prompt", "text", "name", "tool_calls", "thinking"),
        *("chat_template_kwargs", "from", "value", "role", "content"),
    ]
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=4), st.dates()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(keys, texts), inner, max_size=3)
    ),
    max_leaves=6,
)
beside = st.dictionaries(st.one_of(keys, texts), values, max_size=3)
call = st.fixed_dictionaries(
    {"name": texts, "arguments": st.dictionaries(texts, values, max_size=2)}
)


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        found.append({"role": "user", "content": draw(texts)})
        if draw(st.booleans()):
            found.append({"role": "assistant", "tool_calls": [draw(call)], **draw(beside)})
            found.append({"role": "tool", "content": draw(texts), "tool_call_id": draw(texts)})
        found.append({"role": "assistant", "content": draw(texts), **draw(beside)})
    return found


rows = st.one_of(
    st.builds(lambda turns, more: {**more, "messages": turns}, messages(), beside),
    st.builds(lambda q, a, more: {**more, "prompt": q, "completion": a}, texts, texts, beside),
    st.builds(lambda q, a, more: {**more, "instruction": q, "output": a}, texts, texts, beside),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(rows)
def test_a_written_row_is_read_again_as_the_same_row(row: dict[str, Any]) -> None:
    try:
        made = build_conversation(row, "source:1", None)
    except BadRow:
        return
    line = json.dumps(conversation_row(made), ensure_ascii=False, allow_nan=False)
    assert "\n" not in line
    again = build_conversation(parse_json(line), "source:1", None)
    assert again.messages == made.messages
    assert (again.tools, again.template_variables) == (made.tools, made.template_variables)
    assert conversation_row(again) == conversation_row(made)
    assert again.trained_content == made.trained_content
