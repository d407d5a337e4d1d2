"""A report as SARIF 2.1.0, which code hosts and editors show beside the lines.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelyard import __version__
from modelyard.configs.checking.finding import CheckReport, Finding
from modelyard.configs.checking.rules import explain_rule
from modelyard.core.visible import visible_text

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def build_sarif(report: CheckReport) -> dict[str, Any]:
    """The whole log: one run, with the rules that were broken and each finding."""
    rules = sorted({finding.rule for finding in report.findings})
    places = {rule: place for place, rule in enumerate(rules)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "modelyard",
                        "semanticVersion": __version__,
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "artifacts": [{"location": _location(file)} for file in report.files],
                "results": [_result(finding, places[finding.rule]) for finding in report.findings],
            }
        ],
    }


def _rule(rule: str) -> dict[str, Any]:
    words = explain_rule(rule)
    return {
        "id": rule,
        "shortDescription": {"text": words.partition(". ")[0].rstrip(".") + "."},
        "fullDescription": {"text": words},
        "help": {"text": words},
    }


def _result(finding: Finding, place: int) -> dict[str, Any]:
    hint = f"\n{finding.hint}" if finding.hint else ""
    region = {"startLine": finding.line, "startColumn": finding.column}
    physical = {"artifactLocation": _location(finding.file), "region": region}
    return {
        "ruleId": finding.rule,
        "ruleIndex": place,
        "level": finding.level,
        "message": {"text": visible_text(finding.message + hint)},
        "locations": [{"physicalLocation": physical}],
    }


def _location(file: str) -> dict[str, str]:
    """A path as a URI: relative in the project, and whole outside it."""
    if file.startswith("/"):
        return {"uri": Path(file).as_uri()}
    return {"uri": quote(file, errors="surrogateescape")}
