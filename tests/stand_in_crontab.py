"""A program that stands in for `crontab`, since a test must not change anybody's schedule."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PROGRAM = """\
#!/bin/sh
# As cron's own, the new table is whole in a file before it takes the place of the old one.
case "$1" in
-l) [ -e "{table}" ] || {{ echo "no crontab for somebody" >&2; exit 1; }}; cat "{table}" ;;
-r) rm "{table}" ;;
-) cat >"{table}.$$" && mv "{table}.$$" "{table}" ;;
*) echo "usage" >&2; exit 2 ;;
esac
"""


def put_crontab_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in on PATH; returns the file that holds the crontab, which is not there yet."""
    table = folder / "crontab-of-somebody"
    program = folder / "bin" / "crontab"
    program.parent.mkdir(exist_ok=True)
    program.write_text(_PROGRAM.format(table=table))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return table
