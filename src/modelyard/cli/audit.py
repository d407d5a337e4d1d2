"""`models audit`: the record of every request to the service, verified and exported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.options import Json
from modelyard.cli.render import print_json, print_lines, print_note, print_text
from modelyard.core.clock import parse_utc
from modelyard.core.errors import InvalidInput
from modelyard.core.files import write_lines_atomic
from modelyard.core.layout import find_project
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerified:
    """The audit log, verified."""

    count: int
    """Its rows."""
    seal: str
    """The seal of the last row; empty for none."""
    expected: str | None
    """The head that it was compared with."""


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

    Exit code 1, with the first row that is not, where something was changed, removed or added.
    """
    from modelyard.access.audit_reading import verify_audit
    from modelyard.access.audit_rows import AuditHead

    expected = AuditHead.parse(head) if head is not None else None
    found = verify_audit(find_project(), expected=expected)
    if as_json:
        print_json(AuditVerified(count=found.count, seal=found.seal, expected=head))
        return
    print_text(f"The audit log is what was written: {counted(found.count, 'row')}.")
    if expected is None:
        print_note(
            "rows cut off its end would not show: compare it with a head that lies elsewhere "
            "(`models audit verify --head COUNT:SEAL`)"
        )


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
