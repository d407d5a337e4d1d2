"""What was changed by hand under .models/deployed/, where nothing should be.

What holds is in state.db, so drift never changes an answer; but whoever made it believes that it
does, and other programs may read these files.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.configs.compare import SettingChange, compare_settings
from modelyard.configs.masked import mask_changes
from modelyard.configs.reading.document import HEADER_KEYS
from modelyard.core.errors import ModelyardError
from modelyard.core.files import sha256_file
from modelyard.core.layout import Project
from modelyard.deployments.publish import PROFILES_FILE
from modelyard.deployments.revisions import Revision, load_revision, load_snapshot
from modelyard.deployments.snapshot import Snapshot
from modelyard.settings.yaml_source import load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftedFile:
    """One place that is not as it was written."""

    path: str
    """The place, as a person in the project would type it."""
    what: Literal["changed", "missing", "extra", "unreadable", "link"]
    """What is wrong with it; `link`: the environment's link leads elsewhere, or nowhere."""
    settings: tuple[SettingChange, ...] = ()
    """For a changed config: each setting, as it holds (before) and as the file says (after)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was found in one environment."""

    environment: str
    """The environment."""
    revision: int
    """The revision that is live."""
    files: tuple[DriftedFile, ...]
    """Everything that is not as it was written."""


def find_drift(project: Project, environment: str) -> Drift:
    """Compare what lies under .models/deployed/ENVIRONMENT with what was written there.

    Raises NotDeployed when nothing is live.
    """
    revision = load_revision(project, environment)
    folder = project.deployed_revision(environment, revision.number)
    link = project.deployed(environment)
    found: list[DriftedFile] = []
    if not _leads_to(link, folder):
        found.append(DriftedFile(path=project.show(link), what="link"))
        if not folder.is_dir() and not link.is_symlink():
            folder = link  # somebody put the folder itself there
    snapshot = load_snapshot(project, environment, revision.number)
    found += _files(project, revision, snapshot, folder)
    return Drift(environment=environment, revision=revision.number, files=tuple(found))


def _leads_to(link: Path, folder: Path) -> bool:
    return link.is_symlink() and link.resolve() == folder.resolve() and folder.is_dir()


def _files(
    project: Project, revision: Revision, snapshot: Snapshot, folder: Path
) -> Iterator[DriftedFile]:
    shown = project.deployed(revision.environment)
    for path, digest in sorted(revision.files.items()):
        place = folder / path
        name = project.show(shown / path)
        if not os.path.lexists(place):
            yield DriftedFile(path=name, what="missing")
            continue
        try:
            unchanged = not place.is_symlink() and _sha256_of_regular(place) == digest
        except OSError:
            yield DriftedFile(path=name, what="unreadable")
            continue
        if not unchanged:
            settings = mask_changes(_changed_settings(place, path, snapshot))
            yield DriftedFile(path=name, what="changed", settings=settings)
    for place in sorted(folder.rglob("*")):
        path = place.relative_to(folder).as_posix()
        if path not in revision.files and (place.is_symlink() or not place.is_dir()):
            yield DriftedFile(path=project.show(shown / path), what="extra")


def _sha256_of_regular(place: Path) -> str:
    """The SHA-256 of a file. Raises OSError for anything else: a pipe would never end."""
    if not place.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(place))
    return sha256_file(place)


def _changed_settings(place: Path, path: str, snapshot: Snapshot) -> tuple[SettingChange, ...]:
    """What a changed file says otherwise; nothing when it is no YAML, or only comments changed."""
    try:
        values = load_yaml(place).value
    except ModelyardError:
        return ()
    if not isinstance(values, dict):
        return ()
    if path == PROFILES_FILE:
        return compare_settings(dict(snapshot.profiles), values)
    content = snapshot.configs[path.removesuffix(".yaml")]
    said = {key: value for key, value in values.items() if key not in HEADER_KEYS[:1]}
    return compare_settings(content.values, said)
