"""`models audit`: the record of every request to the service, verified and exported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.options import Json
from modelyard.cli.render import print_json, print_lines, print_note, print_text, print_warning
from modelyard.core.clock import parse_utc
from modelyard.core.errors import InvalidInput
from modelyard.core.files import write_lines_atomic
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAside:
    """An audit log that a restore set aside."""

    file: str
    """Where it is, from the project's root."""
    count: int | None
    """Its rows; null where its key is not on this machine, so that it is not verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerified:
    """The audit log, verified."""

    count: int
    """Its rows."""
    seal: str
    """The seal of the last row; empty for none."""
    expected: str | None
    """The head that it was compared with."""
    set_aside: tuple[LogAside, ...]
    """Logs of other chains, which restores set aside."""


def head() -> None:
    """Print the number and the seal of the last row.

    Keep it outside this machine: with it, `models audit verify --head` finds an end that was cut
    off, and a log that was written anew.
    """
    from modelyard.access.audit_reading import read_head

    print_lines([str(read_head(find_project()))])


def verify(
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="COUNT:SEAL",
            help="A head that was printed or exported before: the log must still have that row.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the audit log is what was written.

    Also each that a restore has set aside. Exit code 1, with the first row that is not, where
    something was changed, removed or added.
    """
    from modelyard.access.audit_reading import verify_audit
    from modelyard.access.audit_rows import AuditHead

    expected = AuditHead.parse(head) if head is not None else None
    project = find_project()
    found = verify_audit(project, expected=expected)
    aside = _verify_aside(project)
    if as_json:
        print_json(
            AuditVerified(count=found.count, seal=found.seal, expected=head, set_aside=aside)
        )
        return
    print_text(f"The audit log is what was written: {counted(found.count, 'row')}.")
    for each in aside:
        if each.count is None:
            print_warning(f"{each.file} is not verified: its key is not on this machine")
        else:
            print_text(f"So is {each.file}: {counted(each.count, 'row')}.")
    if expected is None:
        print_note(
            "rows cut off its end would not show: compare it with a head that lies elsewhere "
            "(`models audit verify --head COUNT:SEAL`)"
        )


def _verify_aside(project: Project) -> tuple[LogAside, ...]:
    """Check the logs that were set aside. Raises AuditBroken, which names the file."""
    from modelyard.access.audit_key import NoAuditKey
    from modelyard.access.audit_reading import AuditBroken, verify_audit
    from modelyard.access.audit_rows import audit_logs

    found = []
    for database in audit_logs(project)[1:]:
        file, count = project.show(database.place(project)), None
        try:
            count = verify_audit(project, database=database).count
        except NoAuditKey:
            pass
        except AuditBroken as error:
            raise AuditBroken(error.message, where=file, hint=error.hint) from error
        found.append(LogAside(file=file, count=count))
    return tuple(found)


def export(
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="A new file. Default: stdout."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only requests from then on: a day or a time, UTC."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only requests before then.")
    ] = None,
) -> None:
    """Write the audit log as JSON Lines; the last is its head.

    The head is that of all rows, also where only some are written. A file is readable by its owner
    alone.

    \b
    models audit export --since 2026-11-01 --until 2026-12-01 --to november.jsonl
    """
    from modelyard.access.audit_reading import export_audit

    rows = export_audit(
        find_project(), since=_time(since, "--since"), until=_time(until, "--until")
    )
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    if to is None:
        print_lines(lines)
        return
    if to.exists():
        raise InvalidInput("is there already", where=str(to), hint="name a new file")
    write_lines_atomic(to, lines, mode=0o600)


def _time(text: str | None, where: str) -> str | None:
    if text is None:
        return None
    found = parse_utc(text)
    if found is None:
        raise InvalidInput(
            f"{text!r} is no time", where=where, hint="such as 2026-11-30 or 2026-11-30T14:00:00Z"
        )
    return found
