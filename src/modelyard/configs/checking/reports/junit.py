"""A report as JUnit XML: each file is a test, which CI servers show as passed or failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from xml.sax.saxutils import escape, quoteattr

from modelyard.configs.checking.finding import CheckReport, Finding
from modelyard.configs.checking.reports.lines import finding_line
from modelyard.core.visible import visible_text

SUITE = "validate-config"
# What XML 1.0 cannot hold, not even as a reference: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")


def render_junit(report: CheckReport, *, strict: bool = False) -> str:
    """The whole document. With `strict` a file with warnings has failed too."""
    found: dict[str, list[Finding]] = {file: [] for file in report.files}
    for finding in report.findings:
        found.setdefault(finding.file, []).append(finding)
    cases = list(found.items())
    failed = sum(bool(_failures(findings, strict)) for _, findings in cases)
    counts = f'tests="{len(cases)}" failures="{failed}" errors="0"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="{SUITE}" {counts}>',
            f'  <testsuite name="{SUITE}" {counts} skipped="0" time="0">',
            *(line for file, findings in cases for line in _case(file, findings, strict)),
            "  </testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _failures(findings: Sequence[Finding], strict: bool) -> list[Finding]:
    return [finding for finding in findings if strict or finding.level == "error"]


def _case(file: str, findings: Sequence[Finding], strict: bool) -> Iterator[str]:
    path = PurePosixPath(file)
    names = f"classname={_attribute(str(path.parent))} name={_attribute(path.name)}"
    case = f'    <testcase {names} file={_attribute(file)} time="0"'
    if not findings:
        yield f"{case}/>"
        return
    yield f"{case}>"
    told = _text("\n".join(map(finding_line, findings)))
    failures = _failures(findings, strict)
    if failures:
        first = failures[0]
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        message = f"{first.line}:{first.column}: {first.message}{more}"
        opening = f"message={_attribute(message)} type={_attribute(first.rule)}"
        yield f"      <failure {opening}>{told}</failure>"
    else:
        yield f"      <system-out>{told}</system-out>"
    yield "    </testcase>"


def _text(text: str) -> str:
    return escape(_holdable(text))


def _attribute(text: str) -> str:
    return quoteattr(_holdable(text))


def _holdable(text: str) -> str:
    """The text with what XML cannot hold written out, such as `\\x1b`."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", visible_text(text))
