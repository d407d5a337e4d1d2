"""What changes the meaning of a row or a turn is kept, or the row is refused with the reason."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from modelyard.chatdata.columns import BadRow, ColumnMapping
from modelyard.chatdata.conversation import Conversation, Message, conversation_row
from modelyard.chatdata.reading import read_conversations, read_stream
from modelyard.chatdata.row_formats import build_conversation
from modelyard.chatdata.text_marks import describe_text_marks
from modelyard.chatdata.unused_keys import find_unused_keys
from modelyard.core.errors import InvalidInput

USER = {"role": "user", "content": "Who is it?"}
ANSWER = {"role": "assistant", "content": "Ada."}
CALL = {"type": "function", "function": {"name": "find", "arguments": {"id": 7}}}
TOOL = {"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {}}}


def build(row: Any) -> Conversation:
    return build_conversation(row, "rows.jsonl:1", None)


def turns(*messages: dict[str, Any], **beside: Any) -> Conversation:
    return build({"messages": list(messages), **beside})


def refusals(row: Any) -> list[str]:
    with pytest.raises(BadRow) as caught:
        build(row)
    return list(caught.value.messages)


def contents(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in conversation.messages]


# The keys of a row.


@pytest.mark.parametrize("key", ["system", "system_prompt", "system_message", "instructions"])
def test_a_system_text_beside_the_turns_is_their_first_turn(key: str) -> None:
    shapes: list[dict[str, Any]] = [
        {"messages": [USER, ANSWER]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"prompt": "q", "completion": "a"},
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "context": "", "response": "a"},
    ]
    for row in shapes:
        first = build({**row, key: "You are a pirate."}).messages[0]
        assert (first.role, first.content) == ("system", "You are a pirate.")
        assert build({**row, key: ""}).messages[0].role == "user"


def test_two_system_turns_are_one_only_when_they_are_equal() -> None:
    system = {"role": "system", "content": "Be short."}
    assert len(turns(system, USER, ANSWER, system="Be short.").messages) == 3
    (said,) = refusals({"messages": [system, USER, ANSWER], "system": "Be long."})
    assert said == "has two system turns: 'system', and another one as message 1"


def test_history_holds_the_earlier_turns() -> None:
    row = {"instruction": "c", "output": "d", "history": [["a", "b"]]}
    assert [text for _, text in contents(build(row))] == ["a", "b", "c", "d"]
    assert build({**row, "history": '[["a", "b"]]'}).messages == build(row).messages
    assert len(build({**row, "history": None}).messages) == 2
    assert refusals({**row, "history": [["a"]]}) == [
        "'history' must be a list of pairs of a question and its answer"
    ]
    assert refusals({"messages": [USER, ANSWER], "history": [["a", "b"]]}) == [
        "holds 'history' beside its messages; put the earlier turns into them"
    ]


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [TOOL["function"]]])
@pytest.mark.parametrize("key", ["tools", "functions"])
def test_tools_are_kept_in_the_form_that_templates_take(key: str, tools: Any) -> None:
    row = turns(USER, ANSWER, **{key: tools})
    assert row.tools == (TOOL,)
    assert conversation_row(row)["tools"] == [TOOL]
    assert row.trained_content != turns(USER, ANSWER).trained_content


def test_empty_tools_are_none() -> None:
    for nothing in (None, [], "", "[]"):
        assert turns(USER, ANSWER, tools=nothing).tools == ()


def test_variables_of_the_template_are_kept() -> None:
    row = turns(USER, ANSWER, chat_template_kwargs={"enable_thinking": False})
    assert row.template_variables == {"enable_thinking": False}
    assert refusals({"messages": [USER, ANSWER], "chat_template_kwargs": {"tools": []}}) == [
        "'chat_template_kwargs' may not hold 'tools', which is no variable"
    ]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"images": ["a.jpg"]}, "holds 'images': this command trains on text"),
        ({"video": "a.mp4"}, "holds 'video': this command trains on text"),
        ({"kto_tag": False}, "holds 'kto_tag', so it is preference data: this command trains on"),
        ({"label": True}, "holds 'label', so it is preference data"),
        ({"chosen_messages": [USER, ANSWER]}, "holds 'chosen_messages', so it is preference data"),
        ({"chosen": "a", "rejected": "b"}, "holds 'chosen' and 'rejected', so it is preference"),
        ({"image_path": "a.jpg"}, "holds 'image_path': this command trains on text"),
        ({"completion_mask": [0, 1]}, "'completion_mask' says which tokens are trained"),
        ({"labels": [-100, 7]}, "'labels' says which tokens are trained"),
        ({"mask": [0, 1]}, "'mask' says which tokens are trained"),
        ({"mask": "Assistant"}, "'mask' says not to train the turns of 'Assistant'"),
        ({"documents": [{"text": "x"}]}, "holds 'documents', which answers rest on"),
        ({"enable_thinking": True}, "'enable_thinking' is a variable of the chat template"),
        ({"continue_final_message": True}, "'continue_final_message' says that the last answer"),
        ({"loss_scale": 0}, "'loss_scale' says not to train on this row"),
        ({"weight": [0.5]}, "'weight' is a list: an answer is trained (1) or not (0)"),
        ({"mask_history": True}, "'mask_history' asks to train the last answer only"),
        ({"weight": 0}, "'weight' says not to train on this row"),
        ({"loss": False}, "'loss' says not to train on this row"),
        ({"trainable": "false"}, "'trainable' says not to train on this row"),
        ({"weights": [0, 1]}, "'weights' says with what weight each turn is trained"),
        ({"loss_weights": [0, 1]}, "'loss_weights' says with what weight each turn"),
        ({"loss_weight": 0.5}, "'loss_weight' is 0.5: an answer is trained (1) or not (0)"),
        ({"tools": [1]}, "'tools' must hold an object for each tool, not a number"),
        ({"tools": [None]}, "'tools' must hold an object for each tool, not null"),
        ({"tools": "[{'a': 1}]"}, "'tools' is not JSON"),
        ({"tools": [TOOL], "functions": [TOOL]}, "has both 'tools' and 'functions'"),
    ],
)
def test_what_a_row_means_elsewhere_and_cannot_mean_here_is_refused(
    beside: dict[str, Any], said: str
) -> None:
    shapes: list[dict[str, Any]] = [
        {"messages": [USER, ANSWER]},
        {"prompt": "q", "completion": "a"},
        {"instruction": "q", "output": "a"},
    ]
    for row in shapes:
        (message,) = refusals({**row, **beside})
        assert message.startswith(said)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"instruction": "q", "output": ["a", "b"]}, "'output' holds several answers to one"),
        ({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}, "'completions' hold"),
        ({"input_ids": [1, 2], "labels": [-100, 2]}, "holds 'input_ids': rows of token ids"),
        (
            {"messages": [USER, ANSWER], "conversations": [USER, {**ANSWER, "content": "other"}]},
            "'messages' and 'conversations' differ",
        ),
    ],
)
def test_a_row_that_is_no_question_with_its_answer_says_what_it_is(
    row: dict[str, Any], said: str
) -> None:
    (message,) = refusals(row)
    assert message.startswith(said)


def test_a_table_of_several_formats_has_null_in_the_columns_of_the_others() -> None:
    nothing = {"messages": None, "conversations": None, "prompt": None, "completion": math.nan}
    given = [
        {"prompt": "q", "completion": "a"},
        {"instruction": "q", "output": "a"},
        {"messages": [{**USER, "content": "q"}, {**ANSWER, "content": "a"}]},
    ]
    for row in given:
        made = build({**nothing, **row})
        assert contents(made) == [("user", "q"), ("assistant", "a")]
        assert "messages" not in made.fields
    assert refusals({"messages": None}) == ["'messages' must be a list of messages, not null"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a"},
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "context": "", "response": "a"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_reasoning_beside_an_answer_belongs_to_it(row: dict[str, Any]) -> None:
    for key in ("reasoning_content", "reasoning", "thinking"):
        made = build({**row, key: "because it is"})
        assert made.messages[-1] == Message("assistant", "a", {key: "because it is"})
        assert made.fields == {}
    assert build({**row, "reasoning_content": None}).messages[-1] == Message("assistant", "a")


def test_reasoning_beside_several_answers_is_refused() -> None:
    several = {"messages": [USER, ANSWER, USER, ANSWER]}
    assert refusals({**several, "reasoning_content": "because"}) == [
        "'reasoning_content' is beside several answers; put it into the turn that it belongs to"
    ]
    (said,) = refusals({"prompt": "q", "completion": "a", "reasoning": "x y", "thinking": "y z"})
    assert said.startswith("'reasoning' and 'thinking' differ")


def test_a_figure_called_loss_is_no_flag_and_a_switch_called_reasoning_no_text() -> None:
    kept = {"loss": 0.0, "reasoning": "on", "thinking": True}
    assert turns(USER, ANSWER, **kept).fields == kept


def test_a_preference_pair_without_an_answer_is_called_one() -> None:
    (said,) = refusals({"prompt": "q", "chosen": "a", "rejected": "b"})
    assert said.endswith("it has no DPO, KTO or reward model")


def test_an_empty_column_of_a_table_means_nothing() -> None:
    nothing = {"images": [], "kto_tag": math.nan, "chosen": "", "weight": None, "train": True}
    assert turns(USER, ANSWER, **nothing).fields == {}
    missing = turns(USER, {**ANSWER, "weight": math.nan, "score": math.nan})
    assert missing == turns(USER, ANSWER)


def test_other_keys_are_counted_by_where_they_are() -> None:
    rows = [
        turns(USER, {**ANSWER, "id": number}, source_id=number, group="a") for number in range(3)
    ]
    rows.append(turns({**USER, "name": "Ada"}, ANSWER, source_id=9))
    assert list(map(str, find_unused_keys(rows))) == [
        "key `source_id`, in 4 rows",
        "message key `id`, in 3 rows",
    ]


# The keys of a turn.


@pytest.mark.parametrize("flag", ["train", "training", "loss", "weight", "loss_weight"])
def test_a_turn_is_trained_or_not(flag: str) -> None:
    for no in (False, 0, 0.0, "false"):
        row = turns(USER, {**ANSWER, flag: no}, USER, {**ANSWER, flag: 1})
        assert [turn.trained for turn in row.messages] == [True, False, True, True]
        assert [turn.get("train") for turn in conversation_row(row)["messages"]] == [
            None,
            False,
            None,
            None,
        ]
        assert turns({**USER, flag: no}, ANSWER) == turns(USER, ANSWER)
    assert refusals({"messages": [USER, {**ANSWER, flag: 0.5}]}) == [
        f"message 2: '{flag}' is 0.5: an answer is trained (1) or not (0), with no weight "
        "in between"
    ]
    assert refusals({"messages": [{**USER, flag: 1}, ANSWER]}) == [
        f"message 1: '{flag}' asks to train a turn of the user; only answers are"
    ]


@pytest.mark.parametrize("flag", ["mask", "masked", "is_masked", "no_train"])
def test_a_turn_may_be_marked_as_left_out(flag: str) -> None:
    row = turns(USER, {**ANSWER, flag: True}, USER, {**ANSWER, flag: False})
    assert [turn.trained for turn in row.messages] == [True, False, True, True]
    assert turns({**USER, flag: True}, ANSWER) == turns(USER, ANSWER)


def test_flags_that_contradict_each_other_and_rows_without_a_trained_turn_are_refused() -> None:
    assert refusals({"messages": [USER, {**ANSWER, "train": True, "weight": 0}]}) == [
        "message 2: 'train' and 'weight' contradict each other"
    ]
    (said,) = refusals({"messages": [USER, {**ANSWER, "train": False}]})
    assert said.startswith("no answer is trained")


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "name", "id"])
def test_every_other_key_of_a_turn_is_kept(key: str) -> None:
    row = turns(USER, {**ANSWER, key: "x", "refusal": None})
    assert row.messages[1].more == {key: "x"}
    assert conversation_row(row)["messages"][1] == {**ANSWER, key: "x"}


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("User", "user"),
        ("Human", "user"),
        ("developer", "system"),
        ("Assistant", "assistant"),
        ("gpt", "assistant"),
    ],
)
def test_roles_have_other_names(speaker: str, role: str) -> None:
    order = {"system": (0, [USER, ANSWER]), "user": (0, [ANSWER]), "assistant": (1, [USER])}
    place, others = order[role]
    for key, text in (("role", "content"), ("from", "value")):
        given = list(others)
        given.insert(place, {key: speaker, text: "x"})
        assert turns(*given).messages[place] == Message(role, "x")
        assert build({"conversations": given}).messages[place] == Message(role, "x")


def test_a_conversation_cut_from_a_longer_one_says_that_it_begins_with_an_answer() -> None:
    row = {"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}
    (said,) = refusals(row)
    assert said.startswith("message 1: the conversation begins with the assistant's turn")


def test_text_parts_are_one_text_and_other_parts_are_refused() -> None:
    parts = [{"type": "text", "text": "Who "}, {"type": "text", "text": "is it?", "image": None}]
    assert turns({**USER, "content": parts}, ANSWER).messages[0].content == "Who is it?"
    seen = [*parts, {"type": "image_url", "image_url": {"url": "a.jpg"}}]
    (said,) = refusals({"messages": [{**USER, "content": seen}, ANSWER]})
    assert said.startswith("message 1: part 3 of the content is of type 'image_url': this command")
    for picture in (
        *("<image>Who is it?", "Who is it?\n<image>", "<|image|> Who is it?"),
        *("Who is it?\n<IMAGE>", "<|image_1|>\nWho is it?"),
        "Picture 1: <img>a.png</img>\nWho is it?",
        "See ![x](data:image/png;base64,iVBORw0KGgo=) here.",
    ):
        (said,) = refusals({"messages": [{**USER, "content": picture}, ANSWER]})
        assert said.startswith("message 1: content holds '")
        assert "which stands for what is no text" in said
    assert turns({**USER, "content": "What does <image> do in SVG?"}, ANSWER)


def test_a_picture_within_a_text_is_learned_as_letters_and_named() -> None:
    row = turns({**USER, "content": "Compare <image> with <video> please."}, ANSWER)
    said = describe_text_marks([row, row, turns(USER, ANSWER)])
    assert [line.partition(" within")[0] for line in said] == [
        "2 rows with <image>",
        "2 rows with <video>",
    ]


def test_parts_may_hold_reasoning_and_calls() -> None:
    parts = [
        {"type": "reasoning", "value": "7 it is."},
        {"type": "tool_call", "value": '{"name": "find", "arguments": {"id": 7}}'},
    ]
    row = turns(
        USER, {"role": "assistant", "content": parts}, {"role": "tool", "content": "Ada"}, ANSWER
    )
    assert row.messages[1].more == {"reasoning_content": "7 it is.", "tool_calls": [CALL]}
    twice = {"role": "assistant", "content": parts, "reasoning_content": "x"}
    (said,) = refusals({"messages": [USER, twice]})
    assert said.startswith("message 2: has 'reasoning_content', and the same as a part")
    (said,) = refusals({"messages": [{**USER, "content": [{"type": "citation"}]}, ANSWER]})
    assert said == "message 1: part 1 of the content is of type 'citation', which is not read"


@pytest.mark.parametrize(
    "call",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL["function"]]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "find", "arguments": '{"id": 7}'}}],
        },
        {"role": "assistant", "content": "", "function_call": CALL["function"]},
        {"from": "function_call", "value": '{"name": "find", "arguments": {"id": 7}}'},
        {"from": "tool_call", "value": '[{"name": "find", "arguments": {"id": 7}}]'},
    ],
)
@pytest.mark.parametrize("speaker", ["tool", "observation", "function"])
def test_calls_of_tools_have_one_form(call: dict[str, Any], speaker: str) -> None:
    result = {"role": speaker, "content": '{"name": "Ada"}', "tool_call_id": "1"}
    row = turns(USER, call, result, ANSWER)
    assert row.messages[1] == Message("assistant", "", {"tool_calls": [CALL]})
    assert row.messages[2].role == "tool"
    assert turns(USER, call).answer == ""


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (
            [USER, {"from": "function_call", "value": "find(7)"}, ANSWER],
            "message 2: the call is not JSON",
        ),
        (
            [USER, {**ANSWER, "tool_calls": [CALL]}, USER, ANSWER],
            "message 3: expected the tool's turn, found the user's",
        ),
        (
            [{**USER, "tool_calls": [CALL]}, ANSWER],
            "message 1: 'tool_calls' belongs to a turn of the assistant",
        ),
        (
            [USER, {**ANSWER, "tool_calls": [{"name": "find", "arguments": [7]}]}],
            "message 2: the arguments of a call must be an object, not a list",
        ),
        (
            [USER, ANSWER, {"role": "tool", "content": "x"}],
            "the last message must be the assistant's: the tool's turn has no answer",
        ),
        ([USER, {**ANSWER, "train_detail": [{}]}], "message 2: 'train_detail' asks to train parts"),
        ([USER, {**ANSWER, "end_turn": False}], "message 2: 'end_turn' says that the turn goes on"),
        (
            [USER, {**ANSWER, "content": None, "refusal": "No."}],
            "message 2: holds 'refusal', and only 'content' is the answer",
        ),
        (
            [USER, {**ANSWER, "content": [{"type": "text", "text": "a", "weight": 0}]}],
            "message 2: part 1 of the content has 'weight'; a turn is trained whole",
        ),
        (
            [{**USER, "content": [{"text": "Who?", "image": {"bytes": "x"}}]}, ANSWER],
            "message 1: part 1 of the content holds 'image': this command trains on text",
        ),
        (
            [USER, {**ANSWER, "trainable": False}],
            "no answer is trained: each has a key such as 'train'",
        ),
        ([USER, {**ANSWER, "audio": {"id": 1}}], "message 2: holds 'audio': this command trains"),
    ],
)
def test_turns_that_cannot_be_kept_are_refused(messages: list[Any], said: str) -> None:
    (message,) = refusals({"messages": messages})
    assert message.startswith(said)


def test_whitespace_belongs_to_the_text() -> None:
    row = build({"prompt": "def f(x):\n", "completion": "    return x\r\n"})
    assert [text for _, text in contents(row)] == ["def f(x):\n", "    return x\r\n"]


# Files and tables.


def test_a_cell_of_a_table_may_hold_json() -> None:
    messages = json.dumps([USER, ANSWER]).replace('"', '""')
    Path("a.csv").write_text(
        "messages,tools,expect,weight,label\n" + f'"{messages}",,"[[""Ada""]]",1,ada\n'
    )
    rows, problems = read_conversations(Path("a.csv"))
    assert problems == []
    assert rows[0].messages == (Message("user", "Who is it?"), Message("assistant", "Ada."))
    assert rows[0].fields == {"expect": [["Ada"]], "label": "ada"}
    Path("b.csv").write_text("messages\n\"[{'role': 'user'}]\"\n")
    (problem,) = read_conversations(Path("b.csv"))[1]
    assert problem.message.startswith("'messages' is not JSON")
    assert problem.hint == "it is Python's text of a list; write it with json.dumps"


def test_nested_columns_fill_templates() -> None:
    columns = ColumnMapping(prompt="{q.text}", answer="{a.best.text}", system="{s.t}")
    rows = [
        {"q": {"text": "Who?"}, "a": {"best": {"text": "Ada."}}, "s": {"t": "Be short."}},
        {"q": '{"text": "Who?"}', "a": '{"best": {"text": "Ada."}}', "s": {"t": "Be short."}},
    ]
    for row in rows:
        made = build_conversation(row, "a", columns)
        assert [text for _, text in contents(made)] == ["Be short.", "Who?", "Ada."]
    with pytest.raises(BadRow, match=r"'q' has no 'text' \(did you mean 'txt'\?\); it holds the"):
        build_conversation({**rows[0], "q": {"txt": "x"}}, "a", columns)
    with pytest.raises(BadRow, match=r"has no column 's\.t'"):
        build_conversation({"q": {}, "a": {}}, "a", columns)
    dotted = ColumnMapping(prompt="{a.b}", answer="{c}")
    assert build_conversation({"a.b": "x", "c": "y"}, "a", dotted).first_question == "x"


@pytest.mark.parametrize(
    ("row", "command"),
    [
        ({"question": "a", "answer": "b"}, "--prompt '{question}' --answer '{answer}'"),
        ({"instruction": "a", "response": "b"}, "--prompt '{instruction}' --answer '{response}'"),
        ({"query": "a", "response": "b"}, "--prompt '{query}' --answer '{response}'"),
        ({"input": "a", "output": "b"}, "--prompt '{input}' --answer '{output}'"),
        ({"prompt": "a", "response": "b"}, "--prompt '{prompt}' --answer '{response}'"),
        (
            {"system_prompt": "s", "question": "a", "response": "b"},
            "--system '{system_prompt}' --prompt '{question}' --answer '{response}'",
        ),
        ({"text": "a", "category": "b"}, "--prompt '{text}' --label category"),
        ({"text": "a"}, "--text-column text"),
    ],
)
def test_a_table_with_well_known_columns_is_told_the_command(
    row: dict[str, Any], command: str
) -> None:
    with pytest.raises(BadRow) as caught:
        build_conversation(row, "tables/a b.csv:7", None)
    assert str(caught.value.hint).endswith(
        f"models prepare-data 'tables/a b.csv' {command} --out NAME"
    )


def test_a_message_of_a_tree_is_not_called_plain_text() -> None:
    row = {"message_id": "b", "parent_id": "a", "text": "x", "role": "prompter"}
    with pytest.raises(BadRow) as caught:
        build_conversation(row, "oasst.jsonl:7", None)
    assert "write each path of it" in str(caught.value.hint)


def test_no_command_is_offered_that_would_leave_out_earlier_turns() -> None:
    row = {"query": "c", "response": "d", "history": [["a", "b"]]}
    with pytest.raises(BadRow) as caught:
        build(row)
    assert caught.value.hint == (
        "call its question 'prompt' and its answer 'completion': then 'history' counts too"
    )
    assert len(build({"prompt": "c", "completion": "d", "history": [["a", "b"]]}).messages) == 4


def test_an_empty_system_column_is_no_system_turn() -> None:
    columns = ColumnMapping(prompt="{q}", answer="{a}", system="{s}")
    for system, turns_made in (("Be short.", 3), ("", 2), (None, 2)):
        made = build_conversation({"q": "x", "a": "y", "s": system}, "a", columns)
        assert len(made.messages) == turns_made


@pytest.mark.parametrize("packing", ["gz", "zst"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_packed_files_are_read_and_so_is_a_pipe(packing: str, name: str) -> None:
    text = "prompt,completion\nq,a\n" if name.endswith("csv") else '{"prompt":"q","completion":"a"}'
    path = Path(f"{name}.{packing}")
    if packing == "gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(text.encode())
    (row,), problems = read_conversations(path, name=path.name)
    assert problems == [] and row.answer == "a"
    assert row.source.startswith(path.name)
    for data in (path.read_bytes(), text.encode()):
        assert read_stream(data, name="stdin")[0][0].messages == row.messages
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match="cannot be unpacked: "):
        read_conversations(path)


def test_a_call_has_its_id_and_its_arguments_under_any_name() -> None:
    for name in ("arguments", "parameters", "input", "args"):
        call = {"id": "c7", "name": "find", name: {"id": 7}}
        row = turns(USER, {"role": "assistant", "content": "", "tool_calls": [call]})
        assert row.messages[1].more["tool_calls"] == [{**CALL, "id": "c7"}]


def test_a_number_that_is_missing_is_no_text() -> None:
    columns = ColumnMapping(prompt="{q}", label="grade")
    assert build_conversation({"q": "x", "grade": 1.0}, "a", columns).answer == "1.0"
    with pytest.raises(BadRow, match="content is empty"):
        build_conversation({"q": "x", "grade": math.nan}, "a", columns)


def test_a_pipe_is_called_as_the_command_takes_it_and_carries_no_parquet() -> None:
    (problem,) = read_stream(b'{"question": "q", "answer": "a"}', name="stdin")[1]
    assert "models prepare-data - --prompt" in str(problem.hint)
    with pytest.raises(InvalidInput, match="is a Parquet file"):
        read_stream(b"PAR1....PAR1", name="stdin")


def test_a_pipe_without_rows_is_a_problem() -> None:
    assert [str(problem) for problem in read_stream(b"", name="stdin")[1]] == ["stdin: is empty"]


def test_what_only_a_table_can_hold_becomes_json_that_can_be_read_again() -> None:
    table = pyarrow.table(
        {
            "prompt": ["q"] * 3,
            "completion": ["a"] * 3,
            "score": [math.nan, math.inf, 0.5],
            "raw": [b"\x00\xff", b"text", None],
        }
    )
    pyarrow.parquet.write_table(table, "a.parquet")
    rows, problems = read_conversations(Path("a.parquet"))
    assert problems == []
    assert [(row.fields["score"], row.fields["raw"]) for row in rows] == [
        (None, "AP8="),
        ("inf", "text"),
        (0.5, None),
    ]


def test_a_call_in_a_table_has_its_own_arguments_only() -> None:
    calls = [("find", {"id": 7}), ("mail", {"to": "Ada"})]
    rows = [
        [USER, {"role": "assistant", "content": None, "tool_calls": [_called(name, arguments)]}]
        for name, arguments in calls
    ]
    pyarrow.parquet.write_table(pyarrow.table({"messages": rows}), "a.parquet")
    found, problems = read_conversations(Path("a.parquet"))
    assert problems == []
    for row, (name, arguments) in zip(found, calls, strict=True):
        assert row.messages[1].more == {"tool_calls": [_called(name, arguments)]}


def _called(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def test_plain_text_is_a_mode_of_its_own() -> None:
    Path("a.jsonl").write_text('{"text": " Once upon a time.\\n", "source": "x"}\n{"text": ""}\n')
    (row,), (problem,) = read_conversations(Path("a.jsonl"), name="a", text_column="text")
    assert row.is_plain_text and row.answer == " Once upon a time.\n"
    assert conversation_row(row) == {"text": " Once upon a time.\n"}
    assert str(problem) == "a:2: column 'text' is empty"
    assert "--text-column text" in str(read_conversations(Path("a.jsonl"))[1][0].hint)
