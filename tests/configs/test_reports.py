"""Reports in every form, with everything that a form could trip over."""

from __future__ import annotations

import ast
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.configs.checking.codes import CODES, explain_code
from modelyard.configs.checking.excerpt import Excerpt, excerpt, source_lines
from modelyard.configs.checking.formats import build_sarif, github_lines, render_junit
from modelyard.configs.checking.report import (
    CheckReport,
    SecretUse,
    check_result,
    finding_line,
    secret_lines,
    verdict,
)
from modelyard.core.errors import Diagnostic, Level
from modelyard.results.json_form import to_json

FILE = "configs/language_models/gpt4_config.yaml"
HOSTILE = "a <b> & \"c\" 'd' 100%,\x1b[31m\r\n::error::x]]>\x00\ud83d\ufffe ü"
SOURCE = Path(__file__).parents[2] / "src" / "modelyard"
# What they refuse is no finding of a check.
DEPLOYMENT = ("needed.py", "plan.py", "snapshot.py")
# Which argument of a call is the code.
CODE_PLACES = {
    "problem": 1,
    "warning": 1,
    "add": 2,
    "wrong": 3,
    "_refusal": 1,
    "_problem": 1,
    "_stop": 1,
}
KEY = "sk-ant-" + "api03-Zq8" * 6


def finding(
    message: str = "unknown key 'temprature'",
    *,
    file: str = FILE,
    level: Level = "error",
    hint: str | None = None,
    code: str = "unknown-key",
) -> Diagnostic:
    where = f"{file}:12:3"
    return Diagnostic(message=message, where=where, level=level, code=code, hint=hint)


_EMPTY = CheckReport(
    start=Path("/p"),
    in_project=True,
    files=(),
    findings=(),
    secrets=(),
)


def report(*findings: Diagnostic, files: tuple[str, ...] = (FILE,)) -> CheckReport:
    return replace(_EMPTY, files=files, findings=findings)


def test_a_line_says_where_what_and_what_to_do() -> None:
    line = finding_line(finding(hint="leave it out"))
    assert line == f"{FILE}:12:3: unknown key 'temprature' (leave it out)"


def test_a_warning_says_that_it_is_one() -> None:
    assert finding_line(finding(level="warning")).startswith(f"{FILE}:12:3: warning: unknown")


def test_a_line_stays_one_line_whatever_it_holds() -> None:
    line = finding_line(finding(HOSTILE, hint=HOSTILE, file="a\nb\x1b.yaml"))
    assert "\n" not in line and "\r" not in line and "\x1b" not in line


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "1 file checked: no problems"),
        ([finding()], "1 file checked: 1 error"),
        ([finding(), finding(), finding(level="warning")], "1 file checked: 2 errors, 1 warning"),
    ],
)
def test_the_verdict_counts(findings: list[Diagnostic], words: str) -> None:
    assert verdict(report(*findings)) == words


def test_a_secret_of_many_configs_is_one_short_line() -> None:
    uses = tuple(
        SecretUse(reference="env:KEY", where=f"{number:04d}.yaml:1:1", available=True)
        for number in range(1_003)
    )
    assert list(secret_lines(replace(_EMPTY, secrets=uses))) == [
        "env:KEY: set (named in 0000.yaml:1:1, 0001.yaml:1:1, 0002.yaml:1:1, 1,000 more)"
    ]


def test_a_secret_is_named_once_with_every_place() -> None:
    uses = (
        SecretUse(reference="env:KEY", where="b.yaml:1:1", available=True),
        SecretUse(reference="env:KEY", where="c.yaml:2:1", available=True),
        SecretUse(reference="file:/run/key", where="a.yaml:3:1", available=False),
    )
    assert list(secret_lines(replace(_EMPTY, secrets=uses))) == [
        "env:KEY: set (named in b.yaml:1:1, c.yaml:2:1)",
        "file:/run/key: not there (named in a.yaml:3:1)",
    ]


def test_facts_are_json_with_the_documented_keys() -> None:
    facts = to_json(check_result(report(finding(), finding(level="warning"))))
    assert set(facts) == {
        *("valid", "strict", "errors", "warnings", "files", "findings", "secrets")
    }
    assert (facts["valid"], facts["errors"], facts["warnings"]) == (False, 1, 1)
    assert set(facts["findings"][0]) == {
        *("file", "line", "column", "level", "rule", "message", "hint")
    }


def test_warnings_count_when_strict() -> None:
    warned = report(finding(level="warning"))
    assert check_result(warned).valid is True
    assert check_result(warned, strict=True).valid is False


# GitHub


def test_a_workflow_command_carries_place_rule_and_message() -> None:
    (line,) = github_lines(report(finding(hint="leave it out")))
    assert line == (
        f"::error file={FILE},line=12,col=3,title=unknown-key"
        "::unknown key 'temprature'%0Aleave it out"
    )


def test_a_message_cannot_end_a_workflow_command_or_begin_another() -> None:
    (line,) = github_lines(report(finding(HOSTILE)))
    assert "\n" not in line and "\r" not in line and "\x1b" not in line
    assert line.split("::", 2)[2].startswith(
        "a <b> & \"c\" 'd' 100%25,\\x1b[31m%0A%0A::error::x]]>"
    )


def test_a_file_name_cannot_add_a_property() -> None:
    (line,) = github_lines(report(finding(file="a,line=1:b%.yaml", level="warning")))
    assert line.startswith("::warning file=a%2Cline=1%3Ab%25.yaml,line=12,")


# JUnit


def test_each_file_is_a_test_that_passes_or_fails() -> None:
    files = (FILE, "configs/integration.yaml")
    suite = ElementTree.fromstring(render_junit(report(finding(), finding("other"), files=files)))
    assert suite.attrib["tests"] == "2" and suite.attrib["failures"] == "1"
    failed, passed = suite.iter("testcase")
    assert failed.attrib["classname"] == "configs/language_models"
    assert failed.attrib["name"] == "gpt4_config.yaml"
    (failure,) = failed
    assert failure.attrib["type"] == "unknown-key"
    assert failure.attrib["message"] == "12:3: unknown key 'temprature' (and 1 more)"
    assert (failure.text or "").count("\n") == 1
    assert list(passed) == []


def test_a_warning_fails_a_test_only_when_strict() -> None:
    warned = report(finding(level="warning"))
    assert ElementTree.fromstring(render_junit(warned)).attrib["failures"] == "0"
    assert ElementTree.fromstring(render_junit(warned, strict=True)).attrib["failures"] == "1"


def test_junit_is_xml_whatever_a_finding_holds() -> None:
    text = render_junit(report(finding(HOSTILE, hint=HOSTILE, code="<&>"), files=(HOSTILE,)))
    suite = ElementTree.fromstring(text.encode("utf-8"))
    assert "a <b> & \"c\" 'd' 100%,\\x1b[31m" in "".join(suite.itertext())


def test_a_finding_of_a_file_that_was_not_asked_for_is_not_lost() -> None:
    suite = ElementTree.fromstring(render_junit(report(finding(file="other.yaml"))))
    assert suite.attrib["failures"] == "1"


# SARIF


def test_sarif_has_each_rule_once_and_each_finding_points_to_its_own() -> None:
    log = build_sarif(report(finding(), finding(code="missing"), finding()))
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["missing", "unknown-key"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [
        result["ruleId"] for result in run["results"]
    ]
    assert rules[1]["help"]["text"] == explain_code("unknown-key")


def test_sarif_says_where_relative_to_the_project() -> None:
    (run,) = build_sarif(report(finding(file="configs/a b/ü.yaml")))["runs"]
    (location,) = run["results"][0]["locations"]
    assert run["originalUriBaseIds"] == {"%SRCROOT%": {"uri": "file:///p/"}}
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "configs/a%20b/%C3%BC.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 12, "startColumn": 3},
    }


@pytest.mark.parametrize("file", ["/elsewhere/x.yaml", "a:b.yaml", "caf\udce9.yaml"])
def test_sarif_paths_are_uris(file: str) -> None:
    (run,) = build_sarif(report(finding(file=file), files=(file,)))["runs"]
    uri = run["artifacts"][0]["location"]["uri"]
    assert uri.isascii() and " " not in uri
    assert uri.startswith("file:///") == file.startswith("/")
    assert file.startswith("/") or ":" not in uri


def test_sarif_is_json_without_terminal_commands() -> None:
    text = json.dumps(build_sarif(report(finding(HOSTILE, hint=HOSTILE))), ensure_ascii=False)
    assert "\\u001b" not in text and "\x1b" not in text


# Excerpts


def marked(line: str, column: int, **options: int) -> str:
    """What the caret stands below."""
    found = excerpt(source_lines(line)[0], column, **options)
    return found.text[found.indent : found.indent + found.width]


@pytest.mark.parametrize(
    ("line", "column", "word"),
    [
        ("  temprature: 0.2", 3, "temprature"),
        ("timeout: 60", 10, "60"),
        ('key: "a b": c', 6, '"a b"'),
        ("key: [one, two]", 12, "two"),
        ("short", 99, ""),
    ],
)
def test_the_mark_is_below_the_word_at_the_column(line: str, column: int, word: str) -> None:
    assert marked(line, column) == word


def test_a_tab_and_wide_letters_take_the_columns_that_a_terminal_gives_them() -> None:
    assert excerpt(source_lines("\tx: 1")[0], 2) == Excerpt("    x: 1", 4, 1)
    assert excerpt(source_lines("日本: x")[0], 5) == Excerpt("日本: x", 6, 1)


def test_a_long_line_is_shown_around_its_place() -> None:
    line = "a " * 5000 + "HERE " + "b " * 5000
    found = excerpt(source_lines(line)[0], 10_001, widest=60)
    assert len(found.text) <= 66
    assert found.text[found.indent : found.indent + found.width] == "HERE"


def test_a_control_character_is_written_out() -> None:
    assert "\x1b" not in excerpt(source_lines("a: \x1b[2J")[0], 1).text


def test_a_secret_is_masked_and_the_mark_stands_below_the_mask() -> None:
    line = f"api_key: {KEY}  # mine"
    found = excerpt(source_lines(line)[0], 12)
    assert KEY[6:] not in found.text
    assert found.text[found.indent : found.indent + found.width] == "****"


def test_a_key_of_several_lines_is_masked_on_each_of_them() -> None:
    body = ["MIIEpAIBAAKCAQEA7vJ", "q8Zr3xTtWm2LkPqYbNc", "A9sDfGhJkLzXcVbNmQw"]
    begin, end = (f"-----{word} RSA PRIVATE KEY-----" for word in ("BEGIN", "END"))
    lines = source_lines("\n".join(["a: |", begin, *body, end, "b: 1"]))
    shown = "\n".join(line.masked for line in lines)
    assert not any(item in shown for item in body)
    assert lines[-1].masked == "b: 1"


def test_lines_are_counted_as_yaml_counts_them() -> None:
    assert [line.written for line in source_lines("a\r\nb\rc\x85d\u2028e")] == list("abcde")


@pytest.mark.parametrize("column", range(1, 40))
def test_an_excerpt_never_fails(column: int) -> None:
    for line in ("", "x", "\t\t", "日本語" * 9, f"k: {KEY}", "e\u0301" * 9):
        for room in (20, 30):
            found = excerpt(source_lines(line)[0], column, widest=room)
            assert found.indent >= 0 and found.width >= 1


def test_every_code_of_the_program_is_explained() -> None:
    """Codes are texts such as `unknown-key`: the arguments called code, and those of problem()."""
    packages = [SOURCE / name for name in ("core", "settings", "configs", "deployments")]
    found = [path for package in packages for path in package.rglob("*.py")]
    modules = [path for path in found if path.name not in DEPLOYMENT]
    used = {code for path in modules for code in codes_in(path)}
    assert {"unknown-key", "yaml-tab", "fallback-cycle", "inline-secret"} <= used
    assert used == set(CODES)


def codes_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        given = [word.value for word in node.keywords if word.arg == "code"]
        if name in CODE_PLACES and len(node.args) > CODE_PLACES[name]:
            given.append(node.args[CODE_PLACES[name]])
        for value in given:
            yield from constants_in(value)


def constants_in(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from constants_in(one)
            yield from constants_in(other)
        case ast.BoolOp(values=values):
            for value in values:
                yield from constants_in(value)


def test_codes_are_explained_in_sentences() -> None:
    assert all(words[0].isupper() or words[0] == "`" for words in CODES.values())
    assert all(words.endswith(".") for words in CODES.values())
    assert explain_code("no-such-code").endswith(".")
