"""Drift: files under .models/deployed/ that were changed by hand, and their repair.

Commands read state.db, so drift never changes what they do; it is reported because an edit
was expected to have an effect. Any deployment writes the files again, even one without a change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelyard.configs.compare import SettingChange, compare_settings, mask_changes
from modelyard.configs.explain import is_below
from modelyard.configs.kinds import HEADER_KEYS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import resolve
from modelyard.core.errors import ModelyardError
from modelyard.core.files import make_folder, remove_place, replace_link, sha256_file, write_atomic
from modelyard.core.layout import Project
from modelyard.deployments.revisions import (
    PROFILES_FILE,
    HeldEnvironment,
    Revision,
    find_live,
    load_revision,
    load_snapshot,
    render_files,
)
from modelyard.deployments.snapshot import Snapshot, split_label
from modelyard.settings.yaml_files import load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftedFile:
    """One file or link that is not as it was written."""

    path: str
    """Its path, relative to the project."""
    what: Literal["changed", "missing", "extra", "unreadable", "link"]
    """What is wrong with it; `link`: the environment's link leads elsewhere, or nowhere."""
    settings: tuple[SettingChange, ...] = ()
    """For a changed config: each setting as deployed (before) and in the file (after)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSetting:
    """A setting that is live since `--set` gave it, and not as the draft says."""

    config: str
    """The config, by its label."""
    key: str
    """The dotted key."""
    live: Any
    """What is live, as written."""
    draft: Any
    """What the draft says in this environment; null when it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The drift of one environment."""

    environment: str
    """The environment."""
    revision: int
    """The revision that is live."""
    files: tuple[DriftedFile, ...]
    """Everything that is not as it was written."""
    given: tuple[GivenSetting, ...] = ()
    """Settings that `--set` gave, and that the next deployment of their config takes back."""


def find_drift(project: Project, environment: str) -> Drift:
    """Compare what lies under .models/deployed/ENVIRONMENT with what was written there.

    Raises NotDeployed when nothing is live.
    """
    revision = load_revision(project, environment)
    folder = project.deployed_revision(environment, revision.number)
    link = project.deployed(environment)
    found: list[DriftedFile] = []
    if not (link.is_symlink() and link.resolve() == folder.resolve() and folder.is_dir()):
        found.append(DriftedFile(path=project.show(link), what="link"))
        if not folder.is_dir() and not link.is_symlink():
            folder = link  # somebody put the folder itself there
    snapshot = load_snapshot(project, environment, revision.number)
    found += _files(project, revision, snapshot, folder)
    return Drift(
        environment=environment,
        revision=revision.number,
        files=tuple(found),
        given=tuple(_given(project, environment, snapshot)),
    )


def _given(project: Project, environment: str, snapshot: Snapshot) -> Iterator[GivenSetting]:
    """What `--set` gave and the drafts do not say; nothing of a config without a valid draft."""
    catalogue = ConfigCatalogue(project)
    for label, content in sorted(snapshot.configs.items()):
        if not content.given:
            continue
        draft = catalogue.find(*split_label(label))
        if draft is None or environment not in catalogue.environments.declared:
            continue
        for change in mask_changes(
            compare_settings(content.values, resolve(draft, environment).values)
        ):
            if any(is_below(change.key, key) or is_below(key, change.key) for key in content.given):
                yield GivenSetting(
                    config=label, key=change.key, live=change.before, draft=change.after
                )


def _files(
    project: Project, revision: Revision, snapshot: Snapshot, folder: Path
) -> Iterator[DriftedFile]:
    shown = project.deployed(revision.environment)
    for path, digest in sorted(revision.files.items()):
        what = _drift_of(folder / path, digest)
        if what == "changed" and _is_repaired(folder / path, path, revision, snapshot):
            what = None
        if what:
            changes = _changed_settings(folder / path, path, snapshot) if what == "changed" else ()
            yield DriftedFile(
                path=project.show(shown / path), what=what, settings=mask_changes(changes)
            )
    for place in sorted(folder.rglob("*")):
        path = place.relative_to(folder).as_posix()
        if path not in revision.files and (place.is_symlink() or not place.is_dir()):
            yield DriftedFile(path=project.show(shown / path), what="extra")


def _drift_of(place: Path, digest: str) -> Literal["missing", "changed", "unreadable"] | None:
    """How one file differs from what was written with this SHA-256; None when it does not."""
    if not os.path.lexists(place):
        return "missing"
    if place.is_symlink():
        return "changed"
    with suppress(OSError):
        if place.is_file():  # reading a pipe would never end
            return None if sha256_file(place) == digest else "changed"
    return "unreadable"


def _is_repaired(place: Path, path: str, revision: Revision, snapshot: Snapshot) -> bool:
    """Whether a file is as a repair writes it: its comments may differ from those of the version of
    modelyard that deployed it."""
    text = render_files(snapshot, revision.environment, revision.number)[path]
    return not place.is_symlink() and place.read_bytes() == text.encode()


def _changed_settings(place: Path, path: str, snapshot: Snapshot) -> tuple[SettingChange, ...]:
    """The settings that differ in a changed file; none when it is not YAML."""
    try:
        values = load_yaml(place).value
    except ModelyardError:
        return ()
    if not isinstance(values, dict):
        return ()
    if path == PROFILES_FILE:
        return compare_settings(dict(snapshot.profiles), values)
    said = {key: value for key, value in values.items() if key not in HEADER_KEYS[:1]}
    return compare_settings(snapshot.configs[path.removesuffix(".yaml")].values, said)


def repair_files(held: HeldEnvironment) -> tuple[DriftedFile, ...]:
    """Write the live link and files again as they were, and remove others; returns what drifted.

    No command reads them, so each is repaired by itself, in one rename.
    """
    if find_live(held.project, held.environment) is None:
        return ()
    found = find_drift(held.project, held.environment)
    folder = held.project.deployed_revision(held.environment, found.revision)
    drifted = {file.path: file for file in found.files}
    if any(file.what == "link" for file in found.files):
        make_folder(folder)
        replace_link(held.project.deployed(held.environment), folder)
        found = find_drift(held.project, held.environment)
        drifted = {file.path: file for file in found.files} | drifted
    # Remove a link in the place of a folder before writing, or files would be written through it.
    _remove(held, found, "extra")
    found = find_drift(held.project, held.environment)
    _remove(held, found, "unreadable")
    if found.files:
        paths = {file.path for file in found.files}
        snapshot = load_snapshot(held.project, held.environment, found.revision)
        for name, text in render_files(snapshot, held.environment, found.revision).items():
            path = held.project.deployed(held.environment) / name
            if held.project.show(path) in paths:
                write_atomic(path, text)
    return tuple(drifted.values())


def files_to_repair(project: Project, environment: str) -> tuple[DriftedFile, ...]:
    """The files that `repair_files` would write or remove; none where nothing is live."""
    if find_live(project, environment) is None:
        return ()
    return tuple({file.path: file for file in find_drift(project, environment).files}.values())


def _remove(held: HeldEnvironment, found: Drift, what: str) -> None:
    for file in found.files:
        if file.what == what:
            remove_place(held.project.root / file.path)
