"""Our quick checks of an answer's schema refuse what jsonschema refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError

from killed import SOAK
from modelyard.configs.checking.json_schema import _KEYWORDS, check_json_schema

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 3),
        st.sampled_from([0.5, "string", "array", "(", "x", "a"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", *_KEYWORDS]), inner, max_size=3),
    ),
    max_leaves=8,
)
SCHEMAS = st.dictionaries(st.sampled_from(list(_KEYWORDS)), VALUES, min_size=1, max_size=4)


def is_refused_by_jsonschema(schema: Any) -> bool:
    try:
        Draft7Validator.check_schema(schema, format_checker=Draft7Validator.FORMAT_CHECKER)
    except SchemaError:
        return True
    return False


@settings(derandomize=True, max_examples=500 if SOAK == 1 else 1500, deadline=None, database=None)
@given(schema=SCHEMAS)
def test_what_jsonschema_refuses_is_refused_in_the_quick_check_too(schema: Any) -> None:
    if is_refused_by_jsonschema(schema):
        assert list(check_json_schema(schema, ()))


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": ["string", "null"], "maxLength": 3, "pattern": "^a+$"},
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"enum": [1, None]}}},
        {"items": [{"type": "string"}, True], "additionalItems": False, "uniqueItems": True},
        {"dependencies": {"a": ["b"], "c": {"minProperties": 2}}, "examples": [], "const": 3},
        {"if": {"required": ["a"]}, "then": False, "title": "T", "multipleOf": 0.5},
    ],
)
def test_a_schema_is_one_for_both(schema: Any) -> None:
    assert not is_refused_by_jsonschema(schema)
    assert list(check_json_schema(schema, ())) == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"uniqueItems": 3}, "'uniqueItems' must be true or false, not 3"),
        ({"$ref": 3}, "'$ref' must be a text, not 3"),
        ({"required": ["a", "a"]}, "'required' names one of them twice"),
        ({"type": []}, "'type' must be a type, or a list of different ones"),
        ({"dependencies": {"a": 3}}, "'dependencies.a' must be a mapping, or true or false"),
        ({"dependencies": {"a": ["b", 3]}}, "'dependencies.a' must be a list of names"),
        ({"additionalItems": "no"}, "'additionalItems' must be a mapping, or true or false"),
        ({"type": "strin"}, "(did you mean 'string'?)"),
    ],
)
def test_a_mistake_is_named(schema: Any, message: str) -> None:
    assert is_refused_by_jsonschema(schema)
    (found,) = check_json_schema(schema, ())
    assert message in found.message
