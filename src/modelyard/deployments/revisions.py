"""The revisions of an environment in state.db.

A revision is everything that is live at once. Its row is written before the link in
.models/deployed/ moves, and settled after; while it is not settled, the link says whether it is
live. So a reader needs one row, and no two readers disagree.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from modelyard.configs.kinds import ENVIRONMENTS
from modelyard.core.errors import InvalidInput, ModelyardError, did_you_mean
from modelyard.core.layout import Project
from modelyard.core.state import read_state
from modelyard.deployments.snapshot import Content, Snapshot

Action = Literal["deploy", "switch", "undo", "rollback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One state of an environment, and its origin."""

    environment: str
    """The environment."""
    number: int
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


class NotDeployed(ModelyardError):
    """Nothing is live in an environment."""


class Stamp(NamedTuple):
    """Identifies what is live; while it is the same, nothing has changed."""

    number: int
    """The number of the revision."""
    digest: str
    """SHA-256 of everything that is live with it."""


def check_environment(environment: str) -> str:
    """Return `environment` if it exists. Raises InvalidInput otherwise."""
    if environment in ENVIRONMENTS:
        return environment
    near = did_you_mean(environment, ENVIRONMENTS)
    raise InvalidInput(
        f"there is no environment {environment!r}{near}",
        hint=f"there are {', '.join(ENVIRONMENTS)}",
    )


_NEWEST = (
    "SELECT revision, digest, settled FROM config_revisions "
    "WHERE environment = ? AND revision < ? ORDER BY revision DESC LIMIT 1"
)
_BEYOND_ALL = 2**62


def find_live(project: Project, environment: str) -> Stamp | None:
    """The live revision, in one read of one row; None when there is none."""
    while True:
        newest = read_state(project, _NEWEST, (environment, _BEYOND_ALL))
        if not newest:
            return None
        number, digest, settled = newest[0]
        if settled or link_leads_to(project, environment, number):
            return Stamp(number, digest)
        earlier = read_state(project, _NEWEST, (environment, number))
        # Read again when it was settled meanwhile and the link has moved to a newer one.
        if read_state(project, _NEWEST, (environment, _BEYOND_ALL)) == newest:
            return Stamp(*earlier[0][:2]) if earlier else None


def link_leads_to(project: Project, environment: str, number: int) -> bool:
    """Whether the link of an environment points to that revision's folder."""
    link, folder = project.deployed(environment), project.deployed_revision(environment, number)
    try:
        return os.readlink(link) == os.path.relpath(folder, link.parent)  # noqa: PTH115
    except OSError:
        return False


def load_revision(project: Project, environment: str, number: int | None = None) -> Revision:
    """One revision; default: the one that is live.

    Raises NotDeployed when nothing is, and InvalidInput when there is no such number.
    """
    live = find_live(project, check_environment(environment))
    if live is None:
        raise not_deployed(environment)
    wanted = live.number if number is None else number
    query = "SELECT * FROM config_revisions WHERE environment = ? AND revision = ?"
    rows = read_state(project, query, (environment, min(wanted, _BEYOND_ALL)))
    if not rows or wanted > live.number:
        raise InvalidInput(
            f"{environment} has no revision {wanted}",
            hint=f"the last one is {live.number}; `models deployments --env {environment}` "
            "lists them",
        )
    return as_revision(rows[0])


def list_revisions(project: Project, environment: str) -> list[Revision]:
    """Every revision of an environment that was live, oldest first."""
    live = find_live(project, check_environment(environment))
    if live is None:
        return []
    query = (
        "SELECT * FROM config_revisions WHERE environment = ? AND revision <= ? ORDER BY revision"
    )
    return [as_revision(row) for row in read_state(project, query, (environment, live.number))]


def load_snapshot(project: Project, environment: str, number: int | None = None) -> Snapshot:
    """Everything that is (or was) live with a revision; default: the one that is live."""
    revision = load_revision(project, environment, number)
    contents = _load_contents(project, sorted(set(revision.configs.values())))
    return Snapshot(
        configs={label: contents[digest] for label, digest in revision.configs.items()},
        profiles=revision.profiles,
    )


def live_snapshot(project: Project, environment: str) -> tuple[int, Snapshot]:
    """The live revision's number and snapshot; 0 and an empty one when nothing is live."""
    live = find_live(project, environment)
    if live is None:
        return 0, Snapshot()
    return live.number, load_snapshot(project, environment, live.number)


def _load_contents(project: Project, digests: Sequence[str]) -> dict[str, Content]:
    query = (
        "SELECT digest, content FROM config_contents WHERE digest IN "
        "(SELECT value FROM json_each(?))"
    )
    rows = read_state(project, query, (json.dumps(digests),))
    return {digest: Content(text=text, digest=digest) for digest, text in rows}


def as_revision(row: sqlite3.Row) -> Revision:
    """The revision of a row of config_revisions."""
    snapshot: dict[str, Any] = json.loads(row["snapshot"])
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
        files=json.loads(row["files"]),
    )


def not_deployed(environment: str) -> NotDeployed:
    """The error of an environment in which nothing is live."""
    return NotDeployed(
        f"nothing is deployed in {environment}",
        hint=f"deploy all configs: `models deploy-config --all --env {environment}`",
    )
