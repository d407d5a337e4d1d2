"""The jobs of a project as lines of the user's crontab.

Each of our lines ends in a comment that names its project. The crontab is read as bytes, and only
lines with that ending are put in or taken out: those of others stay as they are, wherever they are.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from modelyard.core.errors import InvalidInput
from modelyard.core.files import disk_errors, exclusive_lock, make_file, make_folder
from modelyard.core.layout import Project, shared_lock
from modelyard.schedule.failures import ScheduleFailed
from modelyard.schedule.jobs import Job
from modelyard.schedule.surroundings import Surroundings, mark_ending

_WAIT_S = 30.0
_STILL_RUNS = 75
"""What flock exits with when the job still runs, which is no failure."""


def has_crontab() -> bool:
    """Whether this machine has crontabs."""
    return shutil.which("crontab") is not None


def crontab_lines(jobs: Sequence[Job], around: Surroundings) -> list[str]:
    """The line of each job, without its end. Raises InvalidInput where no line can say it."""
    return [_line(job, around) for job in jobs]


def _line(job: Job, around: Surroundings) -> str:
    variables = [f"{name}={value}" for name, value in around.variables.items()]
    lock = str(around.project.lock("schedule", job.name))
    command = shlex.join(
        [
            *(_program("env"), *variables),
            *(_program("flock"), "-n", "-E", str(_STILL_RUNS), lock),
            *(*around.program, *job.words),
        ]
    )
    if not job.is_read:
        log = shlex.quote(str(around.project.schedule_log(job.name)))
        command += f" >{log} 2>&1 || test $? = {_STILL_RUNS} || cat {log}"
    line = f"{command} {around.mark}"
    if "\\" in line:
        raise InvalidInput(
            "a path with a backslash cannot be in a crontab, where not every cron reads it the "
            "same way",
            where=line,
            hint="use --systemd, or rename the folder",
        )
    return f"{job.times.in_crontab()} {line}".replace("%", "\\%")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise InvalidInput(
            f"there is no program {name!r}, with which lines of the crontab begin",
            hint="install it (flock is in util-linux), or use --systemd",
        )
    return str(Path(path).absolute())


def with_lines(crontab: bytes, lines: Sequence[str], project: Project) -> bytes:
    """A crontab with these lines in place of all that the project has there.

    They come where the first of those was, else at the end: before a last line that has no line
    end, which stays without one.
    """
    ending = mark_ending(project).encode()
    kept: list[bytes] = []
    place = None
    for line in re.findall(rb"[^\n]*\n|[^\n]+", crontab):
        if line.rstrip(b"\r\n").endswith(ending):
            place = len(kept) if place is None else place
        else:
            kept.append(line)
    if place is None:
        is_open = bool(kept) and not kept[-1].endswith(b"\n")
        place = len(kept) - is_open
    kept[place:place] = [f"{line}\n".encode() for line in lines]
    return b"".join(kept)


def lines_of(crontab: bytes, project: Project) -> list[str]:
    """The lines of the project in a crontab, without their ends."""
    ending = mark_ending(project).encode()
    lines = (line.rstrip(b"\r") for line in crontab.split(b"\n"))
    return [line.decode("utf-8", "replace") for line in lines if line.endswith(ending)]


def make_job_files(jobs: Sequence[Job], project: Project) -> None:
    """Make the lock and the log of each job, which the shell of cron would by its umask."""
    with disk_errors(project.local_state):
        make_folder(project.logs)
        make_folder(project.lock("schedule", "any").parent)
        for job in jobs:
            make_file(project.lock("schedule", job.name))
            if not job.is_read:
                make_file(project.schedule_log(job.name))


def change_crontab(lines: Sequence[str], project: Project) -> bool:
    """Give the project these lines in the user's crontab; returns whether that changed anything.

    The crontab is replaced by `crontab`, which does so in one step. Raises ScheduleFailed when it
    refuses, and when another program replaced the crontab at the same time.
    """
    with exclusive_lock(shared_lock("crontab"), what="crontab", wait_s=_WAIT_S):
        before = read_crontab()
        after = with_lines(before, lines, project)
        if after == before:
            return False
        _write_crontab(after)
        if read_crontab() != after:
            raise ScheduleFailed(
                "the crontab is not what was written: another program changed it",
                hint="look at it (`crontab -l`), and run the same command again",
            )
    return True


def read_crontab() -> bytes:
    """The user's crontab; empty where there is none."""
    listed = _crontab("-l")
    if listed.returncode == 0:
        return listed.stdout
    if b"no crontab" in listed.stderr.lower():
        return b""
    raise _refused(listed)


def _write_crontab(content: bytes) -> None:
    if not content:
        written = _crontab("-r")
    else:
        # A file that is whole before crontab starts: from a pipe it would install the part that
        # was written when this process died.
        with tempfile.TemporaryFile() as whole:
            whole.write(content)
            whole.flush()
            whole.seek(0)
            written = _crontab("-", stdin=whole.fileno())
    if written.returncode:
        raise _refused(written)


def _crontab(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab")
    if program is None:
        raise InvalidInput(
            "there is no program 'crontab' on this machine",
            hint="install cron, or use --systemd",
        )
    return subprocess.run(
        [program, *words],
        stdin=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


def _refused(done: subprocess.CompletedProcess[bytes]) -> ScheduleFailed:
    said = done.stderr.decode("utf-8", "replace").strip() or f"it ended with {done.returncode}"
    return ScheduleFailed(
        f"crontab refused: {said}", hint="the crontab is as it was; --systemd needs none"
    )
