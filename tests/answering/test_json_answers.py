"""Whether an answer is JSON that meets its schema, and how a repair is asked for."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from jsonschema import Draft7Validator

from answer_samples import SCHEMA
from modelyard.answering.json_answers import check_schema, json_text, problem, repair_messages
from modelyard.chatdata.conversation import Message
from modelyard.core.errors import InvalidInput


@pytest.mark.parametrize(
    "text",
    ['{"verdict": "yes"}', '\n ```json\n{"verdict": "yes"}\n```\n', '~~~\n{"verdict": "yes"}\n~~~'],
)
def test_an_answer_may_stand_in_one_code_fence(text: str) -> None:
    assert problem(text, SCHEMA) is None
    assert json.loads(json_text(text)) == {"verdict": "yes"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("Here you are: {}", "is not JSON"),
        ('```json\n{"verdict": "yes"}\n```\nThat is all.', "is not JSON"),
        ("NaN", "NaN"),
        ('{"verdict": 1e999}', "infinite"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "is not JSON"),
        ('{"verdict": 1}', "$.verdict"),
        ("{}", "verdict"),
        ("[]", "not of type 'object'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    found = problem(text, SCHEMA)
    assert found is not None
    assert said in found
    assert "\n" not in found
    assert len(found) < 1000


def test_a_fence_without_an_end_is_found_at_once() -> None:
    """What models repeat without end where they must give JSON are spaces and line ends."""
    for text in ("```" + " " * 900_000 + "x", "~~~\n" + " " * 900_000 + "x"):
        assert json_text(text) == text


def test_any_json_meets_an_empty_schema() -> None:
    assert problem("3", {}) is None
    assert problem("three", {}) is not None


def test_a_secret_in_an_answer_is_not_repeated() -> None:
    key = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zZ"
    found = problem(json.dumps({"verdict": [key]}), SCHEMA)
    assert found is not None
    assert key not in found


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "is no JSON Schema: type"),
        ({"pattern": "("}, "is no JSON Schema: pattern"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "refers to http://127.0.0.1:9/schema"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "refers to #/$defs/none"),
        ({"$ref": "#"}, "refers to itself"),
        ({"properties": {"a": {"allOf": [{"$ref": "#/properties/a"}]}}}, "refers to itself"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_anything_is_asked(
    schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=r"schema\.json") as refused:
        check_schema(schema, where="schema.json")
    assert said in refused.value.message


def test_what_a_schema_refers_to_elsewhere_is_never_fetched() -> None:
    found = problem("1", {"$ref": "http://127.0.0.1:9/schema"})
    assert found is not None
    assert "http://127.0.0.1:9/schema" in found


def test_a_schema_may_refer_to_its_own_parts() -> None:
    tree = {
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "$ref": "#/$defs/node",
    }
    check_schema(tree, where="schema.json")
    assert problem("[[], [[]]]", tree) is None
    assert problem("[[], [1]]", tree) is not None


def test_a_schema_as_deep_as_a_well_is_no_crash() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2000):
        schema = {"not": schema}
    with pytest.raises(InvalidInput, match="too deeply"):
        check_schema(schema, where="schema.json")
    assert problem("1", schema) == "it is nested too deeply"


def test_no_answer_makes_the_check_fail() -> None:
    draw = random.Random(7)
    signs = '{}[]":,.-0123456789eE+ntfaulrsv \\u`~\n'
    for _ in range(2000):
        text = "".join(draw.choices(signs, k=draw.randrange(40)))
        assert isinstance(problem(text, SCHEMA), str | None)


def test_a_repair_repeats_the_answer_and_says_what_is_wrong() -> None:
    asked = (Message("user", "Well?"),)
    messages = repair_messages(asked, '{"verdict": 1}', "$.verdict: 1 is no text", SCHEMA)
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].content == '{"verdict": 1}'
    assert "$.verdict: 1 is no text" in messages[2].content
    assert json.dumps(SCHEMA) in messages[2].content
    assert repair_messages(asked, " ", "it is empty", {})[1].content  # some APIs refuse none


ENDLESS = r"^(\w|\w\w)+$"
"""For a text of letters with a `!` at the end, ways to try double with each letter."""


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"verdict": {"pattern": ENDLESS}}},
        {"type": "object", "patternProperties": {ENDLESS: {"type": "string"}}},
        {"type": "object", "patternProperties": {ENDLESS: {}}, "additionalProperties": False},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": {"pattern": ENDLESS}},
    ],
)
def test_a_pattern_that_backtracks_without_end_is_given_up(schema: dict[str, Any]) -> None:
    long = "a" * 200 + "!"
    value: Any = [long] if "items" in schema else {"verdict": long, long: "x"}
    found = problem(json.dumps(value), schema)
    assert found is not None
    assert "without an end" in found


def test_patterns_mean_what_they_mean_to_jsonschema() -> None:
    schema = {
        "properties": {"name": {"pattern": "^[a-z]+$"}},
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": {"type": "string"},
    }
    assert problem('{"name": "ann", "x-one": 1, "other": "text"}', schema) is None
    for wrong in ('{"name": "Ann"}', '{"x-one": "1"}', '{"other": 1}'):
        assert problem(wrong, schema) is not None
        assert not Draft7Validator(schema).is_valid(json.loads(wrong))
    closed = {"patternProperties": {"^x-": {}}, "additionalProperties": False}
    assert problem('{"x-one": 1}', closed) is None
    found = problem('{"y": 1, "z": 2}', closed)
    assert found is not None
    assert "'y', 'z'" in found


def test_a_schema_whose_check_has_no_bound_in_time_is_refused() -> None:
    schema = {"patternProperties": {"a": {}}, "allOf": [{"unevaluatedProperties": False}]}
    with pytest.raises(InvalidInput, match="no bound in time"):
        check_schema(schema, where="it")
