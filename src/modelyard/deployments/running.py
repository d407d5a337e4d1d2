"""The configs that commands run with: drafts in development, deployed ones everywhere else.

Every command that runs something with settings from configs asks here, so an edit of a draft never
changes what another environment does until it is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.configs.environments import STANDARD
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.reading.catalogue import ConfigCatalogue, kind_name
from modelyard.configs.reading.document import Resolved, load_document, resolve
from modelyard.configs.reading.shape import check_shape
from modelyard.core.errors import InvalidInput, ProblemsFound, dotted
from modelyard.core.layout import Project, find_project
from modelyard.deployments.revisions import (
    check_environment,
    live_snapshot,
    load_snapshot,
    not_deployed,
)
from modelyard.deployments.snapshot import Snapshot, content_of


def running_snapshot(project: Project, environment: str) -> tuple[int, Snapshot]:
    """What runs in an environment, and the number of its newest revision; 0 when there is none.

    In development: every draft, with the profiles that `models switch-config` chose there.
    Raises ProblemsFound for a draft that cannot be read.
    """
    number, live = live_snapshot(project, environment)
    if environment != DEFAULT_ENVIRONMENT:
        return number, live
    catalogue = _open_drafts(project)
    drafts = [catalogue.read(path) for path in catalogue.deployable_paths()]
    configs = {draft.label: content_of(resolve(draft, environment).values) for draft in drafts}
    return number, Snapshot(configs=configs, profiles=live.profiles, of_drafts=True)


def _open_drafts(project: Project) -> ConfigCatalogue:
    """The drafts of a project. Raises ProblemsFound for a declaration of environments that is not
    valid: the overlays that development inherits would be unknown."""
    catalogue = ConfigCatalogue(project)
    catalogue.environments.refuse_problems()
    return catalogue


def drafts_stamp(project: Project) -> tuple[tuple[str, int, int], ...]:
    """Identifies the drafts of a project: path, time of change and size of each file."""
    paths = ConfigCatalogue(project).paths()
    # Of a link to nothing the link counts: reading it says what is wrong.
    statuses = [(str(path), path.stat() if path.exists() else path.lstat()) for path in paths]
    return tuple((path, status.st_mtime_ns, status.st_size) for path, status in statuses)


def running_settings(project: Project, environment: str, kind: str) -> Mapping[str, Any]:
    """The settings of every config of a kind in an environment, by name.

    Raises what `numbered_settings` raises.
    """
    return numbered_settings(project, environment, kind)[1]


def numbered_settings(
    project: Project, environment: str, kind: str
) -> tuple[int, Mapping[str, Any]]:
    """The settings of every config of a kind, by name, and the revision that they are part of.

    In development that is the newest revision, 0 when there is none.
    Raises ProblemsFound when a draft is not valid in development, NotDeployed when nothing is
    deployed to another environment.
    """
    if environment != DEFAULT_ENVIRONMENT:
        number, snapshot = live_snapshot(project, environment)
        if not number:
            raise not_deployed(check_environment(project, environment))
        names = snapshot.names(kind)
        return number, {name: snapshot.settings(f"{kind}/{name}") for name in names}
    number, _ = live_snapshot(project, environment)
    catalogue = _open_drafts(project)
    drafts = {}
    for path in catalogue.paths(kind):
        draft = catalogue.read(path)
        checked = check_shape(draft, (environment,))
        if checked.problems:
            raise ProblemsFound(f"{draft.source.name} is not valid", checked.problems)
        drafts[draft.name] = checked.settings[environment]
    return number, drafts


def running_config(
    path: Path, environment: str, *, kind: str, project: Project | None = None
) -> Resolved:
    """What the config file at `path` says in an environment.

    A draft of a project is taken as it is deployed, except in development. A file elsewhere is
    never deployed and is read as it is, with the environment's overlay; `project` is the one whose
    environments it can have overlays for.
    Raises NotDeployed when nothing is deployed, InvalidInput when this config is not.
    """
    own = _project_of(path)
    around = own or project
    catalogue = ConfigCatalogue(around) if around else None
    environments = catalogue.environments if catalogue else STANDARD
    document = load_document(
        path,
        shown=own.show(path) if own else None,
        kind=kind,
        environments=environments,
        naming=catalogue.name_model if catalogue else None,
    )
    if environment == DEFAULT_ENVIRONMENT or own is None:
        environments.require(environment)
        return resolve(document, environment)
    label = document.label
    deployed = load_snapshot(own, environment).configs.get(label)
    if deployed is None:
        raise InvalidInput(
            f"{label} is not deployed to {environment}",
            hint=f"`models deploy-config {label} --env {environment}` deploys it",
        )
    return Resolved(
        values=deployed.values,
        where=lambda key: f"{label} in {environment}" + (f", {dotted(key)}" if key else ""),
        written=None,
    )


def locate_config(project: Project, word: str, kind: str) -> Path:
    """The file that a person means by a path, KIND/NAME, or the name of a draft of this kind.

    Raises InvalidInput, with the nearest name, when there is none.
    """
    path = ConfigCatalogue(project).locate(word, kind=kind)
    if (found := kind_name(path)) not in ("", kind):
        raise InvalidInput(f"{word} is of the kind {found}, and one of {kind} belongs here")
    return path


def config_named(project: Project, word: str, kind: str) -> str:
    """The name of the config of a kind that a person means by its name, KIND/NAME, KIND/NAME.yaml
    or its path.

    Raises InvalidInput for a path to something else; of a bare name it is not asked whether there
    is such a config.
    """
    return ConfigCatalogue(project).name_meant(word, kind)


def _project_of(path: Path) -> Project | None:
    """The project that the file is a draft of; None for a file outside any `configs/`."""
    try:
        project = find_project(path.absolute().parent)
    except InvalidInput:
        return None
    return project if path.absolute().is_relative_to(project.configs) else None
