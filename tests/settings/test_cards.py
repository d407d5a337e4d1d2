from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.settings.cards import load_card, render_card, write_card


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return tmp_path / "CARD.md"


def test_a_card_is_read_back_as_it_was_written(card: Path) -> None:
    shared = {"name": "tiny", "fingerprint": "sha256:00"}
    front = {
        "name": "demo",
        "org": None,
        "loss": 5e-7,
        "rows": 240,
        "ok": True,
        "base": shared,
        "parent_base": shared,
        "list": [1, [2.5, "x"], {}],
        "when": "2026-11-22T14:31:49Z",
        "note": "first line\nsecond: line\n",
        "long": "word " * 60,
    }
    write_card(card, front, "# Demo\n\nText with --- in it.\n\n---\n\nMore.\n")
    read = load_card(card)
    assert read.front.value == front
    assert list(read.front.value) == list(front)
    assert read.body == "# Demo\n\nText with --- in it.\n\n---\n\nMore.\n"


@pytest.mark.parametrize(
    "text",
    ["no", "1e5", "12345e67", "-1.e+5", "0123", "12:30", "1_000", "~", "", " x ", "=", "<<", "- a", 
     "y", "N", "0o17", "-.5",
     "a: b", "#x", "'", '"', "---", "ünï", "\t", "\x07", "&a", "*a", "!t", "@x", "2026-01-01"],
)  # fmt: skip
def test_text_that_looks_like_something_else_stays_text(card: Path, text: str) -> None:
    write_card(card, {"value": text, "list": [text]}, "body")
    assert load_card(card).front.value == {"value": text, "list": [text]}


def test_random_text_stays_what_it_was(card: Path) -> None:
    chance = random.Random(0)
    letters = string.digits * 3 + "eE+-.:_xo" * 3 + string.printable + "éß漢\u2028"
    values = ["".join(chance.choices(letters, k=chance.randint(1, 8))) for _ in range(2000)]
    write_card(card, {"values": values}, "")
    assert load_card(card).front.value["values"] == values


def test_errors_in_the_front_matter_name_the_line_of_the_file(card: Path) -> None:
    card.write_text("---\nname: demo\nname: other\n---\n\nbody\n")
    with pytest.raises(ProblemsFound) as caught:
        load_card(card, name="models/CARD.md")
    assert caught.value.problems[0].where == "models/CARD.md:3:1"


@pytest.mark.parametrize(
    "text", ["", "# Only Markdown\n", "---\nname: demo\n", "text\n---\na: 1\n---\n", "---\n---\n"]
)
def test_a_card_without_front_matter_says_how_to_start_one(card: Path, text: str) -> None:
    card.write_text(text)
    with pytest.raises(InvalidInput, match=r"CARD\.md:1:1: has no front matter") as caught:
        load_card(card)
    assert "between two ---" in str(caught.value.hint)


@pytest.mark.parametrize("matter", ["- a", "text", "5"])
def test_front_matter_must_be_a_mapping(card: Path, matter: str) -> None:
    card.write_text(f"---\n{matter}\n---\n")
    with pytest.raises(InvalidInput, match="not a mapping"):
        load_card(card)


def test_cards_from_other_systems_are_read(card: Path) -> None:
    card.write_bytes(b"\xef\xbb\xbf---\r\nname: demo\r\n---\r\n\r\nbody\r\n")
    assert load_card(card).front.value == {"name": "demo"}
    assert load_card(card).body == "body\n"
    card.write_text("---\nname: demo\n---")
    assert load_card(card).body == ""


def test_a_card_that_cannot_be_read_says_why(card: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read: No such file"):
        load_card(card)
    card.write_bytes(b"---\nname: \xff\n---\n")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        load_card(card)


def test_a_rendered_card_ends_with_one_newline() -> None:
    assert render_card({"a": 1}, "\n\nbody\n\n\n") == "---\na: 1\n---\n\nbody\n"
