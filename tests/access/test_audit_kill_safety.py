"""A service is killed while it records: the chain verifies, and no row that it had is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

from audit_samples import append, entry
from killed import SOAK, fork
from modelyard.access.audit import AuditLog
from modelyard.access.audit_reading import export_audit, verify_audit
from modelyard.core.layout import Project

THREADS = 8


def record_until_killed(project: Project, told: Path) -> None:
    """Add rows from many threads, and tell of each once it cannot be lost."""
    handle = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with closing(AuditLog(project)) as log:

        def add(which: int) -> None:
            for number in range(100_000):
                text = f"{os.getpid()}-{which}-{number}"
                row = log.append(entry(answer_id=text))
                os.write(handle, f"{row} {text}\n".encode())

        threads = [threading.Thread(target=add, args=(which,)) for which in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_no_row_that_was_recorded_is_lost_by_a_kill(tmp_path: Path) -> None:
    project, told = Project(tmp_path / "project"), tmp_path / "told"
    for turn in range(3 * SOAK):
        before = told.stat().st_size if told.exists() else 0
        child = fork(lambda: record_until_killed(project, told))
        for _ in range(6000):
            if told.exists() and told.stat().st_size > before + 400 * (1 + turn % 7):
                break
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        rows = {row["number"]: row["answer_id"] for row in export_audit(project) if "number" in row}
        lines = [line.split() for line in told.read_text().splitlines()]
        assert len(told.read_bytes()) > before, "it was killed before the first row"
        assert not [line for line in lines if rows.get(int(line[0])) != line[1]]
        assert verify_audit(project).count == len(rows)
        assert append(project, [1]).count == len(rows) + 1
