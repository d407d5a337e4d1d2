from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.core import yamlsource
from modelyard.core.errors import InvalidInput, ProblemsFound
from modelyard.core.yamlsource import load_yaml, parse_yaml


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for PyYAML with and without libyaml."""
    monkeypatch.setattr(yamlsource, "Loader", getattr(yaml, request.param))


def value_of(text: str) -> Any:
    return parse_yaml(text, name="a.yaml").value


def problems_of(text: str) -> list[tuple[str, str | None]]:
    with pytest.raises(ProblemsFound) as caught:
        parse_yaml(text, name="a.yaml")
    return [(problem.message, problem.where) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1_000", -1000),
        ("0x1f", 31),
        ("0", 0),
        ("1.5", 1.5),
        ("5e-4", 5e-4),
        ("1e5", 1e5),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("text", "text"),
        ("'1'", "1"),
        ('"no"', "no"),
        ("! 5", "5"),
        ("!!str 5", "5"),
        ("2026-01-31", "2026-01-31"),
        ("0o17", "0o17"),
        ("08", "08"),
        ("=", "="),
        ("<<", "<<"),
        ("[1, a]", [1, "a"]),
        ("{}", {}),
    ],
)
def test_a_value_is_what_a_person_reads(text: str, value: Any) -> None:
    read = value_of(f"key: {text}\n")["key"]
    assert read == value
    assert type(read) is type(value)


def test_an_empty_document_is_none() -> None:
    assert value_of("") is None
    assert value_of("# only a comment\n") is None


def test_every_value_knows_its_line_and_column() -> None:
    source = parse_yaml("a:\n  b: [1, {c: 2}]\n", name="a.yaml")
    assert source.where(("a", "b")) == "a.yaml:2:3"
    assert source.where(("a", "b", 1, "c")) == "a.yaml:2:11"
    assert source.where(("a", "b", 0)) == "a.yaml:2:7"
    assert source.where(("a", "missing", "deep")) == "a.yaml:1:1"


def test_lines_are_those_of_the_file_when_the_text_starts_later() -> None:
    assert parse_yaml("a: 1\n", name="CARD.md", first_line=2).where(("a",)) == "CARD.md:2:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", "'no' means false in YAML"),
        ("On", "'On' means true in YAML"),
        ("12:30:00", "'12:30:00' is read as a base-60 number by YAML"),
        ("12:30:00.5", "'12:30:00.5' is read as a base-60 number by YAML"),
        ("0123", "'0123' is read as an octal number by YAML"),
        ("!!binary aGk=", "the tag tag:yaml.org,2002:binary is not used here; leave it out"),
        ("!!python/object:os.x {}", "the tag tag:yaml.org,2002:python/object:os.x is not used"),
        ("!own [1]", "the tag !own is not used here; leave it out"),
        ("9" * 5000, "is not a number anyone can mean"),
        ("*nothing", "*nothing does not name a single value set above"),
    ],
)
def test_a_trap_of_yaml_is_a_problem_with_its_place(text: str, message: str) -> None:
    ((found, where),) = problems_of(f"key: {text}\n")
    assert found.startswith(message)
    assert where == "a.yaml:1:6"


def test_traps_in_keys_are_plain_text() -> None:
    assert value_of("no: 1\n12:30: 2\n") == {"no": 1, "12:30": 2}


def test_all_problems_are_found_at_once() -> None:
    assert problems_of("a: 1\nb: no\na: 2\nc:\n  d: 012\n  d: 5\n") == [
        ("'no' means false in YAML", "a.yaml:2:4"),
        ("key 'a' is already set on line 1", "a.yaml:3:1"),
        ("'012' is read as an octal number by YAML", "a.yaml:5:6"),
        ("key 'd' is already set on line 5", "a.yaml:6:3"),
    ]


def test_a_key_that_is_no_text_is_a_problem() -> None:
    assert problems_of("? [a]\n: 1\nb: no\n") == [
        ("a key must be plain text", "a.yaml:1:3"),
        ("'no' means false in YAML", "a.yaml:3:4"),
    ]


def test_a_text_may_be_used_again_by_its_alias_and_a_list_may_not() -> None:
    assert value_of("a: &x hello\nb: *x\n") == {"a": "hello", "b": "hello"}
    assert len(problems_of("a: &x [1]\nb: *x\n")) == 1


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert len(problems_of("\n".join(lines))) == 118


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "".join(" " * n + "a:\n" for n in range(2000)), "- " * 5000]
)
def test_deep_nesting_is_an_error_and_not_a_crash(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidInput, match="nested deeper than 100 levels"):
        parse_yaml(text, name="a.yaml")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1\nb: 2\n", "a.yaml:2:"),
        ("a: b: c\n", "a.yaml:1:5"),
        ("a: @x\n", "a.yaml:1:4"),
        ('ok: 1\na: "\\q"\n', "a.yaml:2:"),
        ("ok: 1\na: \x01\n", "a.yaml:2:1"),
        ("a: 1\n--- \nb: [\n", "a.yaml:"),
    ],
)
def test_bad_syntax_is_named_with_its_line(text: str, where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_yaml(text, name="a.yaml")
    places = [str(caught.value.where), *(str(problem.where) for problem in caught.value.problems)]
    assert any(place.startswith(where) for place in places)


def test_a_tab_in_the_indentation_gets_a_hint() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_yaml("a:\n\tb: 1\n", name="a.yaml")
    assert caught.value.hint == "indent with spaces, not tabs"


def test_a_second_document_is_a_problem() -> None:
    assert problems_of("a: 1\n---\nb: 2\n") == [
        ("a second document starts here; keep one", "a.yaml:2:1")
    ]


def test_a_file_of_many_megabytes_is_no_config() -> None:
    with pytest.raises(InvalidInput, match="larger than 10 MB"):
        parse_yaml("#" * 10_000_001, name="a.yaml")


def test_files_are_read_as_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: Zo\xc3\xab\n")
    source = load_yaml(tmp_path / "a.yaml", name="configs/a.yaml")
    assert source.value == {"name": "Zoë"}
    assert source.where(("name",)) == "configs/a.yaml:1:1"
    (tmp_path / "b.yaml").write_bytes(b"name: Zo\xeb\n")
    with pytest.raises(InvalidInput, match=r"b\.yaml: is not UTF-8 text"):
        load_yaml(tmp_path / "b.yaml")
    with pytest.raises(InvalidInput, match="cannot read: No such file"):
        load_yaml(tmp_path / "c.yaml")


def test_text_from_a_command_line_that_is_no_utf8_is_an_error() -> None:
    with pytest.raises(InvalidInput):
        parse_yaml("a: \udcff\n", name="--set")
