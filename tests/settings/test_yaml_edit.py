"""One value of a YAML file is changed, and every other character stays."""

from __future__ import annotations

import pytest

from modelyard.settings.yaml_edit import NotEditable, remove_key, set_value

TEXT = """\
# Questions on code
description: Code   # for all
model: gpt4         # the dear one
instructions: |
  You answer.

  Say so.

# the rest
retrieval:
  domains: [docs/handbook]
  top: 5
environments:
  test:
    model: claude
"""


def test_a_value_is_replaced_and_its_comment_stays() -> None:
    found = set_value(TEXT, ("model",), "claude", name="a.yaml")
    assert found == TEXT.replace("model: gpt4  ", "model: claude  ")
    deeper = set_value(TEXT, ("environments", "test", "model"), "gpt4", name="a.yaml")
    assert deeper == TEXT.replace("    model: claude", "    model: gpt4")


def test_a_value_that_is_left_empty_is_filled() -> None:
    text = "model:   # none yet\ntop: 5\n"
    assert set_value(text, ("model",), "gpt4", name="a.yaml").startswith("model: gpt4")
    assert "# none yet" in set_value(text, ("model",), "gpt4", name="a.yaml")


def test_a_new_key_stands_after_its_neighbours() -> None:
    found = set_value(TEXT, ("profile",), "balanced", name="a.yaml")
    assert found == TEXT.replace("one)\n", "").replace(
        "# the dear one\n", "# the dear one\nprofile: balanced\n"
    )


def test_groups_that_are_missing_are_added() -> None:
    found = set_value(TEXT, ("environments", "production", "model"), "claude", name="a.yaml")
    assert "environments:\n  production:\n    model: claude\n  test:\n" in found
    bare = set_value("model: gpt4", ("environments", "test", "model"), "claude", name="a.yaml")
    assert bare == "model: gpt4\nenvironments:\n  test:\n    model: claude\n"


@pytest.mark.parametrize("value", ["yes", "1e5", "0123", "a: b", "#x"])
def test_a_text_that_yaml_takes_for_something_else_is_quoted(value: str) -> None:
    found = set_value("model: gpt4\n", ("model",), value, name="a.yaml")
    assert found == f'model: "{value}"\n' or found == f"model: '{value}'\n"


def test_a_key_goes_with_all_below_it() -> None:
    assert remove_key(TEXT, ("instructions",), name="a.yaml") == TEXT.replace(
        "instructions: |\n  You answer.\n\n  Say so.\n", ""
    )
    spaced = "a: 1\n\nb:\n  c: 2\n\nd: 3\n"
    assert remove_key(spaced, ("b",), name="a.yaml") == "a: 1\n\nd: 3\n"
    assert "# the rest" in remove_key(TEXT, ("retrieval",), name="a.yaml")
    assert "retrieval" not in remove_key(TEXT, ("retrieval",), name="a.yaml")


def test_groups_that_would_be_empty_go_too() -> None:
    found = remove_key(TEXT, ("environments", "test", "model"), name="a.yaml")
    assert found == TEXT.replace("environments:\n  test:\n    model: claude\n", "")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a: {b: 1, c: 2}\n", ("a", "d")),
        ("a: &x {b: one}\nc: *x\n", ("c", "b")),
        ("a: [1, 2]\n", ("a",)),
        ("", ("a",)),
    ],
)
def test_what_would_change_more_than_one_value_is_refused(text: str, path: tuple[str, ...]) -> None:
    with pytest.raises(NotEditable):
        set_value(text, path, "two", name="a.yaml")


def test_removing_from_a_mapping_in_braces_is_refused() -> None:
    with pytest.raises(NotEditable, match=r"'a\.b' cannot be changed"):
        remove_key("a: {b: 1, c: 2}\n", ("a", "b"), name="a.yaml")
    assert remove_key("a: {b: 1}\nc: 2\n", ("a", "b"), name="a.yaml") == "c: 2\n"


def test_a_key_that_is_written_out_wins_over_a_merged_one() -> None:
    text = "base: &x\n  b: one\nc:\n  <<: *x\n  e: three\n"
    assert set_value(text, ("c", "b"), "two", name="a.yaml") == text + "  b: two\n"
