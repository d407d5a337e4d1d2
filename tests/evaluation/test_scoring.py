from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from modelyard.evaluation.scoring import answer_meets, labels_exact, may_become_label


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("You get 25 days.", "25"),
        ("25", "25"),
        ("(25)", "25"),
        ("**25** days", "25"),
        ("_25_ days", "25"),
        ("25, and no more", "25"),
        ("a 25-day leave", "25"),
        ("25% of it", "25"),
        ("25 % of it", "25%"),
        ("£25 a day", "25"),
        ("£25 a day", "£25"),
        ("£ 25 a day", "£25"),
        ("1,000 people", "1000"),
        ("1000 people", "1,000"),
        ("1\u202f000 people", "1000"),
        ("1,234,567.5 km", "1234567.5"),
        ("２５ days", "25"),
        ("at 9:30", "9:30"),
        ("open 24/7", "24/7"),
        ("version v2.1", "V2.1"),
        ("-5 degrees", "-5"),
        ("\u22125 degrees", "-5"),
        ("2½ days", "2 ½"),
        ("thirty-six hours", "thirty six"),
        ("thirty\u2011six hours", "thirty-six"),
        ("Thirty Six", "thirty–six"),
        ("Tinker\u00adThursday", "tinkerthursday"),
        ("It is called TINKER   thursday!", "Tinker Thursday"),
        ("It is called Tinker\nThursday.", "Tinker Thursday"),
        ("Tinker Thursday's rules", "Tinker Thursday"),
        ("Tinker Thursday\u2019s rules", "Tinker Thursday"),
        ("the customers' fund", "customers"),
        ("O\u2019Brien", "O'Brien"),
        ("don\u2019t", "don't"),
        ("R&D", "R & D"),
        ("STRASSE", "Straße"),
        ("cafe\u0301", "café"),
        ("innovation, integrity and sustainability", "integrity"),
        ("“innovation”", "innovation"),
        ("card_arrival", "card arrival"),
    ],
)
def test_an_answer_that_says_it_in_its_own_way_meets_it(answer: str, wanted: str) -> None:
    assert answer_meets(answer, [[wanted]])


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("250 days", "25"),
        ("125 days", "25"),
        ("2.25 days", "25"),
        ("25.5 days", "25"),
        ("0.25", "25"),
        ("25,300 people", "25"),
        ("1,025 people", "25"),
        ("the 25th", "25"),
        ("14:25", "25"),
        ("25/7", "25"),
        ("room B25", "25"),
        ("-25 degrees", "25"),
        ("10\u00b2", "102"),
        ("40 pounds", "£40"),
        ("£40", "40 pounds"),
        ("forty", "40"),
        ("25 days", "25%"),
        ("disintegrity", "integrity"),
        ("integrityless", "integrity"),
        ("Thursday Tinker", "Tinker Thursday"),
        ("Tinker on Thursday", "Tinker Thursday"),
        ("", "25"),
        ("anything", ""),
        ("anything", "..."),
    ],
)
def test_an_answer_that_only_looks_like_it_does_not_meet_it(answer: str, wanted: str) -> None:
    assert not answer_meets(answer, [[wanted]])


def test_every_group_must_be_met_by_one_of_its_alternatives() -> None:
    expect = [["36", "thirty-six"], ["hours"]]
    assert answer_meets("Within thirty-six hours.", expect)
    assert answer_meets("Within 36 hours.", expect)
    assert not answer_meets("Within 36 days.", expect)
    assert not answer_meets("Within hours.", expect)


def test_nothing_expected_is_nothing_met() -> None:
    assert not answer_meets("anything", [])
    assert not answer_meets("anything", [[]])


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("card_arrival", "card_arrival"),
        (" Card arrival.\n", "card_arrival"),
        ("card-arrival", "card_arrival"),
        ("reverted_card_payment", "reverted_card_payment?"),
        ("-1", "-1"),
        ("C++", "c++"),
        ("👍", "👍"),
    ],
)
def test_a_label_is_met_by_itself(answer: str, label: str) -> None:
    assert labels_exact(answer, label)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("The label is card_arrival", "card_arrival"),
        ("card_arrival card_arrival", "card_arrival"),
        ("card", "card_arrival"),
        ("1", "-1"),
        ("C", "C++"),
        ("👎", "👍"),
        ("", "card_arrival"),
    ],
)
def test_a_label_is_met_by_nothing_else(answer: str, label: str) -> None:
    assert not labels_exact(answer, label)


def test_every_answer_written_for_the_demo_meets_what_it_expects() -> None:
    folder = Path(__file__).parents[2] / "datasets" / "techcorp"
    checked = 0
    for name in ("train.jsonl", "eval.jsonl"):
        for number, line in enumerate((folder / name).read_text().splitlines(), start=1):
            row = json.loads(line)
            if row.get("expect"):
                checked += 1
                answer = row["messages"][-1]["content"]
                assert answer_meets(answer, row["expect"]), f"{name}:{number}: {answer}"
    assert checked > 0


def test_a_very_long_answer_is_scored_quickly() -> None:
    began = time.monotonic()
    for text in ("a" * 200_000, "1" * 200_000, "1," * 100_000, "1." * 100_000, "- " * 100_000):
        assert not answer_meets(text, [["25"]])
    assert time.monotonic() - began < 10


def test_the_beginning_of_a_right_answer_may_become_its_label() -> None:
    pieces = [
        "card",
        "Card",
        "arrival",
        "s",
        "'s",
        "1",
        ",000",
        "2½",
        " ",
        "_",
        "\n",
        ".",
        "-",
        "é",
    ]
    chance = random.Random(3)
    compared = 0
    for _ in range(20_000):
        label = "".join(chance.choices(pieces, k=chance.randint(1, 4)))
        answer = label.replace("_", " ").upper() + chance.choice(["", ".", " !", "\n", "'s"])
        if labels_exact(answer, label):
            compared += 1
            assert all(may_become_label(answer[:end], label) for end in range(len(answer) + 1))
    assert compared > 5_000


@pytest.mark.parametrize("beginning", ["To activate", "card_stolen_", "card arrival and "])
def test_a_beginning_with_another_word_never_becomes_the_label(beginning: str) -> None:
    assert not may_become_label(beginning, "card_arrival")
