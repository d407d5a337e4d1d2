from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.core.json_reading import InvalidJson, parse_json, read_json, read_json_object

DEEP = "[" * 20_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEEP, "nested too deeply"),
        ('{"a": ' * 20_000, "nested too deeply"),
        ("", "Expecting value in line 1, column 1"),
        ('{\n"a": nothing}', "Expecting value in line 2, column 6"),
        (b"\xff\xff", "not UTF-8 text"),
        ("1" * 5_000, "4300 digits"),
    ],
)
def test_what_is_not_json_is_one_error_with_its_place(text: str | bytes, said: str) -> None:
    with pytest.raises(InvalidJson, match=said) as raised:
        parse_json(text, where="some/file")
    assert raised.value.where == "some/file"


def test_a_file_that_cannot_be_read_is_the_same_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidJson, match="No such file"):
        read_json(tmp_path / "none")
    with pytest.raises(InvalidJson, match="Is a directory"):
        read_json(tmp_path)
    with pytest.raises(InvalidJson, match="too long"):
        read_json(tmp_path / ("a" * 300))


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "3"])
def test_another_value_is_no_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InvalidJson, match="does not hold a JSON object"):
        read_json_object(tmp_path / "a.json")


def test_a_pipe_in_place_of_a_file_keeps_no_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InvalidJson, match="not a regular file"):
        read_json(tmp_path / "a.json")
