from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from killed import SOAK
from modelyard.settings.yaml_scalars import TypingTrap, is_plain_text, read_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0", 0),
        ("-1_000", -1000),
        ("0x1f", 31),
        ("0b101", 5),
        ("1.5", 1.5),
        ("1_000.5", 1000.5),
        ("-.5", -0.5),
        ("5e-4", 5e-4),
        ("1e3", 1000.0),
        ("1.e+3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("text", "text"),
        ("tRue", "tRue"),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T10:20:30Z", "2026-01-02T10:20:30Z"),
        ("30 seconds", "30 seconds"),
        ("85%", "85%"),
        ("1.2.3", "1.2.3"),
        ("08", "08"),
        ("12:75", "12:75"),
        ("09:30", "09:30"),
        ("-", "-"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_a_plain_word_is_what_a_person_reads(text: str, value: Any) -> None:
    read = read_plain(text)
    assert read == value
    assert type(read) is type(value)


def test_nan_is_not_a_number() -> None:
    assert math.isnan(float(str(read_plain(".nan"))))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("no", "'no' means false in YAML", 'write "no" or false'),
        ("YES", "'YES' means true in YAML", 'write "YES" or true'),
        ("On", "'On' means true in YAML", 'write "On" or true'),
        ("off", "'off' means false in YAML", 'write "off" or false'),
        ("y", "'y' means true in YAML", 'write "y" or true'),
        ("N", "'N' means false in YAML", 'write "N" or false'),
        ("12:30", "'12:30' is read as a base-60 number by YAML", 'write "12:30"'),
        ("12:30:00.5", "'12:30:00.5' is read as a base-60 number by YAML", 'write "12:30:00.5"'),
        ("010", "'010' is read as an octal number by YAML", 'write "010"'),
        (
            "1_6",
            "'1_6' is a number without its underscores to some readers, and text to others",
            'write "1_6"',
        ),
        ("0o17", "'0o17' is read as an octal number by YAML", 'write "0o17"'),
        ("9" * 101, "is not a usable number", f'write another one, or "{"9" * 20}..." for a text'),
        (
            "0x" + "f" * 200,
            "is not a usable number",
            f'write another one, or "0x{"f" * 18}..." for a text',
        ),
        ("1e999", "is not a usable number", 'write another one, or "1e999" for a text'),
        ("0x_", "is not a usable number", 'write another one, or "0x_" for a text'),
    ],
)
def test_a_word_with_two_readings_is_an_error_that_says_what_to_write(
    text: str, message: str, hint: str
) -> None:
    with pytest.raises(TypingTrap) as caught:
        read_plain(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert not is_plain_text(text)


TRICKY = st.text("0123456789+-._:eExbo", max_size=8) | st.text("yYnNofFtTrRuUeElLsSaA~", max_size=5)


@settings(database=None, derandomize=True, max_examples=600 if SOAK == 1 else 2000, deadline=None)
@given(TRICKY)
def test_what_is_no_trap_has_the_value_that_pyyaml_gives_it(text: str) -> None:
    kind = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]
    try:
        value = read_plain(text)
    except TypingTrap:
        return
    if isinstance(value, float) and kind == "str":
        return  # `1e3` and `-.5`: numbers to people and to YAML 1.2
    kinds = {"int": int, "float": float, "bool": bool, "null": type(None)}
    assert type(value) is kinds.get(kind, str)
    if isinstance(value, str):
        assert value is text
