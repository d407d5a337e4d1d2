"""What data says is shown, and never obeyed by a terminal."""

from __future__ import annotations

from modelyard.core.wording import first_names, visible_line, visible_text


def test_control_characters_are_written_out() -> None:
    assert visible_text("\x1b[31mred\x07\r\x00") == "\\x1b[31mred\\x07\\x0d\\x00"
    assert visible_text("\x7f\x85\x9b2J") == "\\x7f\\x85\\x9b2J"


def test_everything_else_stays_as_it_is() -> None:
    text = "Zürich\tcosts\n½ of 東京, it's \u00a0£5 🙂 \\x1b"
    assert visible_text(text) == text


def test_what_turns_text_around_is_written_out() -> None:
    assert visible_text("\u202eabc\u2066\u200f") == "\\u202eabc\\u2066\\u200f"


def test_a_line_stays_one_line() -> None:
    assert visible_line("a\nb\tc\x1b\u2028") == "a\\nb\\tc\\x1b\\u2028"


def test_only_the_first_of_many_names_are_shown() -> None:
    assert first_names([]) == "" and first_names(["a", "b"]) == "a, b"
    assert first_names(list("abcdefghijklmnopqrstuv")).endswith("s, t and 2 more")
