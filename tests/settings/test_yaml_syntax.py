"""What a parser could not read, said so that whoever wrote it knows what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.core.errors import Diagnostic, ProblemsFound
from modelyard.settings.yaml_files import load_yaml, parse_yaml


def problem_of(text: str) -> Diagnostic:
    with pytest.raises(ProblemsFound) as found:
        parse_yaml(text, name="a.yaml")
    return found.value.problems[-1]


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a: see: this\n", "1:7", "a colon that belongs to no key", "in quotes"),
        ("a:1\nb: 2\n", "2:2", "the line above has no space after its colon", "KEY: VALUE"),
        ("a: @x\n", "1:4", "cannot begin with @", "in quotes"),
        ("a: `x`\n", "1:4", "cannot begin with `", "in quotes"),
        ("a: 50 %\nb: %x\n", "2:4", "cannot begin with %", "in quotes"),
        ("a: [**/*.md]\n", "1:6", "`*` begins the use of an anchor", "in quotes"),
        ("a: & b\n", "1:5", "`&` begins an anchor", "in quotes"),
        ("a:\n   b: 1\n  c: 2\n", "3:3", "belongs to nothing above it", "indent it"),
        ("a: 'it's'\n", "1:8", "belongs to nothing above it", "a quote in a text is doubled"),
        ('ok: 1\na: "x\nb: 2\n', "2:4", "a quote is opened here and never closed", "close it"),
        ('a: "C:\\dir"\n', "1:7", "begins the name of a character", "single quotes"),
        ('a: "C:\\users"\n', "1:9", "begin the number of a character", "single quotes"),
        ("%YAML 1.3\n---\na: 1\n", "1:1", "a version of YAML", "leave the line"),
        ("a: 1\n...\nb: 2\n", "3:1", "has ended above this line", "`...`"),
        ("- a\nb: 1\n", "2:1", "a list ends here", "`- `"),
        ("a: 1\nb\nc: 2\n", "3:1", "without a colon", "KEY: VALUE"),
        ("a: {b: 1\nc: 2\n", "2:2", "braces that are not closed", "`}`"),
        ("a: - b\n", "1:4", "a list begins on the line of its key", "of its own"),
        ("a: |x\n  y\n", "1:5", "a text of several lines", "next line"),
        ("a: , b\n", "1:4", "no value where one is expected", "in quotes"),
        ("{% if x %}\na: 1\n{% endif %}\n", "1:2", "a template of another program", "first"),
        ("{{- if .Values.x }}\na: 1\n{{- end }}\n", "1:3", "a template of another", "first"),
    ],
)
def test_a_mistake_of_syntax_is_said_in_words(
    text: str, place: str, message: str, hint: str
) -> None:
    problem = problem_of(text)
    assert problem.where == f"a.yaml:{place}"
    assert problem.code == "yaml-syntax"
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_a_conflict_of_git_is_named_at_its_first_mark() -> None:
    problem = problem_of("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n")
    assert (problem.code, problem.where) == ("yaml-conflict", "a.yaml:2:1")
    assert problem_of("b:1\n<<<<<<< x\n>>>>>>> y: [\n").code == "yaml-conflict"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_in_two_bytes_a_letter_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.yaml").write_bytes("a: 1\n".encode(encoding))
    with pytest.raises(ProblemsFound) as found:
        load_yaml(tmp_path / "a.yaml", name="a.yaml")
    [problem] = found.value.problems
    assert problem.message.startswith(f"is {encoding[:6].upper()} text")
    assert (problem.code, problem.where) == ("yaml-not-utf8", "a.yaml:1:1")
