"""Which environments share an index file, and the removal of files that none of them needs.

Needed are the files that the drafts name, that what is live in any environment names, and that the
way back from there leads to: the last revision that names other files, both in the order in which
revisions were live and in the order in which rollbacks go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import ModelyardError, ProblemsFound
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import IndexFile, Project, read_index_name
from modelyard.core.progress import Progress
from modelyard.deployments.revisions import (
    Revision,
    list_revisions,
    live_environments,
    load_snapshot,
)
from modelyard.deployments.stack import rollback_stack
from modelyard.retrieval.index_writer import remove_index
from modelyard.retrieval.indexes import (
    SearchIndex,
    build_search_settings,
    index_lock,
    load_indexes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUse:
    """The indexes of all environments."""

    declared: Mapping[str, Collection[SearchIndex]]
    """By environment."""
    unreadable: Mapping[str, ModelyardError]
    """Why it is not known what an environment uses, such as configs that are not valid there."""

    def environments_of(self, index: SearchIndex) -> list[str]:
        """The environments that read the same file."""
        return [
            environment
            for environment, indexes in self.declared.items()
            if any(other.readable_path == index.readable_path for other in indexes)
        ]


def load_index_use(project: Project) -> IndexUse:
    """What development and every environment with something live there uses."""
    declared: dict[str, Collection[SearchIndex]] = {}
    unreadable: dict[str, ModelyardError] = {}
    live: list[str] = []
    try:
        live = live_environments(project)
    except ModelyardError as error:
        unreadable["what is deployed"] = error
    for environment in dict.fromkeys((DEFAULT_ENVIRONMENT, *live)):
        try:
            declared[environment] = load_indexes(project, environment).values()
        except ModelyardError as error:
            unreadable[environment] = error
    return IndexUse(declared=declared, unreadable=unreadable)


def remove_unneeded(
    project: Project,
    updated: Collection[SearchIndex],
    *,
    of_all: bool,
    dry_run: bool = False,
    progress: Progress,
) -> list[Path]:
    """Remove the files of indexes that no environment needs; returns them.

    updated: the indexes that were just updated, or on a dry run would be.
    of_all: remove files of every index, also of those that no config declares any more; else only
    of those in `updated`.
    Removes nothing while it is not known what an environment uses. A file whose index is being
    updated is left to the next update. What cannot be removed is reported, never raised.
    """
    labels = None if of_all else {index.label for index in updated}
    removal = _Removal(
        project=project, made=frozenset(index.path for index in updated), progress=progress
    )
    unneeded = removal.choose(
        {
            path: named
            for path in project.search_indexes
            if (named := read_index_name(path)) is not None
            and (labels is None or f"{named.group}/{named.name}" in labels)
        }
    )
    return [path for path, named in unneeded.items() if dry_run or removal.remove(path, named)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Removal:
    """What decides whether a file is removed."""

    project: Project
    made: Collection[Path]
    """The files that were just updated, or would be."""
    progress: Progress

    def choose(self, files: Mapping[Path, IndexFile]) -> dict[Path, IndexFile]:
        """Those that no environment needs now; none while that is not known, which is reported."""
        candidates = {path: files[path] for path in files if path not in self.made}
        if not candidates:
            return {}
        use = load_index_use(self.project)
        for name, error in use.unreadable.items():
            self.progress.warn(f"no index file is removed, since {name} cannot be read: {error}")
        if use.unreadable:
            return {}
        needed = set(self._needed_files(use))
        known = {index.former_path for indexes in use.declared.values() for index in indexes}
        return {
            path: named
            for path, named in candidates.items()
            # A name without a digest may be a copy that somebody put there.
            if path not in needed and (named.digest is not None or path in known)
        }

    def _needed_files(self, use: IndexUse) -> Iterator[Path]:
        for environment, indexes in use.declared.items():
            live = [index.path for index in indexes]
            yield from live
            yield from (
                index.former_path
                for index in indexes
                if index.path not in self.made and not index.path.exists()
            )
            yield from _files_on_the_way_back(self.project, environment, live)

    def remove(self, path: Path, named: IndexFile) -> bool:
        """Remove a file under the lock of its index, if it is still not needed.

        Others may have begun to use it before the lock was held: the drafts were edited back, an
        update left the file unchanged, and that was deployed. A deployment does not take the lock,
        so the question is asked again while the file is set aside.
        """

        def needed() -> bool:
            return not self.choose({path: named})

        try:
            lock = index_lock(self.project, named.group, named.name)
            with exclusive_lock(lock, what=f"index {named.group}/{named.name}"):
                return path.exists() and not needed() and remove_index(path, needed=needed)
        except LockHeld:
            return False
        except ModelyardError as error:
            shown = self.project.show(path)
            self.progress.warn(f"{shown} is not needed and cannot be removed: {error}")
            return False


def _files_on_the_way_back(
    project: Project, environment: str, live: Collection[Path]
) -> Iterator[Path]:
    """What the last revision that names other files than the live one names.

    In the order in which revisions were live, and in the order in which rollbacks go: after a
    rollback the one leads to what was left, and the other further back.
    """
    if environment == DEFAULT_ENVIRONMENT:
        return
    history = list_revisions(project, environment)
    for revisions in (history, rollback_stack(history)):
        others = (_files_of(project, revision) for revision in reversed(revisions[:-1]))
        yield from next((files for files in others if not files <= set(live)), ())


def _files_of(project: Project, revision: Revision) -> set[Path]:
    """The files that a revision names; none when it is not valid, so nobody can go back to it."""
    snapshot = load_snapshot(project, revision.environment, revision.number)
    try:
        groups = {
            name: snapshot.settings(f"embedding_models/{name}")
            for name in snapshot.names("embedding_models")
        }
    except ProblemsFound:
        return set()
    return {index.path for index in build_search_settings(project, groups).indexes.values()}
