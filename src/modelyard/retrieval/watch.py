"""Watching the file system: an index is updated as soon as one of its files is saved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event

from modelyard.core.errors import ModelyardError
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.encoders import Encoders
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.reading.globs import matches_any
from modelyard.retrieval.sharing import remove_unneeded
from modelyard.retrieval.update import update_index
from modelyard.retrieval.updating.job import IndexUpdate

_QUIET_MS = 200
"""How long files must be unchanged before they are read: editors write in several steps."""
_LONGEST_MS = 1_000
"""The longest that a file which keeps changing may delay the others."""


class CannotWatch(ModelyardError):
    """The file system cannot report changes."""


def keep_up_to_date(
    project: Project,
    indexes: Sequence[SearchIndex],
    encoders: Encoders,
    *,
    wait_s: float = 0.0,
    progress: Progress,
    stop: Event | None = None,
) -> Iterator[IndexUpdate]:
    """Update all indexes, and then each one whose files change, until `stop` is set.

    A failure of the first round, which waits `wait_s` for another update, is raised. A later one
    (another update holds the lock, the disk is full) is reported, and the update is tried again
    every second. Files that no environment needs are removed in the first round.
    """
    waiting: dict[str, SearchIndex] = {}
    reported: dict[str, str] = {}
    started = False
    for changed in watch_indexes(project, indexes, stop=stop):
        waiting |= {index.label: index for index in changed}
        for label, index in list(waiting.items()):
            try:
                done = update_index(
                    project,
                    index,
                    encoders,
                    check=not started,
                    wait_s=0.0 if started else wait_s,  # a save keeps no other index waiting
                    progress=progress,
                )
            except ModelyardError as error:
                if not started:
                    raise
                if reported.get(label) != str(error):
                    progress.warn(f"{label}: {error}; trying again")
                reported[label] = str(error)
            else:
                del waiting[label]
                reported.pop(label, None)
                yield done
        if not started:
            for path in remove_unneeded(project, indexes, of_all=False, progress=progress):
                progress.stage(f"removed {project.show(path)}, no environment needs it")
        started = True


def watch_indexes(
    project: Project, indexes: Sequence[SearchIndex], *, stop: Event | None = None
) -> Iterator[list[SearchIndex]]:
    """Yield the indexes whose files changed, until `stop` is set; [] after a quiet second.

    The first time all indexes are yielded, after watching has begun, so no change is missed.
    Raises CannotWatch when there are more folders than the system watches for one user.
    """
    from watchfiles import watch

    root, embeddings = project.root.resolve(), project.embeddings.resolve()

    def changed(paths: Iterable[str]) -> list[SearchIndex]:
        places = [path for path in map(Path, paths) if _is_relevant(root, embeddings, path)]
        return [index for index in indexes if any(_concerns(index, root, path) for path in places)]

    events = watch(
        *_watched(root, indexes),
        watch_filter=lambda change, path: bool(changed([path])),
        debounce=_LONGEST_MS,
        step=_QUIET_MS,
        rust_timeout=_LONGEST_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=True,
        ignore_permission_denied=True,
    )
    first = True
    while True:
        try:
            changes = next(events, None)
        except OSError as error:
            raise CannotWatch(
                f"the file system cannot be watched: {error}",
                where=str(project.root),
                hint="raise fs.inotify.max_user_watches, or run `models update-embeddings` by cron",
            ) from error
        if changes is None:
            return
        yield list(indexes) if first else changed(path for _, path in changes)
        first = False


def _watched(root: Path, indexes: Sequence[SearchIndex]) -> list[Path]:
    """The folders that the globs name before their first wildcard, without nested ones."""
    folders: set[Path] = set()
    for index in indexes:
        for glob in index.settings.sources:
            place = root
            for part in glob.split("/")[:-1]:
                if any(letter in part for letter in "*?[") or not (place / part).is_dir():
                    break
                place /= part
            folders.add(place)
    return sorted(
        folder
        for folder in folders
        if not any(folder != top and folder.is_relative_to(top) for top in folders)
    )


def _is_relevant(root: Path, embeddings: Path, place: Path) -> bool:
    """Whether a change of the path can matter: not in an index, nor in a file being written."""
    return (
        place.is_relative_to(root)
        and not place.is_relative_to(embeddings)
        and not place.name.startswith(STAGING_PREFIX)
    )


def _concerns(index: SearchIndex, root: Path, place: Path) -> bool:
    """Whether a change affects an index: of a source, a .gitignore, or a folder of sources."""
    shown = place.relative_to(root).as_posix()
    globs = index.settings.sources
    if matches_any(shown, globs) or place.name == ".gitignore":
        return True
    return any(_may_contain(glob, shown) for glob in globs) and _may_be_folder(place)


def _may_contain(glob: str, folder: str) -> bool:
    """Whether a folder can contain files that the glob matches."""
    parts, names = glob.split("/"), folder.split("/")
    if "**" not in parts:
        return len(names) < len(parts) and matches_any(folder, ["/".join(parts[: len(names)])])
    fixed = parts[: min(parts.index("**"), len(names))]
    deeper = names[len(fixed) :]
    return (not fixed or matches_any("/".join(names[: len(fixed)]), ["/".join(fixed)])) and not any(
        name.startswith(".") for name in deeper
    )


def _may_be_folder(place: Path) -> bool:
    """Whether the path is a folder, or is gone and had a folder's name: `v1.2`, not `notes.bak`."""
    if os.path.lexists(place):
        return os.path.isdir(place)  # noqa: PTH112 - Path.is_dir may raise
    return not any(ending[1:2].isalpha() for ending in place.suffixes)
