"""Units in the folder where systemd looks for them, and what `systemctl` is told about it.

systemd reads units only when it is told to: until then what runs is the old schedule, after that
the new one. Each file is replaced in one rename, and the same command completes what was killed.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidInput
from modelyard.core.files import disk_errors, exclusive_lock, sweep_staging, write_atomic
from modelyard.core.layout import Project
from modelyard.schedule.failures import ScheduleFailed
from modelyard.schedule.units import unit_prefix

_SYSTEM_FOLDER = Path("/etc/systemd/system")
_WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemd:
    """The systemd that runs the units: the user's, or for root the machine's."""

    for_user: bool
    """Whether it is the user's own."""
    folder: Path
    """Where its units are."""

    def installed(self, project: Project) -> dict[str, str]:
        """The text of each unit of a project that is there, by its file name."""
        names = (f"{unit_prefix(project)}*.{kind}" for kind in ("service", "timer"))
        with disk_errors(self.folder):
            found = sorted(path for name in names for path in self.folder.glob(name))
            return {path.name: path.read_text(errors="replace") for path in found}

    def install(self, project: Project, units: Mapping[str, str]) -> bool:
        """Make these the units of a project, and start their timers; returns whether any changed.

        Raises ScheduleFailed when systemd does not take them; the files are there then.
        """
        with self._lock(project):
            before = self.installed(project)
            gone = [name for name in before if name not in units]
            changed = {name: text for name, text in units.items() if before.get(name) != text}
            if timers := _timers(gone):
                self._tell("disable", "--now", *timers)
            self._unlink(gone)
            for name, text in changed.items():
                write_atomic(self.folder / name, text)
            self._tell("daemon-reload")
            self._tell("enable", "--now", *_timers(units))
        return bool(changed or gone)

    def remove(self, project: Project) -> bool:
        """Stop the timers of a project and take its units out; returns whether there were any.

        Raises ScheduleFailed when systemd was not reached; the files are gone all the same.
        """
        with self._lock(project):
            there = list(self.installed(project))
            if not there:
                return False
            try:
                if timers := _timers(there):
                    self._tell("disable", "--now", *timers)
            finally:
                self._unlink(there)
            self._tell("daemon-reload")
        return True

    @contextmanager
    def _lock(self, project: Project) -> Iterator[None]:
        lock = project.lock("schedule", "units")
        with exclusive_lock(lock, what="schedule", wait_s=_WAIT_S), disk_errors(self.folder):
            if self.folder.is_dir():
                sweep_staging(self.folder, re.compile(f"{re.escape(unit_prefix(project))}.*"))
            yield

    def _unlink(self, names: Iterable[str]) -> None:
        """Timers first, with the links that enable them: without its service a timer would fail."""
        for name in sorted(names, key=lambda name: not name.endswith(".timer")):
            (self.folder / "timers.target.wants" / name).unlink(missing_ok=True)
            (self.folder / name).unlink(missing_ok=True)

    def _tell(self, *words: str) -> None:
        command = ["systemctl", *(["--user"] if self.for_user else []), "--quiet", *words]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except FileNotFoundError as error:
            raise InvalidInput(
                "there is no program 'systemctl' on this machine", hint="use --crontab"
            ) from error
        if done.returncode:
            said = done.stderr.strip() or f"it ended with {done.returncode}"
            raise ScheduleFailed(
                f"`systemctl {words[0]}` failed: {said}",
                where=str(self.folder),
                hint="run the same command again where this systemd runs, or use --crontab",
            )


def _timers(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.endswith(".timer")]


def find_systemd() -> Systemd:
    """The systemd of this user, or for root that of the machine."""
    if os.geteuid() == 0:
        return Systemd(for_user=False, folder=_SYSTEM_FOLDER)
    configured = os.environ.get("XDG_CONFIG_HOME")
    home = Path(configured).absolute() if configured else Path.home() / ".config"
    return Systemd(for_user=True, folder=home / "systemd" / "user")


def runs_systemd() -> bool:
    """Whether systemd runs this machine, by the folder that it makes for that question."""
    return shutil.which("systemctl") is not None and Path("/run/systemd/system").is_dir()


def lingers() -> bool:
    """Whether the user's systemd runs while the user is not logged in."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in some containers
        return False
    return (Path("/var/lib/systemd/linger") / name).exists()
