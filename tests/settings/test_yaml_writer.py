"""What is written as YAML is read back as it was."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.settings.yaml_files import parse_yaml, render_yaml

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.just("\n"))
KEY = st.text("abcdefgh_-.0123456789 ", min_size=1, max_size=12)
SCALAR = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEY, below, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(KEY, VALUE, max_size=4))
def test_everything_is_read_back_as_it_was(values: dict[str, Any]) -> None:
    assert parse_yaml(render_yaml(values), name="x").value == values


def test_text_of_several_lines_stands_as_such() -> None:
    assert render_yaml({"a": "one\ntwo\n", "b": "x"}) == "a: |\n  one\n  two\nb: x\n"


@pytest.mark.parametrize("word", ["1e5", "y", "no", "12:30", "010", "~", "", "1_000", "2026-11-22"])
def test_a_word_that_could_be_something_else_is_quoted(word: str) -> None:
    text = render_yaml({"a": word})
    assert parse_yaml(text, name="x").value == {"a": word}
    assert yaml.safe_load(text) == {"a": word}
