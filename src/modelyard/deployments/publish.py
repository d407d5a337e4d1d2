"""Publishing a revision: a folder of files, a row, one rename of a link.

The row is written pending, then the link of the environment moves, then the row is settled. A
process killed in between leaves a pending row: readers look where the link leads, and whoever holds
the environment next settles or deletes it. So at any instant the old revision is live or the new
one, and the history agrees with the files.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.clock import utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.files import (
    STAGING_PREFIX,
    exclusive_lock,
    remove_folder,
    replace_link,
    staged_folder,
    sweep_staging,
)
from modelyard.core.layout import Project
from modelyard.core.state import open_state, transaction
from modelyard.deployments.revisions import Action, Revision, as_revision, find_live, link_leads_to
from modelyard.deployments.snapshot import Snapshot, sha256_text, snapshot_facts, split_label
from modelyard.secrets.detection import mask_secrets
from modelyard.settings.yaml_files import render_yaml

PROFILES_FILE = "profiles.yaml"


@dataclass(frozen=True, slots=True)
class HeldEnvironment:
    """An environment whose lock this process holds."""

    project: Project
    """The project."""
    environment: str
    """The environment."""
    completed: Revision | None
    """The live revision of a killed process whose row was settled now."""
    state: sqlite3.Connection
    """The open state.db."""

    def publish(
        self,
        snapshot: Snapshot,
        *,
        action: Action,
        from_revision: int | None = None,
        reason: str | None = None,
    ) -> Revision:
        """Make a snapshot live as the next revision."""
        live = find_live(self.project, self.environment)
        number = live.number + 1 if live else 1
        files = render_files(snapshot, self.environment, number)
        revision = Revision(
            environment=self.environment,
            number=number,
            action=action,
            created_at=utc_now(),
            made_by=_user_name(),
            reason=reason and mask_secrets(reason),
            from_revision=from_revision,
            digest=snapshot.digest,
            configs=snapshot.digests,
            profiles=snapshot.profiles,
            files={path: sha256_text(text) for path, text in files.items()},
        )
        folder = self.project.deployed_revision(self.environment, number)
        with staged_folder(folder) as staged:
            _write_files(staged, files)
        _record(self.state, revision, snapshot)
        replace_link(self.project.deployed(self.environment), folder)
        _settle(self.state, self.environment, number)
        with suppress(OSError, ModelyardError):  # the revision is live; the next one cleans up
            _remove_others(self.project, self.environment, number)
        return revision


@contextmanager
def hold_environment(
    project: Project, environment: str, *, wait_s: float = 0.0
) -> Iterator[HeldEnvironment]:
    """Hold an environment's lock, after making its link and its history agree.

    Raises LockHeld when another process has it for longer than `wait_s` seconds.
    """
    _require_folders(project, environment)
    lock = project.lock("environment", environment)
    with (
        exclusive_lock(lock, what=f"environment {environment}", wait_s=wait_s),
        open_state(project) as state,
    ):
        completed = _recover(project, state, environment)
        yield HeldEnvironment(project, environment, completed, state)


def _require_folders(project: Project, environment: str) -> None:
    """Return if no file is in the place of a folder that is written to."""
    revisions = project.deployed_revision(environment, 1).parent
    for place in (project.local_state, revisions.parent, revisions):
        if os.path.lexists(place) and not place.is_dir():
            raise ModelyardError(
                "is not a folder, and a folder belongs here",
                where=project.show(place),
                hint="move it away and run the same command again",
            )


def render_files(snapshot: Snapshot, environment: str, number: int) -> dict[str, str]:
    """The files of a revision by path: each resolved config, and the profiles."""

    def head(what: str, digest: str) -> str:
        return (
            f"# {what}, as it holds in {environment}: revision {number}, sha256 {digest}.\n"
            "# Written by `models deploy-config`; do not edit. What holds is in state.db, and\n"
            "# `models deployments --drift` finds what was changed here by hand.\n"
        )

    files = {}
    for label, content in sorted(snapshot.configs.items()):
        _, name = split_label(label)
        values = {"name": name, **content.values}
        files[f"{label}.yaml"] = head(label, content.digest) + render_yaml(values)
    profiles = dict(sorted(snapshot.profiles.items()))
    files[PROFILES_FILE] = (
        head("The profile of each domain that was switched", snapshot.digest)
        + "# The other domains use the `profile` of their own config.\n"
        + render_yaml(profiles)
    )
    return files


def _write_files(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")


def _record(state: sqlite3.Connection, revision: Revision, snapshot: Snapshot) -> None:
    with transaction(state):
        for content in snapshot.configs.values():
            state.execute(
                "INSERT OR IGNORE INTO config_contents (digest, content) VALUES (?, ?)",
                (content.digest, content.text),
            )
        state.execute(
            "INSERT INTO config_revisions (environment, revision, action, created_at, made_by, "
            "reason, from_revision, snapshot, digest, files, settled) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (
                revision.environment,
                revision.number,
                revision.action,
                revision.created_at,
                revision.made_by,
                revision.reason,
                revision.from_revision,
                snapshot_facts(revision.configs, revision.profiles),
                revision.digest,
                json.dumps(revision.files),
            ),
        )


def _settle(state: sqlite3.Connection, environment: str, number: int) -> None:
    state.execute(
        "UPDATE config_revisions SET settled = 1 WHERE environment = ? AND revision = ?",
        (environment, number),
    )


def _recover(project: Project, state: sqlite3.Connection, environment: str) -> Revision | None:
    """Settle or delete the pending rows of killed processes; returns the revision settled.

    Call it under the environment's lock.
    """
    completed = None
    pending = state.execute(
        "SELECT * FROM config_revisions WHERE environment = ? AND settled = 0", (environment,)
    ).fetchall()
    for row in pending:
        if link_leads_to(project, environment, row["revision"]):
            _settle(state, environment, row["revision"])
            completed = as_revision(row)
        else:
            state.execute(
                "DELETE FROM config_revisions WHERE environment = ? AND revision = ?",
                (environment, row["revision"]),
            )
    _sweep(project, environment)
    return completed


def _sweep(project: Project, environment: str) -> None:
    """Remove the files of killed processes, except the folder that the link points to."""
    link = project.deployed(environment)
    sweep_staging(link.parent, link.name)
    folder = project.deployed_revision(environment, 1).parent
    for left_over in folder.glob(f"{STAGING_PREFIX}*"):
        name = left_over.name.removeprefix(STAGING_PREFIX).partition("-")[2]
        if re.fullmatch(rf"{environment}-\d+", name):
            sweep_staging(folder, name)
    live = find_live(project, environment)
    if live is None or link_leads_to(project, environment, live.number):
        _remove_others(project, environment, live.number if live else 0)


def _remove_others(project: Project, environment: str, number: int) -> None:
    """Remove the folders of all other revisions; state.db keeps what they say."""
    kept = project.deployed_revision(environment, number)
    for folder in kept.parent.glob(f"{environment}-*"):
        if folder == kept or not re.fullmatch(rf"{environment}-\d+", folder.name):
            continue
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink()
        else:
            remove_folder(folder)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
