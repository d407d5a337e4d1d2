"""What a check of configs found, as text lines and as the result of `--format json`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.core.errors import Diagnostic, Level
from modelyard.core.seen_from import place_seen_from, seen_from
from modelyard.core.wording import counted, visible_line
from modelyard.results.json_form import result_of

_MOST_PLACES = 3
"""Places that a line about a secret names; JSON has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretUse:
    """One place that refers to a secret."""

    reference: str
    """`env:NAME` or `file:PATH`."""
    where: str
    """`file:line:col`."""
    available: bool
    """Whether it can be found here and now; the secret itself is never read."""
    value: str | None = None
    """What it resolves to here and now, of an endpoint; null for a secret."""
    problem: str | None = None
    """What is wrong with what an endpoint resolves to; null where nothing is, or it is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything that one check found."""

    start: Path
    """The folder at which the relative paths in this report start: the project's, at first."""
    in_project: bool
    """Whether there is a project, and not only some files that can name each other."""
    files: tuple[str, ...]
    """The files that were checked."""
    findings: tuple[Diagnostic, ...]
    """What was found, in the order of files and lines; each has a code and `file:line:col`."""
    secrets: tuple[SecretUse, ...]
    """The secrets that these files refer to."""

    @property
    def errors(self) -> int:
        """How many findings are errors; the others are warnings."""
        return sum(finding.level == "error" for finding in self.findings)

    @property
    def valid(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not self.errors


def report_seen_from(folder: Path, report: CheckReport) -> CheckReport:
    """The report with paths as somebody in this folder writes them; absolute where it is far."""
    start = report.start
    if folder.resolve() == start.resolve() and not _has_absolute_paths(report):
        return replace(report, start=folder)
    return replace(
        report,
        start=folder,
        files=tuple(seen_from(folder, start, file) for file in report.files),
        findings=tuple(
            replace(found, where=place_seen_from(folder, start, found.where or ""))
            for found in report.findings
        ),
        secrets=tuple(
            replace(use, where=place_seen_from(folder, start, use.where)) for use in report.secrets
        ),
    )


def join_reports(reports: Sequence[CheckReport]) -> CheckReport:
    """One report of several projects, with paths from the folder that all of them lie in."""
    if len(reports) == 1:
        return reports[0]
    start = Path(os.path.commonpath([report.start.resolve() for report in reports]))
    seen = [report_seen_from(start, report) for report in reports]
    return CheckReport(
        start=start,
        in_project=all(report.in_project for report in seen),
        files=tuple(file for report in seen for file in report.files),
        findings=tuple(finding for report in seen for finding in report.findings),
        secrets=tuple(use for report in seen for use in report.secrets),
    )


def _has_absolute_paths(report: CheckReport) -> bool:
    """Whether a path in the report does not start in its folder."""
    found = (finding.where or "" for finding in report.findings)
    used = (use.where for use in report.secrets)
    return any(shown.startswith("/") for shown in (*report.files, *found, *used))


def finding_line(finding: Diagnostic) -> str:
    """`file:line:col: message`, with the hint on the same line."""
    hint = f" ({visible_line(finding.hint)})" if finding.hint else ""
    return f"{visible_line(finding.where or '')}: {message_of(finding)}{hint}"


def message_of(finding: Diagnostic) -> str:
    """The message on one line; a warning says that it is one."""
    prefix = "warning: " if finding.level == "warning" else ""
    return prefix + visible_line(finding.message)


def secret_lines(report: CheckReport) -> Iterator[str]:
    """Each secret that is referred to, whether it is there, and where it is named."""
    places: dict[tuple[str, str], list[str]] = {}
    for use in report.secrets:
        state = "set" if use.reference.startswith("env:") else "there"
        state = use.value or (state if use.available else f"not {state}")
        if use.problem:
            state = "set, and no usable URL"
        places.setdefault((use.reference, state), []).append(use.where)
    for (reference, state), named in sorted(places.items()):
        shown = list(dict.fromkeys(named))
        if len(shown) > _MOST_PLACES:
            shown[_MOST_PLACES:] = [f"{len(shown) - _MOST_PLACES:,} more"]
        yield visible_line(f"{reference}: {state} (named in {', '.join(shown)})")


def verdict(report: CheckReport) -> str:
    """How many files were checked, and how many errors and warnings there are, in one line."""
    counts = (("error", report.errors), ("warning", len(report.findings) - report.errors))
    found = ", ".join(counted(number, what) for what, number in counts if number)
    return f"{counted(len(report.files), 'file')} checked: {found or 'no problems'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found."""

    file: str
    """The file, from the project's root."""
    line: int
    """Its line, from 1."""
    column: int
    """Its column, from 1."""
    level: Level
    """`error`: the config is not valid. `warning`: it is, and probably not meant so."""
    rule: str | None
    """What kind of problem it is, in kebab-case: `unknown-key`."""
    message: str
    """What is wrong."""
    hint: str | None
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Everything that a check found, and the verdict."""

    valid: bool
    """Whether no finding counts: with --strict none at all, else no error."""
    strict: bool
    """Whether warnings make it invalid."""
    errors: int
    """How many errors there are."""
    warnings: int
    """How many warnings there are."""
    files: tuple[str, ...]
    """The files that were checked."""
    findings: tuple[Finding, ...]
    """What was found, in the order of files and lines."""
    secrets: tuple[SecretUse, ...]
    """The secrets that these files refer to."""


def check_result(report: CheckReport, *, strict: bool = False) -> CheckResult:
    """Everything found, and the verdict; with `strict` warnings count."""
    return result_of(
        CheckResult,
        report,
        valid=not report.findings if strict else report.valid,
        strict=strict,
        errors=report.errors,
        warnings=len(report.findings) - report.errors,
        findings=tuple(map(_finding, report.findings)),
    )


def _finding(found: Diagnostic) -> Finding:
    file, line, column = found.place
    return result_of(Finding, found, file=file, line=line, column=column, rule=found.code)
