from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import Diagnostic, ModelyardError, ProblemsFound
from modelyard.settings import yaml_reader
from modelyard.settings.yaml_files import load_yaml, parse_yaml

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
EXAMPLES = 300 * int(os.environ.get("MODELYARD_SOAK", "1"))


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for PyYAML with and without libyaml."""
    monkeypatch.setattr(yaml_reader, "Loader", getattr(yaml, request.param))


def value_of(text: str) -> Any:
    return parse_yaml(text, name="a.yaml").value


def found_in(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ProblemsFound) as caught:
        parse_yaml(text, name="a.yaml")
    return caught.value.problems


def problems_of(text: str) -> list[tuple[str, str | None]]:
    return [(problem.message, problem.where) for problem in found_in(text)]


def rules_of(text: str) -> list[str | None]:
    return [problem.code for problem in found_in(text)]


@contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


def a_megabyte() -> int:
    """What libyaml gets; PyYAML without it is some twenty times slower, and gets less."""
    return 1_000_000 if yaml_reader.Loader is getattr(yaml, "CSafeLoader", None) else 40_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("", None),
        ("1e5", 1e5),
        ("True", True),
        ("2026-01-31", "2026-01-31"),
        ("'1'", "1"),
        ('"no"', "no"),
        ("! 5", "5"),
        ("!!str 5", "5"),
        ("<<", "<<"),
        ("[1, a]", [1, "a"]),
        ("{}", {}),
        ("|\n  no\n", "no\n"),
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
        ("9" * 5000, "is not a usable number"),
        ("*nothing", "*nothing does not name a value set above"),
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


def test_a_key_with_a_tag_is_a_problem() -> None:
    assert rules_of("!own a: 1\n") == ["yaml-tag"]


def test_an_alias_is_the_same_object_and_no_copy() -> None:
    value = value_of("a: &x [1, {b: 2}]\nc: *x\nd: &y text\ne: *y\n")
    assert value == {"a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": "text", "e": "text"}
    assert value["c"] is value["a"]


def test_an_anchor_may_be_set_again_and_names_the_latest_value() -> None:
    assert value_of("a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert value_of("a: &x [&x 1, *x]\nb: *x\n")["b"] == 1


def test_a_key_may_have_an_anchor() -> None:
    assert value_of("&k name: 1\nb: *k\n") == {"name": 1, "b": "name"}


def test_a_merge_key_brings_in_what_is_not_written_out() -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  y: 3\n  <<: *a\n  z: 4\n"
    assert value_of(text)["b"] == {"y": 3, "z": 4, "x": 1}


def test_an_earlier_mapping_of_a_merge_wins_over_a_later_one() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b, {z: 3}]}\nd: &d [*b, *a]\n"
    value = value_of(text + "e: {<<: *d}\nf: {<<: {x: 5}}\n")
    assert value["c"] == {"x": 1, "y": 2, "z": 3}
    assert value["e"] == {"x": 2, "y": 2}
    assert value["f"] == {"x": 5}


def test_a_quoted_merge_key_is_a_key_like_any_other() -> None:
    assert value_of('"<<": 1\n') == {"<<": 1}


def test_a_merge_goes_through_a_merge() -> None:
    text = "a: &a {x: [1]}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}\n"
    source = parse_yaml(text, name="a.yaml")
    assert source.value["c"] == {"x": [1], "y": 2}
    assert source.where(("c", "x")) == "a.yaml:1:8"
    assert source.where(("c", "x", 0)) == "a.yaml:1:12"
    assert source.where(("c", "y")) == "a.yaml:2:16"


def test_what_an_alias_names_is_placed_where_it_is_written() -> None:
    text = "a: &x\n  b:\n    - c: 1\nd:\n  e: *x\nf: [*x]\n"
    source = parse_yaml(text, name="a.yaml")
    assert source.where(("d", "e")) == "a.yaml:5:3"
    assert source.where(("d", "e", "b")) == "a.yaml:2:3"
    assert source.where(("d", "e", "b", 0, "c")) == "a.yaml:3:7"
    assert source.where(("d", "e", "missing")) == "a.yaml:5:3"
    assert source.where(("f", 0)) == "a.yaml:6:5"
    assert source.where(("f", 0, "b", 0)) == "a.yaml:3:7"


def test_a_merged_key_is_placed_where_it_is_written() -> None:
    text = "a: &a\n  x: {y: 1}\n  z: 2\nb:\n  <<: [*a]\n  z: 3\n"
    source = parse_yaml(text, name="a.yaml")
    assert source.where(("b", "x")) == "a.yaml:2:3"
    assert source.where(("b", "x", "y")) == "a.yaml:2:7"
    assert source.where(("b", "z")) == "a.yaml:6:3"


@pytest.mark.parametrize("text", ["5", "[1]", "text", "[{a: 1}, 2]", "null"])
def test_a_merge_of_what_is_no_mapping_is_a_problem(text: str) -> None:
    assert rules_of(f"a:\n  <<: {text}\n") == ["yaml-merge"]


def test_a_problem_inside_a_merge_is_reported_once() -> None:
    assert rules_of("a:\n  <<: *no\n") == ["yaml-unknown-alias"]
    assert rules_of("a: &a {}\nb: {<<: *a, <<: *a}\n") == ["yaml-duplicate-key"]


def test_an_alias_to_nothing_names_the_anchor_that_was_meant() -> None:
    assert problems_of("a: &defaults {b: 1}\nc: *default\n") == [
        ("*default does not name a value set above (did you mean *defaults?)", "a.yaml:2:4")
    ]


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "a: &x {b: [{c: *x}]}\n", "a: &x {<<: *x}\n"])
def test_an_alias_inside_its_own_value_is_a_problem(text: str) -> None:
    assert rules_of(text) == ["yaml-recursive-alias"]


def test_an_anchor_that_nobody_uses_is_a_warning() -> None:
    source = parse_yaml("a: &x 1\nb: &y [1]\nc: *y\n", name="a.yaml")
    (warning,) = source.warnings
    assert str(warning) == "a.yaml:1:4: the anchor &x is never used"
    assert warning.code == "yaml-unused-anchor"
    assert parse_yaml("a: 1\n", name="a.yaml").warnings == ()


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with taking_at_most(1):
        assert problems_of("\n".join(lines)) == [
            ("unfolds to more than 100,000 values, which no config does", "a.yaml:15:18")
        ]


def test_a_billion_laughs_by_merging_are_refused_as_well() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}"]
    lines += [f"a{n}: {{<<: *a0}}" for n in range(1, 200)]
    assert rules_of("\n".join(lines)) == ["yaml-too-large"]


def test_thousands_of_anchors_are_refused() -> None:
    assert rules_of("".join(f"- &a{n} x\n" for n in range(1001))) == ["yaml-too-large"]


def test_as_many_values_as_allowed_are_read() -> None:
    row = "a: &a [" + ", ".join("1" * 999) + "]\n"
    value = value_of(row + "b: [" + ", ".join(["*a"] * 98) + "]\n")
    assert sum(map(len, value["b"])) == 97_902
    assert rules_of(row + "b: [" + ", ".join(["*a"] * 99) + "]\n") == ["yaml-too-large"]


def test_a_hundred_levels_are_read_and_no_more() -> None:
    assert value_of("[" * 100 + "]" * 100)
    assert rules_of("[" * 101 + "]" * 101) == ["yaml-too-deep"]


def test_aliases_cannot_nest_deeper_than_what_is_written() -> None:
    def lines(levels: int) -> str:
        # The root is one level, each list another.
        steps = "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, levels - 1))
        return f"a0: &a0 []\n{steps}"

    assert value_of(lines(100))
    assert rules_of(lines(101)) == ["yaml-too-deep"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "".join(" " * n + "a:\n" for n in range(1000)), "- " * 5000]
)
def test_deep_nesting_is_an_error_and_not_a_crash(text: str) -> None:
    with taking_at_most(1):
        ((message, _),) = problems_of(text)
    assert message == "is nested deeper than 100 levels"


@pytest.mark.parametrize(
    "piece",
    ["[", "- ", "a: ", "? ", "{a, ", "- a\n", "a: 1\n", "%TAG !a! b\n", "a: &a", "*a ", "- *a\n",
     "- &a1 x\n", "!", "!a ", "'", '"\\', '"', "|\n", "- no\n", "#", "\n", "a\n", "<<: {}\n", "]",
     "- [a, {b: c}]\n", "- 0x", "9", "9:9", "1_", ": ", "--- \n", "...\n", "é", "a b, ", "\t"],
)  # fmt: skip
def test_a_megabyte_of_anything_ends_within_a_second(piece: str) -> None:
    text = (piece * a_megabyte())[: a_megabyte()]
    with taking_at_most(1), suppress(ModelyardError):
        parse_yaml(text, name="a.yaml")


def test_hundreds_of_misspelt_aliases_end_within_a_second() -> None:
    known = "".join(f"k{n}: &{'abcd' * 9}{n} 1\n" for n in range(1000))
    unknown = "".join(f"u{n}: *{'abcd' * 9}x{n}\n" for n in range(1000))
    with taking_at_most(1):
        rules = rules_of(known + unknown)
    assert rules == ["yaml-unknown-alias"] * 100 + ["yaml-too-many-problems"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1\nb: 2\n", "a.yaml:2:"),
        ("a: b: c\n", "a.yaml:1:5"),
        ("a: @x\n", "a.yaml:1:4"),
        ('ok: 1\na: "\\q"\n', "a.yaml:2:"),
    ],
)
def test_bad_syntax_is_a_problem_with_its_line(text: str, where: str) -> None:
    (problem,) = found_in(text)
    assert problem.code == "yaml-syntax"
    assert str(problem.where).startswith(where)
    assert problem.message.startswith("YAML syntax: ")


def test_what_was_wrong_before_bad_syntax_is_said_too() -> None:
    assert rules_of("a: no\na: 1\nb: [\n") == [
        "yaml-typing-trap",
        "yaml-duplicate-key",
        "yaml-syntax",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a:\n\tb: 1\n", "a.yaml:2:1"),
        ("a:\n  b: 1\n\tc: 2\n", "a.yaml:3:1"),
        ("a:\n \t b: 1\n", "a.yaml:2:2"),
        ("\ta: 1\n", "a.yaml:1:1"),
    ],
)
def test_a_tab_in_the_indentation_is_named_with_its_column(text: str, where: str) -> None:
    (problem,) = found_in(text)
    assert (problem.message, problem.where) == ("a tab in the indentation", where)
    assert (problem.code, problem.hint) == ("yaml-tab", "indent with spaces, not tabs")


def test_a_tab_inside_a_block_of_text_is_text() -> None:
    assert value_of("a: |\n  x\n  \ty\n") == {"a": "x\n\ty\n"}


@pytest.mark.parametrize(
    ("character", "said"),
    [
        ("\x00", "a control character (U+0000)"),
        ("\x01", "a control character (U+0001)"),
        ("\x1b", "a control character (U+001B)"),
        ("\x7f", "a control character (U+007F)"),
        ("\x9f", "a control character (U+009F)"),
        ("\ud83d", "half a character (U+D83D)"),
        ("\udcff", "half a character (U+DCFF)"),
    ],
)
def test_a_character_that_is_none_is_named_with_its_place(character: str, said: str) -> None:
    (problem,) = found_in(f"ok: é\nb: {character}\n")
    assert (problem.code, problem.where) == ("yaml-character", "a.yaml:2:4")
    assert problem.message == f"{said}, which YAML cannot hold"


def test_a_nul_written_with_an_escape_is_named_with_its_place() -> None:
    (problem,) = found_in('ok: é\nb: "a\\0b"\n')
    assert (problem.code, problem.where) == ("yaml-character", "a.yaml:2:4")
    assert "NUL" in problem.message


@pytest.mark.parametrize("escape", ["\\ud83d", "\\U00110000", "\\UFFFFFFFF"])
@pytest.mark.parametrize("text", ['a: "{}"\n', '"{}": 1\n', '!!str "{}"\n'])
def test_an_escape_for_what_is_no_character_is_a_problem(escape: str, text: str) -> None:
    assert rules_of(text.replace("{}", escape))[0] in {"yaml-syntax", "yaml-character"}


def test_a_second_document_is_a_problem() -> None:
    assert problems_of("a: 1\n---\nb: [\n") == [
        ("a second document starts here; keep one", "a.yaml:2:1")
    ]


def test_a_text_of_megabytes_is_no_config() -> None:
    assert problems_of("#" * 1_000_001) == [("is larger than 1 MB, which no config is", "a.yaml")]


def test_files_are_read_as_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: Zo\xc3\xab\n")
    source = load_yaml(tmp_path / "a.yaml", name="configs/a.yaml")
    assert source.value == {"name": "Zoë"}
    assert source.where(("name",)) == "configs/a.yaml:1:1"


def refused(path: Path) -> tuple[str, str | None]:
    with taking_at_most(1), pytest.raises(ProblemsFound) as caught:
        load_yaml(path, name="a.yaml")
    (problem,) = caught.value.problems
    return str(problem), problem.code


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_that_is_no_utf8_is_named_with_its_place(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(mark + b"ok: \xc3\xab\nname: Zo\xeb\n")
    said = "a.yaml:2:9: is not UTF-8 text (byte 0xeb)"
    assert refused(tmp_path / "a.yaml") == (said, "yaml-not-utf8")


def test_what_is_no_file_of_a_config_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    unreadable = "yaml-unreadable"
    missing = "a.yaml: cannot read: No such file or directory"
    assert refused(tmp_path / "missing") == (missing, unreadable)
    assert refused(tmp_path) == ("a.yaml: is a folder", unreadable)
    assert refused(tmp_path / "fifo") == ("a.yaml: is no regular file", unreadable)
    assert refused(Path("/dev/zero")) == ("a.yaml: is no regular file", unreadable)
    assert refused(tmp_path / "a\0b") == ("a.yaml: is no path", unreadable)
    assert refused(tmp_path / "\ud83d") == ("a.yaml: is no path", unreadable)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(1 << 40)
    said = "a.yaml: is larger than 1 MB, which no config is"
    assert refused(tmp_path / "large") == (said, "yaml-too-large")


def read_or_refused(text: str) -> None:
    """Anything but a ModelyardError fails the test; of one, each problem has a place and a rule."""
    try:
        source = parse_yaml(text, name="a.yaml")
    except ProblemsFound as error:
        assert error.problems
        for problem in error.problems:
            assert problem.code and str(problem.where).startswith("a.yaml")
    else:
        check_places(source.value, (), source.where)


def check_places(value: Any, path: tuple[Any, ...], where: Any) -> None:
    """Every value of the document has a place."""
    assert where(path).startswith("a.yaml:")
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            check_places(item, (*path, key), where)


FUZZ = settings(
    database=None,
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
YAML_PIECES = st.sampled_from(
    [*"abx:-?[]{},&*!|>'\"%@`#\\ \n\t\r\0\x01~1.09", "<<", ": ", "- ", "\n  ", "&a ", "*a",
     "<<: *a", "---", "...", "%TAG", "!!str ", "no", "1e3", "\ud83d", "\ufeff", "\x85", "\u2028",
     "é", "😀", '"\\u', "d83d", "x: &a {b: 1}\n", "? "]
)  # fmt: skip


@FUZZ
@given(st.lists(YAML_PIECES, max_size=40).map("".join) | st.text(max_size=40))
def test_arbitrary_text_is_read_or_refused(text: str) -> None:
    read_or_refused(text)


@FUZZ
@given(
    st.sampled_from(CONFIGS),
    st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=3)), min_size=1, max_size=4),
)
def test_a_real_config_with_wrong_bytes_is_read_or_refused(
    tmp_path: Path, config: Path, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(config.read_bytes())
    for place, put in changes:
        at = place % len(data)
        data[at : at + len(put)] = put
    (tmp_path / "a.yaml").write_bytes(data)
    with suppress(ModelyardError):
        load_yaml(tmp_path / "a.yaml", name="a.yaml")
    read_or_refused(data.decode("utf-8", "surrogateescape"))
