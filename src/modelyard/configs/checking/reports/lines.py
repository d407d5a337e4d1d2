"""A report as plain lines, one for each finding: for logs, `grep`, and editors that jump there."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.configs.checking.finding import CheckReport, Finding
from modelyard.core.visible import visible_text
from modelyard.core.wording import counted


def finding_line(finding: Finding) -> str:
    """`file:line:col: message`, with what to do about it on the same line."""
    hint = f" ({one_line(finding.hint)})" if finding.hint else ""
    return f"{one_line(finding.where)}: {message_of(finding)}{hint}"


def message_of(finding: Finding) -> str:
    """The message on one line; a warning says that it is one."""
    prefix = "warning: " if finding.level == "warning" else ""
    return prefix + one_line(finding.message)


def secret_lines(report: CheckReport) -> Iterator[str]:
    """Each secret that is referred to, whether it is there, and where it is named."""
    places: dict[tuple[str, bool], list[str]] = {}
    for use in report.secrets:
        places.setdefault((use.reference, use.available), []).append(use.where)
    for (reference, available), named in sorted(places.items()):
        missing = "not set" if reference.startswith("env:") else "not there"
        state = ("set" if reference.startswith("env:") else "there") if available else missing
        yield one_line(f"{reference}: {state} (named in {', '.join(dict.fromkeys(named))})")


def verdict(report: CheckReport) -> str:
    """How many files were checked, and what that gave, in one line."""
    errors = sum(finding.level == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    found = [counted(errors, "error")] if errors else []
    found += [counted(warnings, "warning")] if warnings else []
    return f"{counted(len(report.files), 'file')} checked: {', '.join(found) or 'no problems'}"


def one_line(text: str) -> str:
    """Text that stays on its line, whatever it holds."""
    return visible_text(text).replace("\n", "\\n").replace("\t", "\\t")
