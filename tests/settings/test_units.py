"""Quantities are read as people write them, and nothing else is taken for one."""

from __future__ import annotations

import re

import pytest

from modelyard.settings.units import DURATION, MONEY, SHARE, SIZE, TOKENS, Quantity

ALL = (DURATION, SHARE, MONEY, TOKENS, SIZE)


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        (DURATION, "5 seconds", 5.0),
        (DURATION, "300 ms", 0.3),
        (DURATION, "1.5h", 5400.0),
        (DURATION, "7 days", 604800.0),
        (DURATION, "1h30m", 5400.0),
        (DURATION, "90sec", 90.0),
        (DURATION, "2 hrs", 7200.0),
        (DURATION, "2 days 12 hours", 216000.0),
        (DURATION, "1m 500ms", 60.5),
        (SHARE, "85%", 0.85),
        (SHARE, "10 %", 0.1),
        (SHARE, "2.5%", 0.025),
        (MONEY, "$0.10", 0.1),
        (MONEY, "$1,200", 1200.0),
        (MONEY, "$ 3", 3.0),
        (TOKENS, "128k", 128_000),
        (TOKENS, "1M", 1_000_000),
        (TOKENS, "1.5k", 1500),
        (SIZE, "2 MB", 2_000_000),
        (SIZE, "512 KiB", 524_288),
    ],
)
def test_a_quantity_becomes_a_number_in_its_one_unit(
    quantity: Quantity, text: str, value: float
) -> None:
    assert quantity.parse(text) == value


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (DURATION, "5"),
        (DURATION, "5 parsecs"),
        (DURATION, "-5 seconds"),
        (DURATION, "5  seconds"),
        (DURATION, "5 seconds\n"),
        (DURATION, "1e3 s"),
        (DURATION, "30m1h"),
        (DURATION, "1h1h"),
        (DURATION, "1h30"),
        (SIZE, "1GB500MB"),
        (SHARE, "85"),
        (SHARE, "85 percent"),
        (MONEY, "0.10"),
        (MONEY, "€5"),
        (MONEY, "$1,20"),
        (MONEY, "$"),
        (TOKENS, "1.5"),
        (TOKENS, "0.0001k"),
        (TOKENS, "128K"),
        (SIZE, "2 mb"),
        (SIZE, "٣ MB"),
    ],
)
def test_anything_else_is_no_quantity(quantity: Quantity, text: str) -> None:
    assert quantity.parse(text) is None


@pytest.mark.parametrize("quantity", ALL, ids=lambda quantity: quantity.name)
def test_examples_are_quantities_and_meet_the_schemas_pattern(quantity: Quantity) -> None:
    for example in quantity.examples:
        assert quantity.parse(example) is not None
        assert re.search(quantity.schema_pattern, example)
    assert "?P<" not in quantity.schema_pattern


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (DURATION, 0.25, "250 ms"),
        (DURATION, 3600, "1 h"),
        (DURATION, 0, "0 s"),
        (SHARE, 0.85, "85%"),
        (MONEY, 0.1, "$0.10"),
        (MONEY, 1200, "$1,200.00"),
        (MONEY, 0.0005, "$0.0005"),
        (TOKENS, 128_000, "128k"),
        (TOKENS, 512, "512"),
        (SIZE, 2_000_000, "2 MB"),
    ],
)
def test_a_number_is_shown_as_people_write_it(quantity: Quantity, value: float, text: str) -> None:
    assert quantity.show(value) == text


@pytest.mark.parametrize("quantity", (DURATION, SHARE, MONEY), ids=lambda quantity: quantity.name)
def test_what_is_shown_can_be_read_again(quantity: Quantity) -> None:
    for value in (0.001, 0.25, 1, 90, 86_400):
        assert quantity.parse(quantity.show(value)) == pytest.approx(value)


def test_commas_of_thousands_are_no_part_of_a_count() -> None:
    assert TOKENS.meant("8,192") == "8192"
    assert SHARE.meant("2,5%") is None  # as others write 2.5%
