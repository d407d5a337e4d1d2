"""The project as it is read for a snapshot: its folders, and what of them cannot be read."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.manifest import MANIFEST_NAME
from modelyard.backup.inventory import Inventory
from modelyard.backup.manifest import (
    MOST_FOLDERS_DEEP,
    MOST_IN_A_FOLDER,
    Item,
    LeftOut,
    Skipped,
)
from modelyard.backup.moment import Moment
from modelyard.backup.sqlite_files import BESIDE, HEAD_BYTES, is_sqlite
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.core.layout import Project
from modelyard.records.modelref import version_number

_SETTLED_AFTER_NS = 2_000_000_000
"""A file that was modified less long ago may change again without a trace in its times."""
_NOT_STORED = {
    stat.S_IFSOCK: "a socket, which has no content",
    stat.S_IFIFO: "a pipe, which has no content",
    stat.S_IFCHR: "a device, which has no content",
    stat.S_IFBLK: "a device, which has no content",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder."""

    path: str
    """From the project's root."""
    found: os.stat_result
    """What the system says of it; of the project's own folders, of what they link to."""
    target: str | None = None
    """Where a link leads."""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.found.st_mode)

    @property
    def mode(self) -> int:
        """Its permission bits."""
        return stat.S_IMODE(self.found.st_mode)


@dataclass(slots=True)
class Source:
    """Reads folders, and remembers what could not be read."""

    project: Project
    inventory: Inventory
    moment: Moment
    skipped: dict[str, Skipped] = field(default_factory=dict)
    """What could not be stored, or not as it should be, by its path."""
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """What has no content, by its path."""
    _expected: dict[str, str] = field(default_factory=dict)
    """The SHA-256 that the manifest of a version holds, by the path of the file."""

    def place(self, path: str) -> Path:
        """Where an item lies."""
        return self.project.root / path

    def is_own_database(self, place: Path) -> bool:
        """Whether a file is a database in WAL mode that this process may have open.

        It must be read through SQLite only: a process that closes a file loses its locks on it.
        """
        project = self.project
        own = (project.state_db, project.traffic_db, project.audit_log, project.recorded_prompts)
        aside = project.audit_logs_aside
        return place in (*own, *aside, project.answer_cache, project.embedding_cache)

    def only_grows(self, place: Path) -> bool:
        """Whether whoever writes a file appends to it, so that its beginning is what it was."""
        return place.parent == self.project.traffic_segment("x").parent

    def skip(self, path: str, reason: str) -> None:
        """Remember that something is not stored, or not as it should be."""
        self.skipped[path] = Skipped(path=path, reason=reason)

    def entries(self, folder: str) -> list[Entry]:
        """What is read of a folder, in the order of the names."""
        found = (self._entry(_join(folder, name), folder) for name in self._names(folder))
        return [entry for entry in found if entry is not None]

    def begin_folder(self, entry: Entry) -> None:
        """Learn what the files of a version should be, before they are read."""
        parts = entry.path.split("/")
        is_number = len(parts) == 4 and version_number(parts[3]) is not None
        if not is_number or self.place(entry.path).parent.parent != self.project.versions:
            return
        try:
            files = read_json_object(self.place(entry.path) / MANIFEST_NAME)["files"]
            expected = {f"{entry.path}/{name}": file["sha256"] for name, file in files.items()}
        except (InvalidJson, KeyError, TypeError, AttributeError):
            self.skip(f"{entry.path}/{MANIFEST_NAME}", "says nothing of the version's files")
            return
        self._expected.update(expected)

    def check(self, item: Item) -> None:
        """Compare a file of a version with its manifest; one that differs is stored, and named."""
        expected = self._expected.pop(item.path, item.sha256)
        if expected != item.sha256:
            self.skip(item.path, "is stored, but is not the file that MANIFEST.json names")

    def end(self) -> None:
        """Name what manifests hold and nobody found."""
        for path in self._expected:
            if path not in self.skipped:
                self.skip(path, "is missing: MANIFEST.json names it")

    def _names(self, folder: str) -> list[str]:
        if not folder:
            return [name for name in self.inventory.roots if self.place(name).exists()]
        names = self.moment.names.get(folder)
        if names is None:
            try:
                names = tuple(os.listdir(self.place(folder)))  # noqa: PTH208
            except FileNotFoundError:
                return []
            except OSError as error:
                self.skip(folder, f"cannot be listed: {error.strerror}")
                return []
        if len(names) > MOST_IN_A_FOLDER:
            self.skip(folder, f"holds {len(names):,} things, and at most {MOST_IN_A_FOLDER:,} fit")
            return []
        if names and folder.count("/") >= MOST_FOLDERS_DEEP - 2:
            self.skip(folder, f"is below {MOST_FOLDERS_DEEP} others, deeper than a snapshot goes")
            return []
        known = set(names)
        return [
            name
            for name in sorted(names)
            if self.inventory.holds(_join(folder, name))
            and not self._is_beside(folder, name, known)
        ]

    def _is_beside(self, folder: str, name: str, names: set[str]) -> bool:
        """Whether a file is part of the SQLite file beside it."""
        for suffix in BESIDE:
            main = name.removesuffix(suffix)
            if name.endswith(suffix) and main in names:
                place = self.place(_join(folder, main))
                return self.is_own_database(place) or _is_sqlite_file(place)
        return False

    def _entry(self, path: str, folder: str) -> Entry | None:
        place = self.place(path)
        try:
            found = place.stat() if not folder else place.lstat()
            kind = stat.S_IFMT(found.st_mode)
            if kind == stat.S_IFLNK:
                target = self.moment.links.get(path) or os.readlink(place)  # noqa: PTH115
                return Entry(path, found, target)
        except FileNotFoundError:
            if folder in self.moment.names:
                self.skip(path, "was removed while the backup ran")
            return None
        except OSError as error:
            self.skip(path, f"cannot be read: {error.strerror}")
            return None
        if kind in _NOT_STORED:
            self.left_out[path] = LeftOut(path=path, reason=_NOT_STORED[kind])
            return None
        return Entry(path, found)


def seen(place: Path, found: os.stat_result) -> str:
    """How the system describes a file now; empty when it may change without another description.

    A SQLite file has changed too when its log has.
    """
    times = [found.st_mtime_ns, found.st_ctime_ns]
    text = f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
    log = place.with_name(place.name + BESIDE[0])
    try:
        beside = log.lstat()
        if beside.st_size > 0:
            text += f":{beside.st_ino}:{beside.st_size}:{beside.st_mtime_ns}"
            times.append(beside.st_mtime_ns)
    except OSError:
        pass
    return text if time.time_ns() - max(times) > _SETTLED_AFTER_NS else ""


def _is_sqlite_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_sqlite(file.read(HEAD_BYTES))
    except OSError:
        return False


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def walk_entries(source: Source, folder: str = "") -> Iterator[Entry]:
    """Every entry below a folder; nothing of the files is read."""
    for entry in source.entries(folder):
        yield entry
        if entry.is_folder:
            yield from walk_entries(source, entry.path)
