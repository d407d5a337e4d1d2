"""The programs that back up the same folder: `models`, restic and tar, each as a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backup.data import size_below

MODELS = [sys.executable, "-m", "modelyard"]
_LAUNCHER = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - began
with open(sys.argv[1], "w") as file:
    print([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024], file=file)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process that runs another: what a process began with counts as memory that it had."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ran."""

    seconds: float
    """Wall time."""
    cpu_s: float
    """Processor time, of all its threads."""
    peak_bytes: int
    """The most memory that it had."""


class Tool(ABC):
    """One program, with a repository of its own in `place`."""

    name: str

    def __init__(self, project: Path, place: Path) -> None:
        self.project, self.place = project, place
        self.repository = place / "repository"

    def begin(self) -> None:
        """Start with no repository."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)

    @abstractmethod
    def snapshot(self) -> Ran:
        """Back the project up."""

    @abstractmethod
    def restore(self, target: Path) -> Ran:
        """Restore the newest snapshot into a new folder."""

    def stored_bytes(self) -> int:
        """The size of the repository."""
        return size_below(self.repository)

    def run(self, command: Sequence[str | Path], folder: Path, **variables: str) -> Ran:
        """Run a command to its end; it must end well."""
        words = [str(word) for word in command]
        said, figures = self.place / "said.txt", self.place / "figures.json"
        with said.open("w") as stream:
            code = subprocess.run(
                [sys.executable, "-S", "-c", _LAUNCHER, figures, *words],
                cwd=folder,
                env={**os.environ, **variables},
                stdout=stream,
                stderr=stream,
            ).returncode
        assert code == 0, f"{words}: {said.read_text()[-2000:]}"
        return Ran(*json.loads(figures.read_text()))


class Models(Tool):
    """This project."""

    name = "models"

    def snapshot(self) -> Ran:
        words = ["backup", "--models", "all", "--include-embeddings"]
        return self.run([*MODELS, *words, "--repo", self.repository.as_uri()], self.project)

    def restore(self, target: Path) -> Ran:
        words = ["restore", "latest", "--to", target, "--repo", self.repository.as_uri()]
        return self.run([*MODELS, *words], self.place)


class Restic(Tool):
    """restic, as it is without options; it always encrypts."""

    name = "restic"

    def begin(self) -> None:
        super().begin()
        self._restic(["init"])

    def snapshot(self) -> Ran:
        return self._restic(["backup", "--exclude", ".models/backups", "."])

    def restore(self, target: Path) -> Ran:
        return self._restic(["restore", "latest", "--target", target])

    def _restic(self, words: Sequence[str | Path]) -> Ran:
        return self.run(
            ["restic", *words],
            self.project,
            RESTIC_REPOSITORY=str(self.repository),
            RESTIC_PASSWORD="of-no-worth",
            RESTIC_CACHE_DIR=str(self.place / "cache"),
        )


class Tar(Tool):
    """`tar --zstd`: one archive for each snapshot, all of it each time."""

    name = "tar --zstd"
    _number = 0

    def begin(self) -> None:
        super().begin()
        self.repository.mkdir()
        self._number = 0

    def snapshot(self) -> Ran:
        self._number += 1
        archive = self.repository / f"{self._number}.tar.zst"
        return self.run(["tar", "--zstd", "-cf", archive, "."], self.project)

    def restore(self, target: Path) -> Ran:
        target.mkdir()
        archive = self.repository / f"{self._number}.tar.zst"
        return self.run(["tar", "--zstd", "-xf", archive, "-C", target], self.place)
