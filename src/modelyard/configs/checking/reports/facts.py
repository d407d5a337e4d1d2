"""A report as plain values, for `--format json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from modelyard.configs.checking.finding import CheckReport


def build_facts(report: CheckReport, *, strict: bool = False) -> dict[str, Any]:
    """Everything found, and the verdict; with `strict` warnings count."""
    errors = sum(finding.level == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    return {
        "valid": not errors and not (strict and warnings),
        "strict": strict,
        "errors": errors,
        "warnings": warnings,
        "files": list(report.files),
        "findings": [asdict(finding) for finding in report.findings],
        "secrets": [asdict(use) for use in report.secrets],
    }
