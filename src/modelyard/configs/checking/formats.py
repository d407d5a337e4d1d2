"""A report in the formats of other programs: SARIF, JUnit XML, and GitHub's workflow commands.

Sources: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0; GitHub's
documentation of workflow commands, "Setting an error message".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from modelyard import __version__
from modelyard.configs.checking.codes import explain_code
from modelyard.configs.checking.report import CheckReport, finding_line
from modelyard.core.errors import Diagnostic
from modelyard.core.wording import visible_text
from modelyard.core.xml_text import xml_attribute, xml_text

_SARIF_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_SUITE = "validate-config"
_START = "%SRCROOT%"
"""What SARIF calls the folder at which paths start; code hosts know this name."""


def build_sarif(report: CheckReport) -> dict[str, Any]:
    """SARIF, which code hosts and editors show beside the lines: one run, with its rules."""
    rules = sorted({str(finding.code) for finding in report.findings})
    driver = {
        "name": "modelyard",
        "semanticVersion": __version__,
        "rules": [_sarif_rule(rule) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {_START: {"uri": f"{report.start.absolute().as_uri()}/"}},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": _location(file)} for file in report.files],
        "results": [
            _sarif_result(finding, rules.index(str(finding.code))) for finding in report.findings
        ],
    }
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _sarif_rule(rule: str) -> dict[str, Any]:
    words = explain_code(rule)
    return {
        "id": rule,
        "shortDescription": {"text": words.partition(". ")[0].rstrip(".") + "."},
        "fullDescription": {"text": words},
        "help": {"text": words},
    }


def _sarif_result(finding: Diagnostic, rule_index: int) -> dict[str, Any]:
    file, line, column = finding.place
    region = {"startLine": line, "startColumn": column}
    physical = {"artifactLocation": _location(file), "region": region}
    return {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": finding.level,
        "message": {"text": visible_text(_message_and_hint(finding))},
        "locations": [{"physicalLocation": physical}],
    }


def _location(file: str) -> dict[str, str]:
    """A path as a URI: relative below the folder where paths start, and absolute outside it."""
    if file.startswith("/"):
        return {"uri": Path(file).as_uri()}
    return {"uri": quote(file, errors="surrogateescape"), "uriBaseId": _START}


def _message_and_hint(finding: Diagnostic) -> str:
    return finding.message + (f"\n{finding.hint}" if finding.hint else "")


def github_lines(report: CheckReport) -> Iterator[str]:
    """Workflow commands: GitHub shows each finding beside its line of a pull request."""
    for finding in report.findings:
        file, line, column = finding.place
        properties = {"file": file, "line": str(line), "col": str(column), "title": finding.code}
        shown = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
        yield f"::{finding.level} {shown}::{_data(_message_and_hint(finding))}"


def _data(text: str) -> str:
    """The message of a command: one line, in which `%` introduces what would end it."""
    text = visible_text(text.replace("\r", "\n"))
    return text.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    """A value between the commas of a command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def render_junit(report: CheckReport, *, strict: bool = False) -> str:
    """JUnit XML: each file is a test. With `strict` a file with warnings has failed too."""
    found: dict[str, list[Diagnostic]] = {file: [] for file in report.files}
    for finding in report.findings:
        found.setdefault(finding.place[0], []).append(finding)
    failed = sum(bool(_failures(findings, strict)) for findings in found.values())
    counts = f'tests="{len(found)}" failures="{failed}" errors="0"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="{_SUITE}" {counts}>',
            f'  <testsuite name="{_SUITE}" {counts} skipped="0" time="0">',
            *(line for file, findings in found.items() for line in _case(file, findings, strict)),
            "  </testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _failures(findings: Sequence[Diagnostic], strict: bool) -> list[Diagnostic]:
    return [finding for finding in findings if strict or finding.level == "error"]


def _case(file: str, findings: Sequence[Diagnostic], strict: bool) -> Iterator[str]:
    path = PurePosixPath(file)
    names = f"classname={xml_attribute(str(path.parent))} name={xml_attribute(path.name)}"
    case = f'    <testcase {names} file={xml_attribute(file)} time="0"'
    if not findings:
        yield f"{case}/>"
        return
    yield f"{case}>"
    text = xml_text("\n".join(map(finding_line, findings)))
    failures = _failures(findings, strict)
    if failures:
        first = failures[0]
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        _, line, column = first.place
        message = f"{line}:{column}: {first.message}{more}"
        opening = f"message={xml_attribute(message)} type={xml_attribute(str(first.code))}"
        yield f"      <failure {opening}>{text}</failure>"
    else:
        yield f"      <system-out>{text}</system-out>"
    yield "    </testcase>"
