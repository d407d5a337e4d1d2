"""metrics.jsonl: one row per logged step and per look at the eval split, as the run goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.core.files import append_line, write_atomic


class MetricsFile:
    """The rows on the disk, and the same rows in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = load_metrics(path)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self.rows.append(dict(row))
        append_line(self.path, json.dumps(row))

    def rewind(self, step: int) -> None:
        """Forget the rows after `step`: a resumed run writes them again."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))


def load_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line that a killed run left torn is skipped."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
