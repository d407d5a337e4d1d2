"""Runs that are kept: a row of state.db each, and a file with everything.

The file is written first, in one rename, and its row after it: a killed process leaves no run, or
a whole one. A file without a row is no run, and the next one takes its number and its place.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.files import exclusive_lock, json_text, sweep_staging, write_atomic
from modelyard.core.json_reading import read_json_object
from modelyard.core.layout import Project
from modelyard.core.state import change_state, read_state
from modelyard.performance.accuracy import accuracy
from modelyard.performance.results import LOAD, RunRow, TestRun
from modelyard.performance.sound_run import require_sound
from modelyard.records.stored import build_stored
from modelyard.results.json_form import to_json

LATEST = "latest"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LOCK_WAIT_S = 30.0
_KEPT_CONFIDENCE = 0.95
"""Of the interval in the list of runs, which `models monitor` shows beside others of 95%."""
_READABLE_BY_OWNER = 0o600
_ROWS = (
    "SELECT number, suite, environment, target, started_at, complete, verdict, right, scored "
    "FROM test_runs"
)


class RunDamaged(ModelyardError):
    """The file of a kept run is missing, or not as it was written (exit code 1)."""


def save_run(project: Project, run: TestRun) -> TestRun:
    """Keep a run; returns it with its number.

    Raises NoSpace on a full disk, ModelyardError where nothing can be written; nothing is kept
    then.
    """
    lock = project.lock("test-runs", "number")
    with exclusive_lock(lock, what="list of test runs", wait_s=_LOCK_WAIT_S):
        sweep_staging(project.test_run(1).parent)  # of one that was killed
        last = recent_runs(project)
        kept = replace(run, number=last[0].number + 1 if last else 1)
        assert kept.number is not None
        content = json_text(to_json(kept)).encode()
        write_atomic(project.test_run(kept.number), content, mode=_READABLE_BY_OWNER)
        with change_state(project) as state:
            state.execute(
                "INSERT INTO test_runs (number, suite, environment, target, started_at, complete, "
                "verdict, right, scored, sha256, accuracy, accuracy_low, accuracy_high) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(kept.number, kept.suite, kept.environment, kept.target, kept.started_at),
                    *(int(kept.complete), kept.verdict, kept.right, kept.scored),
                    hashlib.sha256(content).hexdigest(),
                    *_accuracy(kept),
                ),
            )
    return kept


def load_run(
    project: Project,
    word: str,
    *,
    environment: str | None = None,
    suite: str | None = None,
    target: str | None = None,
) -> TestRun:
    """A run by its number, `latest`, or the path of a file that `--json` was written to.

    environment, suite, target: of which `latest` is the latest; None: of any. It is the latest that
    was not interrupted.
    Raises InvalidInput when there is no such run or the file is none, NoData when there is no
    latest, RunDamaged when its file is not as it was written.
    """
    if word == LATEST:
        rows = recent_runs(project, environment=environment, suite=suite, target=target)
        complete = next((row for row in rows if row.complete), None)
        if complete is None:
            raise NoData(
                "no such run was kept yet",
                hint="`models performance-test` makes one",
            )
        return _load_numbered(project, complete.number)
    if _NUMBER.fullmatch(word):
        return _load_numbered(project, int(word))
    path = Path(word).expanduser()
    if not path.exists():
        raise InvalidInput(
            f"{word!r} is neither the number of a test run nor a file",
            hint="give a number, `latest`, or a file that --json was written to",
        )
    return _read_run(path, str(path))


def recent_runs(
    project: Project,
    *,
    environment: str | None = None,
    suite: str | None = None,
    target: str | None = None,
) -> list[RunRow]:
    """The kept runs, the latest first; no file is read. None is any."""
    wanted = {"environment": environment, "suite": suite, "target": target}
    given = {name: value for name, value in wanted.items() if value is not None}
    condition = " AND ".join(f"{name} = ?" for name in given) or "TRUE"
    query = f"{_ROWS} WHERE {condition} ORDER BY number DESC"
    return [
        RunRow(**(dict(row) | {"complete": bool(row["complete"])}))
        for row in read_state(project, query, tuple(given.values()))
    ]


def _accuracy(run: TestRun) -> tuple[float | None, float | None, float | None]:
    """The accuracy over all cases, and its 95% interval, whatever the confidence of the suite."""
    for figure in run.figures:
        if (figure.name, figure.over) == ("accuracy", "all"):
            asked = [case for case in run.cases if case.check != LOAD]
            same = run.confidence == _KEPT_CONFIDENCE
            kept = figure if same else accuracy(asked, _KEPT_CONFIDENCE)
            return kept.value, kept.low, kept.high
    return None, None, None


def _load_numbered(project: Project, number: int) -> TestRun:
    rows = read_state(project, "SELECT sha256 FROM test_runs WHERE number = ?", (number,))
    if not rows:
        kept = recent_runs(project)
        there_are = f"the latest is {kept[0].number}" if kept else "none was kept yet"
        raise InvalidInput(f"there is no test run {number}", hint=there_are)
    path = project.test_run(number)
    where = project.show(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunDamaged(f"cannot be read: {error.strerror}", where=where) from error
    if hashlib.sha256(content).hexdigest() != rows[0]["sha256"]:
        raise RunDamaged(
            "is not as it was written", where=where, hint="restore it from a backup, or run again"
        )
    return _read_run(path, where)


def _read_run(path: Path, where: str) -> TestRun:
    values = read_json_object(path, where=where)
    run = build_stored(TestRun, "the test run", values, lambda _: where)
    require_sound(run, where)
    return run
