"""Verdicts on configs, kept from one check to the next by what they hang on.

A verdict is what the check of one file found. It holds again where the file has the same content
and where all that was asked about other configs, and about the project, has the same answer; where
something was asked that cannot be answered again cheaply it is not kept at all. What a check may
ask is in view.py. Whether secrets are there is looked up anew each time.

The verdicts of one way of checking are in one file, `.models/cache/verdicts-<digest>.json`: the
digest is of this program's code, the environments and the options. Its first line is a digest of
the others, so that a damaged file counts as none. It is replaced in one rename by whoever checked
something new; of two at once the last one's stays, and the other's are made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import modelyard
from modelyard.configs.checking.found import SecretPlace, Verdict
from modelyard.configs.checking.view import (
    ALIAS,
    CONFIG,
    NAMES,
    PROJECT,
    WORD,
    files_behind,
)
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import Diagnostic, ModelyardError
from modelyard.core.files import STAGING_PREFIX, write_atomic
from modelyard.core.json_reading import InvalidJson, parse_json
from modelyard.core.layout import Project

_MOST_BYTES = 1_000_000
"""A larger config is refused whole, and no verdict on it is kept."""
_MOST_KEPT_BYTES = 32_000_000
"""No larger file of verdicts is read or written."""
_MOST_ASKED = 500
"""A verdict that hangs on more is not kept."""
_MOST_FILES = 8
"""Ways of checking whose verdicts are kept: the last ones."""
_ABANDONED_S = 3600.0
"""A file that a killed process left is removed when it is older."""


class _ListedConfigs(ConfigCatalogue):
    """The configs of a project; which there are is asked once."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._listed = {kind: super(_ListedConfigs, self).paths(kind) for kind in KINDS}

    def paths(self, kind: str | None = None) -> list[Path]:
        if kind is None:
            return [path for paths in self._listed.values() for path in paths]
        return self._listed[kind]


class KeptVerdicts:
    """The verdicts of one way of checking a project, and the configs as they are now.

    Each config is read once: what it says is what is hashed here and checked by whoever takes the
    `catalogue`.
    """

    def __init__(self, project: Project, environments: tuple[str, ...], *, strict: bool) -> None:
        self.catalogue: ConfigCatalogue = _ListedConfigs(project)
        self._project, self._environments, self._strict = project, environments, strict
        self._digests: dict[Path, str] = {}
        self.paths = frozenset(self.catalogue.paths())
        for path in self.paths:
            data = _content(path)
            if data is not None:
                self.catalogue.take_content(path, data)
                self._digests[path] = _digest(data)
        self._answers: dict[str, str | None] = {}
        self._surroundings = _digest_around(project)
        self._file = self._place()
        self._kept = _load(self._file)

    def _place(self) -> Path:
        """Where they are kept: named by a digest of all that every verdict hangs on."""
        project = self._project
        declared = [
            (path.name, self._digests.get(path)) for path in self.catalogue.paths("environments")
        ]
        has_project = project.configs.is_dir() and project.models.is_dir()
        judge = _judge() if self._strict else None
        code = [modelyard.__version__, sys.version, *_code()]
        way = (self._environments, declared, has_project, judge, code)
        return project.kept_verdicts / f"verdicts-{_digest(repr(way).encode())}.json"

    def find(self, path: Path) -> Verdict | None:
        """The verdict on a file that still holds."""
        kept = self._kept.get(self._project.show(path))
        try:
            digest, findings, secrets, asked = kept or ("", (), (), {})
            if not digest or digest != self._digests.get(path):
                return None
            for question, answer in asked.items():
                known = self._answers.get(question)
                if answer is None or answer != (known or self._answer(question)):
                    return None
            return Verdict(
                path,
                tuple(_finding(*texts) for texts in findings),
                tuple(SecretPlace(_text(a), _text(b), bool(c)) for a, b, c in secrets),
                frozenset(),
            )
        except (TypeError, ValueError, AttributeError):
            return None  # what this program did not write

    def keep(self, verdicts: Iterable[Verdict]) -> None:
        """Keep what was found now beside what is kept of other files, where that is possible.

        Where nothing can be written, the next check takes as long as this one.
        """
        if _digest_around(self._project) != self._surroundings or self._place() != self._file:
            return  # it may have been asked before or after it changed
        present = {self._project.show(path) for path in self._digests}
        kept = {file: entry for file, entry in self._kept.items() if file in present}
        fresh = {
            self._project.show(verdict.path): entry
            for verdict in verdicts
            if (entry := self._entry(verdict)) is not None
        }
        if not fresh or not self._project.local_state.is_dir():
            return
        body = json.dumps(kept | fresh, separators=(",", ":")).encode()
        if len(body) > _MOST_KEPT_BYTES:
            return
        with suppress(OSError, ModelyardError):
            write_atomic(self._file, _digest(body).encode() + b"\n" + body, durable=False)
            _remove_oldest(self._file.parent)

    def _entry(self, verdict: Verdict) -> list[Any] | None:
        """A verdict as it is kept; None where it must not be."""
        digest = self._digests.get(verdict.path)
        if digest is None or len(verdict.asked) > _MOST_ASKED:
            return None
        asked = {"\t".join(each): self._answer("\t".join(each)) for each in verdict.asked}
        if None in asked.values():
            return None
        findings = [
            [found.message, found.where, found.hint, found.level, found.code]
            for found in verdict.findings
        ]
        secrets = [[use.reference, use.where, use.is_endpoint] for use in verdict.secrets]
        return [digest, findings, secrets, asked]

    def _answer(self, question: str) -> str | None:
        """What is so now; None where that cannot be said."""
        if question not in self._answers:
            self._answers[question] = self._find_answer(*question.split("\t", 1))
        return self._answers[question]

    def _find_answer(self, what: str, about: str) -> str | None:
        if what == ALIAS:
            found = [(name, path.name) for name, path in self.catalogue.may_have_alias(about)]
            return _digest(repr(found).encode())
        if what == CONFIG:
            files = [
                (path.name, self._digests.get(path))
                for path in files_behind(self.catalogue, what, about)
            ]
            return None if None in dict(files).values() else _digest(repr(files).encode())
        if what == NAMES:
            return _digest(repr(self.catalogue.names_given(about)).encode())
        if what == WORD:
            return self.catalogue.name_model(about)
        return self._surroundings if what == PROJECT else None


def _digest_around(project: Project) -> str | None:
    """A digest of the bases, datasets and adapters; None where they cannot be seen."""
    try:
        return _digest(repr(list(_seen_around(project))).encode())
    except OSError:
        return None


def _seen_around(project: Project) -> Iterator[tuple[str, ...]]:
    """What PROJECT stands for. Raises OSError where it cannot be read, or leads elsewhere."""
    for entry in _entries(project.bases):
        if entry.is_symlink():
            raise OSError("the card is elsewhere")
        card = project.bases / entry.name / "MODEL_INFO.md"
        data = _content(card) if entry.is_dir() and os.path.lexists(card) else b""
        if data is None:
            raise OSError("the card is no file")
        yield "base", entry.name, str(entry.is_dir()), _digest(data)
    for entry in _entries(project.datasets):
        yield "dataset", entry.name, str(entry.is_dir())
    for entry in _entries(project.versions):
        numbers = _entries(project.versions / entry.name) if entry.is_dir() else ()
        yield (
            "adapter",
            entry.name,
            str(entry.is_dir()),
            *(each.name for each in numbers if each.is_dir()),
        )
    for entry in _entries(project.trained):
        yield "active", entry.name, str(entry.is_symlink())


def _entries(folder: Path) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return ()


def _content(path: Path, most_bytes: int = _MOST_BYTES) -> bytes | None:
    """The bytes of a regular file; None where there is none, or where it cannot be read whole."""
    data = bytearray()
    with suppress(OSError, ValueError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):  # a pipe would never end
                return None
            while len(data) <= most_bytes:
                more = os.read(handle, most_bytes + 1)
                if not more:
                    return bytes(data)
                data += more
        finally:
            os.close(handle)
    return None


def _judge() -> str:
    """The version of what --strict asks as well."""
    from importlib.metadata import version  # 10 ms that only --strict costs

    return version("jsonschema")


def _code() -> Iterator[tuple[str, int, int]]:
    """The files of this program with their size and time, since any of them may decide."""
    for folder, folders, names in os.walk(Path(modelyard.__file__).parent):
        folders.sort()
        for name in sorted(names):
            if name.endswith((".py", ".json")):
                status = os.stat(f"{folder}/{name}")  # noqa: PTH116
                yield name, status.st_size, status.st_mtime_ns


def _load(file: Path) -> Mapping[str, Any]:
    """What is kept in a file, by config; nothing where it is not what `keep` wrote."""
    digest, _, body = (_content(file, _MOST_KEPT_BYTES) or b"").partition(b"\n")
    if digest != _digest(body).encode():
        return {}
    try:
        found = parse_json(body)
    except InvalidJson:
        return {}
    return found if isinstance(found, dict) else {}


def _remove_oldest(folder: Path) -> None:
    """Leave the newest files, and what another process is writing."""
    aged = sorted((entry.stat().st_mtime, entry.path) for entry in _entries(folder))
    staged = [(then, path) for then, path in aged if STAGING_PREFIX in path]
    for then, path in staged:
        if then < time.time() - _ABANDONED_S:
            Path(path).unlink(missing_ok=True)
    for _, path in [each for each in aged if each not in staged][:-_MOST_FILES]:
        Path(path).unlink(missing_ok=True)


def _finding(message: Any, where: Any, hint: Any, level: Any, code: Any) -> Diagnostic:
    return Diagnostic(
        message=_text(message),
        where=_text(where),
        hint=hint and _text(hint),
        level="error" if level == "error" else "warning",
        code=_text(code),
    )


def _text(value: Any) -> str:
    """The value, which must be text."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
