"""The revisions of an environment in state.db.

A revision is everything that is live at once. Its row and the link in .models/deployed/ change
together (see `core.journal`), so a reader needs one row, and no two readers disagree.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.clock import utc_now
from modelyard.core.database import transaction
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import (
    exclusive_lock,
    remove_place,
    staged_folder,
    sweep_staging,
)
from modelyard.core.journal import Journal
from modelyard.core.json_reading import parse_json
from modelyard.core.layout import Project
from modelyard.core.state import open_state, read_state
from modelyard.deployments.snapshot import (
    Content,
    Snapshot,
    sha256_text,
    snapshot_facts,
    split_label,
)
from modelyard.records.backup_run import user_name
from modelyard.results.json_form import published
from modelyard.settings.yaml_files import render_yaml

Action = Literal["deploy", "remove", "switch", "undo", "rollback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One state of an environment, and its origin."""

    environment: str
    """The environment."""
    number: int = field(metadata=published("revision"))
    """Its number: 1, 2, 3 ... in the order in which they went live."""
    action: Action
    """The command that made it."""
    created_at: str
    """When it was made, UTC."""
    made_by: str
    """The user of the machine who made it."""
    reason: str | None
    """The reason given with --reason."""
    from_revision: int | None
    """The revision that a rollback or an undo goes back to."""
    digest: str
    """SHA-256 of everything that is live with it."""
    configs: Mapping[str, str]
    """The digest of each config, by its label."""
    profiles: Mapping[str, str]
    """The performance profile chosen for a domain, by domain."""
    files: Mapping[str, str]
    """SHA-256 of each file under .models/deployed/ENVIRONMENT/, by its path there."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the record of where each config's settings were written, by its label; empty in
    revisions of the versions of modelyard that kept none."""


class NotDeployed(ModelyardError):
    """Nothing is live in an environment."""


NOTHING = Snapshot()
"""What is live after everything was removed."""


class Stamp(NamedTuple):
    """Identifies what is live; while it is the same, nothing has changed."""

    number: int
    """The number of the revision."""
    digest: str
    """SHA-256 of everything that is live with it."""


def check_environment(project: Project, environment: str) -> str:
    """Return `environment` if something is live in it, or it is declared.

    What is live is found without configs/environments.yaml, so no edit of that file stops it.
    Raises InvalidInput when it does not exist, ProblemsFound when that file is not valid.
    """
    if environment == DEFAULT_ENVIRONMENT or find_live(project, environment) is not None:
        return environment
    # Imported here: a search in an environment where something is live starts sooner without it.
    from modelyard.configs.reading.catalogue import ConfigCatalogue

    return ConfigCatalogue(project).environments.require(environment)


def known_environments(project: Project) -> tuple[str, ...]:
    """The declared environments in their order, then those that are live without being declared."""
    from modelyard.configs.reading.catalogue import ConfigCatalogue

    declared = ConfigCatalogue(project).environments.names
    return tuple(dict.fromkeys((*declared, *live_environments(project))))


REVISIONS = Journal(
    table="config_revisions",
    owner="environment",
    order="revision",
    points_to="revision",
    link=Project.deployed,
    target=Project.deployed_revision,
)


def find_live(project: Project, environment: str) -> Stamp | None:
    """The live revision, in one read of one row; None when there is none."""
    newest = REVISIONS.newest(project, environment, "digest")
    return Stamp(newest["revision"], newest["digest"]) if newest else None


def live_environments(project: Project) -> list[str]:
    """Every environment in which a config is live or a profile was chosen, by name."""
    rows = read_state(project, "SELECT DISTINCT environment FROM config_revisions ORDER BY 1")
    stamps = {name: find_live(project, name) for (name,) in rows}
    return [name for name, live in stamps.items() if live and live.digest != NOTHING.digest]


def load_revision(project: Project, environment: str, number: int | None = None) -> Revision:
    """One revision; default: the one that is live.

    Raises NotDeployed when nothing is, and InvalidInput when there is no such number.
    """
    live = find_live(project, environment)
    if live is None:
        raise not_deployed(check_environment(project, environment))
    wanted = live.number if number is None else number
    query = "SELECT * FROM config_revisions WHERE environment = ? AND revision = ?"
    rows = read_state(project, query, (environment, min(wanted, live.number)))
    if not rows or wanted > live.number:
        raise InvalidInput(
            f"{environment} has no revision {wanted}",
            hint=f"the last one is {live.number}; `models deployments --env {environment}` "
            "lists them",
        )
    return as_revision(rows[0])


def list_revisions(project: Project, environment: str) -> list[Revision]:
    """Every revision of an environment that was live, oldest first."""
    live = find_live(project, environment)
    if live is None:
        check_environment(project, environment)
        return []
    query = (
        "SELECT * FROM config_revisions WHERE environment = ? AND revision <= ? ORDER BY revision"
    )
    return [as_revision(row) for row in read_state(project, query, (environment, live.number))]


def load_snapshot(project: Project, environment: str, number: int | None = None) -> Snapshot:
    """Everything that is (or was) live with a revision; default: the one that is live."""
    revision = load_revision(project, environment, number)
    texts = load_texts(project, {*revision.configs.values(), *revision.origins.values()})
    return Snapshot(
        configs={
            label: Content(
                text=texts[digest],
                digest=digest,
                origins=texts.get(revision.origins.get(label, "")),
            )
            for label, digest in revision.configs.items()
        },
        profiles=revision.profiles,
    )


def load_texts(project: Project, digests: Collection[str]) -> dict[str, str]:
    """What is kept under these digests: contents of configs, and records of where they stood."""
    query = (
        "SELECT digest, content FROM config_contents WHERE digest IN "
        "(SELECT value FROM json_each(?))"
    )
    rows = read_state(project, query, (json.dumps(sorted(digests)),))
    return {row["digest"]: row["content"] for row in rows}


def live_snapshot(project: Project, environment: str) -> tuple[int, Snapshot]:
    """The live revision's number and snapshot; 0 and an empty one when nothing is live."""
    live = find_live(project, environment)
    if live is None:
        return 0, Snapshot()
    return live.number, load_snapshot(project, environment, live.number)


_STATE = ".models/state.db"


def as_revision(row: sqlite3.Row) -> Revision:
    """The revision of a row of config_revisions."""
    snapshot: dict[str, Any] = parse_json(row["snapshot"], where=_STATE)
    return Revision(
        environment=row["environment"],
        number=row["revision"],
        action=cast(Action, row["action"]),
        created_at=row["created_at"],
        made_by=row["made_by"],
        reason=row["reason"],
        from_revision=row["from_revision"],
        digest=row["digest"],
        configs=snapshot["configs"],
        profiles=snapshot["profiles"],
        files=parse_json(row["files"], where=_STATE),
        origins=snapshot.get("origins", {}),
    )


def _texts_by_digest(snapshot: Snapshot) -> dict[str, str]:
    """What is kept of the configs of a snapshot: contents, and records of where they stood."""
    contents = {content.digest: content.text for content in snapshot.configs.values()}
    origins = (content.origins for content in snapshot.configs.values())
    return contents | {sha256_text(text): text for text in origins if text is not None}


def _snapshot_text(revision: Revision) -> str:
    """The facts that the digest of a revision is of, and beside them its records of origins."""
    facts = snapshot_facts(revision.configs, revision.profiles)
    return json.dumps({**parse_json(facts), "origins": dict(revision.origins)})


def _as_row(revision: Revision) -> dict[str, Any]:
    """The row of config_revisions of a revision."""
    return {
        "environment": revision.environment,
        "revision": revision.number,
        "action": revision.action,
        "created_at": revision.created_at,
        "made_by": revision.made_by,
        "reason": revision.reason,
        "from_revision": revision.from_revision,
        "snapshot": _snapshot_text(revision),
        "digest": revision.digest,
        "files": json.dumps(revision.files),
    }


def not_deployed(environment: str) -> NotDeployed:
    """The error of an environment in which nothing is live."""
    return NotDeployed(
        f"nothing is deployed to {environment}: models deploy-config --all --env {environment}"
    )


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
        # Imported here: a search reads revisions too, and starts 7 ms sooner without it.
        from modelyard.secrets.detection import mask_secrets

        live = find_live(self.project, self.environment)
        number = live.number + 1 if live else 1
        files = render_files(snapshot, self.environment, number)
        revision = Revision(
            environment=self.environment,
            number=number,
            action=action,
            created_at=utc_now(),
            made_by=user_name(),
            reason=reason and mask_secrets(reason),
            from_revision=from_revision,
            digest=snapshot.digest,
            configs=snapshot.digests,
            profiles=snapshot.profiles,
            files={path: sha256_text(text) for path, text in files.items()},
            origins={
                label: sha256_text(content.origins)
                for label, content in snapshot.configs.items()
                if content.origins is not None
            },
        )
        folder = self.project.deployed_revision(self.environment, number)
        with staged_folder(folder) as staged:
            _write_files(staged, files)
        with transaction(self.state):
            self.state.executemany(
                "INSERT OR IGNORE INTO config_contents (digest, content) VALUES (?, ?)",
                [*_texts_by_digest(snapshot).items()],
            )
        REVISIONS.move(self.project, self.state, _as_row(revision))
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
        completed = REVISIONS.recover(project, state, environment)
        _sweep(project, environment)
        left = as_revision(completed) if completed else None
        yield HeldEnvironment(project, environment, left, state)


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
            f"# {what}, as deployed to {environment}: revision {number}, sha256 {digest}.\n"
            "# Written by `models deploy-config`; do not edit. Commands read state.db, and\n"
            "# `models deployments --drift` finds what was changed here by hand.\n"
        )

    files = {}
    for label, content in sorted(snapshot.configs.items()):
        values = {"name": split_label(label)[1], **content.values}
        files[f"{label}.yaml"] = head(label, content.digest) + render_yaml(values)
    files[PROFILES_FILE] = (
        head("The profile of each domain that was switched", snapshot.digest)
        + "# The other domains use the `profile` of their own config.\n"
        + render_yaml(dict(sorted(snapshot.profiles.items())))
    )
    return files


def _write_files(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")


def _sweep(project: Project, environment: str) -> None:
    """Remove the files of killed processes, except the folder that the link points to."""
    link = project.deployed(environment)
    sweep_staging(link.parent, link.name)
    folder = project.deployed_revision(environment, 1).parent
    sweep_staging(folder, re.compile(rf"{re.escape(environment)}-\d+"))
    live = find_live(project, environment)
    if live is None or REVISIONS.leads_to(project, environment, live.number):
        _remove_others(project, environment, live.number if live else 0)


def _remove_others(project: Project, environment: str, number: int) -> None:
    """Remove the folders of all other revisions; state.db keeps what they say."""
    kept = project.deployed_revision(environment, number)
    for folder in kept.parent.glob(f"{environment}-*"):
        if folder != kept and re.fullmatch(rf"{re.escape(environment)}-\d+", folder.name):
            remove_place(folder)
