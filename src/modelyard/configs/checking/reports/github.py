"""A report as workflow commands: GitHub shows each finding beside its line of a pull request.

Source: GitHub's documentation of workflow commands, "Setting an error message".
"""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.finding import CheckReport, Finding
from modelyard.core.visible import visible_text


def github_lines(report: CheckReport) -> Iterator[str]:
    """One command for each finding."""
    for finding in report.findings:
        properties = {
            "file": finding.file,
            "line": str(finding.line),
            "col": str(finding.column),
            "title": finding.rule,
        }
        told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        yield f"::{finding.level} {told}::{_data(_message(finding))}"


def _message(finding: Finding) -> str:
    return finding.message + (f"\n{finding.hint}" if finding.hint else "")


def _data(text: str) -> str:
    """The message of a command: one line, in which `%` introduces what would end it."""
    text = visible_text(text.replace("\r", "\n"))
    return text.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    """A value between the commas of a command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
