"""Every accepted format becomes the same conversation, and every bad row is named by its place."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from modelyard.chatdata.columns import ColumnMapping
from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.reading import read_conversations, why_unreadable
from modelyard.core.errors import Diagnostic, InvalidInput

ASKED = (Message("user", "What is it?"), Message("assistant", "It is blue."))
INSTRUCTED = (Message("system", "Be short."), *ASKED)
GOOD = {
    "messages": [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "It is blue."},
    ]
}


def read(path: Path, **how: Any) -> list[Conversation]:
    rows, problems = read_conversations(path, name=path.name, **how)
    assert problems == []
    return rows


def problems_of(path: Path, **how: Any) -> list[Diagnostic]:
    return read_conversations(path, name=path.name, **how)[1]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (GOOD, ASKED),
        ({"messages": [{"role": "system", "content": "Be short."}, *GOOD["messages"]]}, INSTRUCTED),
        ({"prompt": "What is it?", "completion": "It is blue."}, ASKED),
        ({"prompt": GOOD["messages"][:1], "completion": GOOD["messages"][1:]}, ASKED),
        ({"instruction": "What is it?", "output": "It is blue."}, ASKED),
        ({"instruction": "What is it?", "input": "", "output": "It is blue."}, ASKED),
        ({"instruction": "", "input": "What is it?", "output": "It is blue."}, ASKED),
        (
            {"instruction": "Sum up.", "input": "A long text", "output": "Text."},
            (Message("user", "Sum up.\n\nA long text"), Message("assistant", "Text.")),
        ),
        (
            {
                "system": "Be short.",
                "conversations": [
                    {"from": "human", "value": "What is it?"},
                    {"from": "gpt", "value": "It is blue."},
                ],
            },
            INSTRUCTED,
        ),
    ],
)
def test_every_format_becomes_messages(
    row: dict[str, Any], messages: tuple[Message, ...], write_jsonl: Callable[..., Path]
) -> None:
    (conversation,) = read(write_jsonl(Path("rows.jsonl"), [row]))
    assert conversation.messages == messages
    assert conversation.source == "rows.jsonl:1"


def test_the_other_keys_of_a_row_are_kept(write_jsonl: Callable[..., Path]) -> None:
    (row,) = read(write_jsonl(Path("rows.jsonl"), [{**GOOD, "fact": "sky", "expect": [["blue"]]}]))
    assert row.fields == {"fact": "sky", "expect": [["blue"]]}
    assert (row.prompt, row.answer) == (ASKED[:1], "It is blue.")


@pytest.mark.parametrize(
    "fields",
    [
        {"expect": [["blue", "azure"], ["sky"]]},
        {"label": "blue"},
        {"group": "colours", "fact": None},
        {"group": None, "fact": "sky", "score": 3},
    ],
)
def test_what_evaluation_reads_may_be_so(
    fields: dict[str, Any], write_jsonl: Callable[..., Path]
) -> None:
    (row,) = read(write_jsonl(Path("rows.jsonl"), [{**GOOD, **fields}]))
    assert row.fields == fields


def test_null_is_nothing_expected(write_jsonl: Callable[..., Path]) -> None:
    (row,) = read(write_jsonl(Path("a.jsonl"), [{**GOOD, "expect": None, "label": None}]))
    assert row.fields == {}


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        *(
            ({"expect": wrong}, ["'expect' must be a list of lists of text, such as"])
            for wrong in (5, "nine", ["nine"], [], [[]], [[""]], [[" "]], [["a"], []], {"a": 1})
        ),
        ({"expect": [["nine", 9]]}, ["'expect' must be a list of lists of text, such as"]),
        ({"label": 5}, ["'label' must be the answer's text, such as \"positive\", not a number"]),
        ({"label": True}, ["holds 'label', so it is preference data: this command trains on good"]),
        ({"label": "false"}, ["holds 'label' 'false', so it is preference data: this command"]),
        ({"label": "1"}, ["holds 'label' '1', so it is preference data: this command trains"]),
        ({"label": "red"}, ["'label' is 'red', which the answer does not hold; it is the right"]),
        ({"label": " "}, ["'label' must be the answer's text, such as \"positive\", not empty"]),
        (
            {"group": 3, "fact": ["a"]},
            [
                "'group' must be text or null, not a number",
                "'fact' must be text or null, not a list",
            ],
        ),
    ],
)
def test_what_evaluation_cannot_read_is_a_problem_of_its_line(
    fields: dict[str, Any], messages: list[str], write_jsonl: Callable[..., Path]
) -> None:
    rows, problems = read_conversations(
        write_jsonl(Path("eval.jsonl"), [GOOD, {**GOOD, **fields}]), name="eval.jsonl"
    )
    assert len(rows) == 1
    assert {problem.where for problem in problems} == {"eval.jsonl:2"}
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert problem.message.startswith(message)


@pytest.mark.parametrize("value", [[GOOD, GOOD], {"data": [GOOD, GOOD]}])
def test_a_json_file_holds_a_list_of_rows(value: Any) -> None:
    path = Path("rows.json")
    path.write_text(json.dumps(value, indent=1))
    assert [row.source for row in read(path)] == ["rows.json: row 1", "rows.json: row 2"]


def test_json_lines_may_be_called_json(write_jsonl: Callable[..., Path]) -> None:
    assert [row.source for row in read(write_jsonl(Path("a.json"), [GOOD, GOOD]))] == [
        "a.json:1",
        "a.json:2",
    ]


def test_a_parquet_file_holds_nested_messages_and_dates_become_text() -> None:
    table = pyarrow.table({"messages": [GOOD["messages"]] * 2, "day": [pyarrow.scalar(7), None]})
    table = table.set_column(1, "day", table["day"].cast(pyarrow.int32()).cast(pyarrow.date32()))
    pyarrow.parquet.write_table(table, "rows.parquet")
    first, second = read(Path("rows.parquet"))
    assert second.messages == ASKED and second.source == "rows.parquet: row 2"
    assert first.fields == {"day": "1970-01-08"}


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_no_problem() -> None:
    path = Path("rows.jsonl")
    line = json.dumps(GOOD).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line)
    assert [row.source for row in read(path)] == ["rows.jsonl:1", "rows.jsonl:4"]


def test_a_row_of_megabytes_is_read(write_jsonl: Callable[..., Path]) -> None:
    long = {"prompt": "word " * 500_000, "completion": "yes"}
    (row,) = read(write_jsonl(Path("rows.jsonl"), [long]))
    assert len(row.messages[0].content) == 2_500_000


def test_a_csv_row_is_named_by_the_line_on_which_it_starts() -> None:
    path = Path("tickets.csv")
    path.write_text('prompt,completion\n"one\ntwo",yes\n\nthree,\nfour,no\n')
    rows, problems = read_conversations(path, name="tickets.csv")
    assert [(row.source, row.messages[0].content) for row in rows] == [
        ("tickets.csv:2", "one\ntwo"),
        ("tickets.csv:6", "four"),
    ]
    assert list(map(str, problems)) == ["tickets.csv:5: message 2: content is empty"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_may_be_separated_by_semicolons_or_tabs(delimiter: str) -> None:
    Path("a.csv").write_text(f"prompt{delimiter}completion\nWhat is it?{delimiter}It is blue.\n")
    assert read(Path("a.csv"))[0].messages == ASKED


def test_columns_fill_templates() -> None:
    path = Path("tickets.csv")
    path.write_text("Subject line,body,team,id\nPrinter,It {burns},hardware,7\n")
    columns = ColumnMapping(
        prompt="{Subject line}:\n{body} {{now}}", label="team", system="Ticket {id}"
    )
    (row,) = read(path, columns=columns)
    assert row.source == "tickets.csv:2"
    assert [turn.content for turn in row.messages] == [
        "Ticket 7",
        "Printer:\nIt {burns} {now}",
        "hardware",
    ]
    assert row.fields == {"label": "hardware"}
    assert row.format == "columns"


def test_columns_that_are_not_used_are_left_out(write_jsonl: Callable[..., Path]) -> None:
    Path("a.csv").write_text("question,answer,email,token\nWhat is it?,It is blue.,a@b.org,x7\n")
    rows = [{"question": "What is it?", "answer": "It is blue.", "email": "a@b.org", "label": 5}]
    columns = ColumnMapping(prompt="{question}", answer="{answer}")
    for path in (Path("a.csv"), write_jsonl(Path("a.jsonl"), rows)):
        (row,) = read(path, columns=columns)
        assert row.messages == ASKED
        assert row.fields == {}


def test_bytes_and_nested_columns_are_no_text(write_jsonl: Callable[..., Path]) -> None:
    columns = ColumnMapping(prompt="{q} {tags} {raw}", answer="{a}")
    table = pyarrow.table(
        {"q": ["x", "y"], "a": [1.5, None], "tags": [[1, 2], None], "raw": [b"\xff", None]}
    )
    pyarrow.parquet.write_table(table, "a.parquet")
    first, second = problems_of(Path("a.parquet"), columns=columns)
    assert str(first) == (
        "a.parquet: row 1: column 'tags' holds a list and column 'raw' holds bytes, "
        "which has no text to put into a template"
    )
    assert str(second) == "a.parquet: row 2: message 2: content is empty"
    nested = write_jsonl(Path("a.jsonl"), [{"q": {"x": 1}, "a": "yes"}])
    (wrong,) = problems_of(nested, columns=ColumnMapping(prompt="{q}", answer="{a}"))
    assert str(wrong).startswith("a.jsonl:1: column 'q' holds an object")


def test_one_row_of_a_json_file_that_is_nested_too_deep_is_refused_alone() -> None:
    deep = json.loads("[" * 300 + "]" * 300)
    good = {"prompt": "q", "completion": "a"}
    Path("a.json").write_text(json.dumps([good, {**good, "x": deep}]))
    (problem,) = problems_of(Path("a.json"))
    assert str(problem) == "a.json: row 2: is nested more than 100 levels deep"


def test_what_is_nested_as_deep_as_may_be_is_kept(write_jsonl: Callable[..., Path]) -> None:
    deep = json.loads("[" * 99 + "]" * 99)
    calls = [{"name": "f", "arguments": json.dumps({"x": deep})}]
    given = {**saying(tool_calls=calls), "tools": [{"name": "f", "x": deep[0][0]}], "y": deep}
    (row,) = read(write_jsonl(Path("a.jsonl"), [given]))
    assert row.fields["y"] == deep


def test_a_parquet_file_that_names_a_column_twice_is_refused_like_a_csv() -> None:
    table = pyarrow.table([["x"], ["y"], ["z"]], names=["prompt", "completion", "prompt"])
    pyarrow.parquet.write_table(table, "a.parquet")
    for columns in (None, ColumnMapping(prompt="{prompt}", answer="{completion}")):
        with pytest.raises(InvalidInput) as caught:
            read(Path("a.parquet"), columns=columns)
        assert str(caught.value) == "a.parquet: the header names a column twice: prompt"


def test_columns_of_other_files_fill_templates_too(write_jsonl: Callable[..., Path]) -> None:
    columns = ColumnMapping(prompt="{q}", answer="{a}")
    path = write_jsonl(Path("rows.jsonl"), [{"q": "2 and 2?", "a": 4}, {"q": "3 and 3?"}])
    rows, problems = read_conversations(path, name="rows.jsonl", columns=columns)
    assert rows[0].answer == "4"
    assert str(problems[0]) == "rows.jsonl:2: has no column 'a'; its columns are q"


def test_a_column_that_a_table_does_not_have_is_one_problem_with_a_suggestion() -> None:
    Path("a.csv").write_text("text,category\nhello,greeting\nbye,parting\n")
    found = problems_of(Path("a.csv"), columns=ColumnMapping(prompt="{txt}", label="category"))
    message = "a.csv:1: has no column 'txt' (did you mean 'text'?); its columns are text, category"
    assert list(map(str, found)) == [message]
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), "a.parquet")
    with pytest.raises(InvalidInput, match=r"did you mean 'text'"):
        read(Path("a.parquet"), columns=ColumnMapping(prompt="{txt}", label="text"))


@pytest.mark.parametrize("template", ["{text", "{}", "{text!r}", "{text:>10}"])
def test_a_template_holds_nothing_but_column_names(template: str) -> None:
    with pytest.raises(InvalidInput, match="template"):
        ColumnMapping(prompt=template, answer="{a}")


@pytest.mark.parametrize("how", [{}, {"answer": "{a}", "label": "a"}])
def test_columns_need_one_way_to_the_answer(how: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="exactly one"):
        ColumnMapping(prompt="{q}", **how)


def _nested(levels: int, text: str) -> str:
    return text % ("[" * levels + "]" * levels)


def turns(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": "something"} for role in roles]}


def saying(**turn: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", **turn}]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"messages": [}', "is not JSON: Expecting value at column 15"),
        ('{"messages": []', "is not JSON: Expecting ',' delimiter at column 16"),
        ('{"prompt": "a\tb"}', "is not JSON: Invalid control character at column 14"),
        ('{"prompt": "a', "is not JSON: Unterminated string starting at column 12"),
        ('{"prompt": "a", "completion": "b", "n": NaN}', "is not usable JSON: NaN is not JSON"),
        ('{"n": ' + "9" * 5000 + "}", "is not usable JSON: Exceeds the limit"),
        ('{"n": -1e999}', "is not usable JSON: the number -1e999 is too large"),
        ("[" * 100_000, "is not usable JSON: it is nested too deeply"),
        (_nested(100, '{"prompt": "a", "completion": "b", "x": %s}'), "is nested more than 100"),
        (_nested(450, '{"a": "\\u00eb", "tools": [{"name": "f", "x": %s}]}'), "is nested more"),
        (
            saying(tool_calls=[{"name": "f", "arguments": _nested(101, '{"x": %s}')}]),
            "message 2: the text of a call's arguments is nested more than 100 levels deep",
        ),
        ('{"prompt": "\\ud83d", "completion": "b"}', "holds half of a surrogate pair"),
        ("[1, 2]", "must be an object with keys, not a list"),
        ('"text"', "must be an object with keys, not text"),
        ({}, "is in no accepted format; its keys are none"),
        (
            {"question": "a", "answer": "b"},
            "is in no accepted format; its keys are question, answer",
        ),
        ({"prompt": "a", "rating": "b"}, "'completion' is missing"),
        (
            '{"prompt": "a", "completion": "b", "prompt": "c"}',
            "is not usable JSON: the key 'prompt'",
        ),
        ({"completion": "a"}, "'prompt' is missing"),
        ({"instruction": "a", "input": "b"}, "'output' is missing"),
        ({"instruction": "a", "input": 3, "output": "b"}, "'input' must be text, not a number"),
        ({"messages": "hello"}, "'messages' must be a list of messages, not text"),
        ({"messages": []}, "the assistant's turn is missing, so there is nothing to train on"),
        ({"messages": ["a"]}, "message 1: must be an object with role and content, not text"),
        (
            turns("user", "asistant"),
            "message 2: unknown role 'asistant' (did you mean 'assistant'?)",
        ),
        (turns("user", "tool", "assistant"), "message 2: expected the assistant's turn, found"),
        (turns("user"), "the assistant's turn is missing, so there is nothing to train on"),
        (turns("user", "assistant", "user"), "the last message must be the assistant's"),
        (turns("user", "system", "assistant"), "message 2: a system message may only come first"),
        (turns("assistant"), "message 1: the conversation begins with the assistant's turn"),
        (turns("system", "assistant"), "message 2: the conversation begins with the assistant's"),
        (
            turns("user", "user", "assistant"),
            "message 2: expected the assistant's turn, found the user",
        ),
        (saying(content=""), "message 2: content is empty"),
        (saying(content=" \n"), "message 2: content is empty"),
        (saying(content=None), "message 2: 'content' is missing"),
        (saying(content=["a"]), "message 2: content must be text, or a list of parts"),
        (saying(content=True), "message 2: content must be text, not true or false"),
        (saying(content="a\0b"), "message 2: content holds a NUL character"),
        (
            saying(content="a", tool_calls=[{"id": 1}]),
            'message 2: \'tool_calls\' must hold {"name": ..., "arguments": {...}} for each call',
        ),
        (saying(content="a", weight=0), "no answer is trained: each has a key such as"),
        ({"messages": [{"content": "a"}]}, "message 1: 'role' is missing"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "the assistant's turn is missing"),
        (
            {"conversations": [{"from": "observer", "value": "a"}]},
            "message 1: unknown role 'observer'",
        ),
    ],
)
def test_a_bad_row_says_what_is_wrong(
    row: Any, message: str, write_jsonl: Callable[..., Path]
) -> None:
    rows, problems = read_conversations(write_jsonl(Path("rows.jsonl"), [GOOD, row]), name="r")
    assert len(rows) == 1
    assert problems[0].where == "r:2"
    assert problems[0].message.startswith(message)


def test_every_fault_of_a_row_is_named(write_jsonl: Callable[..., Path]) -> None:
    row = {"messages": [{"role": "usr", "content": "a"}, {"role": "assistant", "content": ""}]}
    first, second = problems_of(write_jsonl(Path("a.jsonl"), [row]))
    assert first.message == (
        "message 1: unknown role 'usr' (did you mean 'user'?); "
        "accepted are system, user, assistant, tool"
    )
    assert second.message == "message 2: content is empty"


def test_the_row_on_line_7312_that_is_not_json_is_named(write_jsonl: Callable[..., Path]) -> None:
    rows: list[Any] = [GOOD] * 8000
    rows[7311] = '{"messages": oops}'
    found = problems_of(write_jsonl(Path("rows.jsonl"), rows))
    assert list(map(str, found)) == ["rows.jsonl:7312: is not JSON: Expecting value at column 14"]


def test_thousands_of_bad_rows_are_all_kept(write_jsonl: Callable[..., Path]) -> None:
    found = problems_of(write_jsonl(Path("rows.jsonl"), [GOOD, "oops"] * 3000))
    assert len(found) == 3000
    assert found[-1].where == "rows.jsonl:6000"


def test_bytes_that_are_not_utf8_are_named_by_line_and_column() -> None:
    line = json.dumps(GOOD).encode()
    Path("rows.jsonl").write_bytes(line + b'\n{"prompt": "caf\xe9"}\n' + line + b"\n")
    found = problems_of(Path("rows.jsonl"))
    assert list(map(str, found)) == ["rows.jsonl:2: is not UTF-8 text (byte 0xe9 at column 16)"]
    Path("a.csv").write_bytes(b"prompt,completion\na,b\ncaf\xe9,c\n")
    assert list(map(str, problems_of(Path("a.csv")))) == ["a.csv:3: is not UTF-8 text"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", ""), ("a.jsonl", "\n\n"), ("a.json", ""), ("a.json", "[]"), ("a.csv", "a,b\n")],
)
def test_an_empty_file_is_a_problem(name: str, content: str) -> None:
    Path(name).write_text(content)
    assert list(map(str, problems_of(Path(name)))) == [f"{name}: is empty"]


def test_csv_rows_must_fit_their_header() -> None:
    Path("a.csv").write_text("prompt,completion\na,b,c\nonly\nfine,yes\n")
    assert list(map(str, problems_of(Path("a.csv")))) == [
        "a.csv:2: has 3 columns where the header has 2",
        "a.csv:3: has 1 column where the header has 2",
    ]
    Path("b.csv").write_text("a,a\n1,2\n")
    assert str(problems_of(Path("b.csv"))[0]) == "b.csv:1: the header names a column twice: a"
    Path("c.csv").write_text('prompt,completion\n"a"b,c\nfine,yes\n"never closed,b\nlost,too\n')
    rows, problems = read_conversations(Path("c.csv"))
    assert [row.source for row in rows] == ["c.csv:3"]
    assert [problem.where for problem in problems] == ["c.csv:2", "c.csv:4"]
    assert all(problem.message.startswith("is not CSV: ") for problem in problems)


def test_a_json_file_that_is_not_json_says_where() -> None:
    Path("a.json").write_text('[\n  {"prompt": "a",}\n]')
    assert str(problems_of(Path("a.json"))[0]).startswith("a.json: is not JSON: ")
    assert "line 2, column" in str(problems_of(Path("a.json"))[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", r"cannot read '.txt' files"),
        ("a.parquet.gz", b"PAR1", r"cannot read '.parquet.gz' files"),
        ("a.jsonl.gz", b"not packed", r"cannot be unpacked: "),
        ("rows.jsnl", b"hello", r"did you mean '.jsonl'"),
        ("a.parquet", b"not parquet", "cannot read: "),
        ("a.jsonl", "prompt".encode("utf-16"), "is UTF-16 text"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_conversations(Path(name))


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"gone.jsonl: there is no such file"):
        read_conversations(Path("gone.jsonl"))


def test_what_is_no_file_is_called_what_it_is() -> None:
    os.mkfifo("pipe.jsonl")
    Path("loop.jsonl").symlink_to("loop.jsonl")
    Path("dangling.jsonl").symlink_to("nowhere.jsonl")
    assert why_unreadable(Path.cwd()) is None
    assert (
        why_unreadable(Path("/dev/null")) == "is a device; save its rows in a file, and give that"
    )
    assert (
        why_unreadable(Path("dangling.jsonl")) == "is a link to nowhere.jsonl, which does not exist"
    )
    for name, message in (
        ("pipe.jsonl", "pipe.jsonl: is a pipe; save its rows in a file"),
        ("loop.jsonl", "loop.jsonl: is a link that leads back to itself"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read_conversations(Path(name))


def test_a_damaged_file_is_refused_or_read_and_never_a_bug() -> None:
    chance = random.Random(0)
    line = b'{"prompt": "q", "completion": "a", "x": [1, {"y": null}]}\n'
    table = b'prompt,completion,tools\n"q\nr",a,"[{""name"": ""f""}]"\nx,y,\n'
    columns = {"prompt": ["q"] * 9, "completion": ["a"] * 9, "m": [{"a": 1, "b": None}] * 9}
    pyarrow.parquet.write_table(pyarrow.table(columns), "whole.parquet")
    wholes = {
        "a.jsonl": line * 5,
        "a.json": b"[" + line + b"," + line + b"]",
        "a.csv": table,
        "a.parquet": Path("whole.parquet").read_bytes(),
        "a.csv.gz": gzip.compress(table),
    }
    extra = [b"\xff\xfe", b"\x00", b'"', b"\xed\xa0\x80", b"{", b"]", b"\r\n", b"NaN", b"1e999"]
    read_rows = 0
    for _ in range(600):
        name = chance.choice(list(wholes))
        data = bytearray(wholes[name])
        for _ in range(chance.randint(0, 3)):
            place = chance.randrange(len(data) + 1)
            data[place : place + chance.randint(0, 2)] = chance.choice(extra)
        Path(name).write_bytes(data)
        try:
            read_rows += len(read_conversations(Path(name))[0])
        except InvalidInput:
            continue
    assert read_rows > 300
