"""Which places of a project are in a snapshot, and which are left out, each with its reason.

Everything below the project's folders is in it unless it is named here, so that a new place is
never forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.versions import list_adapters, require_numbers
from modelyard.backup.manifest import LeftOut
from modelyard.backup.selection import Selection
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project, cache_folder
from modelyard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What is read for a snapshot."""

    roots: tuple[str, ...]
    """The folders that are read, from the project's root."""
    left_out: tuple[LeftOut, ...]
    """What is not read, though it is there."""
    excluded: frozenset[str]
    """The paths of all that is never read, whether it is there or not."""

    def holds(self, path: str) -> bool:
        """Whether a path from the project's root, in a folder that is read, is read too."""
        return path not in self.excluded and not _is_temporary(path)


def never_stored(project: Project) -> dict[Path, str]:
    """The places that no snapshot holds, with the reason."""
    return {
        project.backups: "the repository of snapshots itself",
        project.versions_lock.parent: "held by processes that run",
        project.service_socket("x").parent: "where services that run are reached",
        project.restores: "what restores over the project replaced",
        project.restoring: "a restore over the project that is under way",
        project.logs: "tracebacks and logs of this machine",
        project.incoming("x").parent: "files of a pull that is under way: "
        "`models adapters pull` fetches them again",
        project.embedding_cache: "a cache: the search indexes hold their vectors themselves",
        project.answer_cache: "a cache: the answers are made again",
        project.kept_verdicts: "a cache: the configs are checked again",
    }


def stored_when_chosen(project: Project, selection: Selection) -> Iterator[tuple[Path, str, bool]]:
    """The places that an option adds, with the option, and whether it was given."""
    yield project.embeddings, "--include-embeddings", selection.include_embeddings
    yield project.datasets, "--include-datasets", selection.include_datasets
    yield project.experiments, "--include-experiments", selection.include_experiments
    spool = project.traffic_segment("x").parent
    for place in (project.traffic_db, spool, project.recorded_prompts):
        yield place, "--include-telemetry", selection.include_telemetry


def inventory(
    project: Project, selection: Selection, *, repository: Path | None = None
) -> Inventory:
    """What a snapshot of the project holds, and what is left out.

    repository: the folder of the repository, which may lie in the project. Raises InvalidInput when
    a chosen adapter does not exist.
    """
    reasons = dict(never_stored(project))
    real, root = (repository or project.backups).resolve(), project.root.resolve()
    if real.is_relative_to(root):
        reasons[project.root / real.relative_to(root)] = reasons[project.backups]
    for place, option, is_chosen in stored_when_chosen(project, selection):
        if not is_chosen:
            reasons[place] = f"not chosen: {option} adds it"
    for adapter in _other_adapters(project, selection):
        for place in (project.adapter_versions(adapter), project.trained_link(adapter)):
            reasons[place] = "not chosen: --models names other adapters"
    left_out = [
        LeftOut(path=place.relative_to(project.root).as_posix(), reason=reason)
        for place, reason in reasons.items()
    ]
    excluded = frozenset(one.path for one in left_out)
    left_out = [one for one in left_out if os.path.lexists(project.root / one.path)]
    left_out += _outside(project)
    roots = (project.configs, project.datasets, project.experiments, project.models)
    names = [place.name for place in (*roots, project.local_state)]
    return Inventory(
        roots=tuple(sorted(name for name in names if name not in excluded)),
        left_out=tuple(sorted(left_out, key=lambda one: one.path)),
        excluded=excluded,
    )


def _other_adapters(project: Project, selection: Selection) -> list[str]:
    """The adapters that were not chosen. Raises InvalidInput for a chosen one that is not there."""
    if selection.models is None:
        return []
    for name in selection.models:
        require_numbers(project, name)
    return [name for name in list_adapters(project) if name not in selection.models]


def _outside(project: Project) -> list[LeftOut]:
    """What lies outside the project's folders."""
    own = {place.name for place in (project.configs, project.datasets, project.experiments)}
    own |= {project.models.name, project.local_state.name}
    others = sorted(set(os.listdir(project.root)) - own)  # noqa: PTH208
    found = [
        LeftOut(
            path=str(cache_folder()),
            reason="weights of base models: `models base pull` fetches them again, and the cards "
            "say what they must be",
        )
    ]
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        what = counted(len(others), "other file or folder", "other files and folders")
        found.append(LeftOut(path=".", reason=f"{what} beside the project's own: {shown}"))
    return found


def _is_temporary(path: str) -> bool:
    return path.rpartition("/")[2].startswith(STAGING_PREFIX)
