"""Following the file system: an index is brought in step as soon as a file was saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event

from modelyard.core.errors import ModelyardError
from modelyard.core.files import STAGING_PREFIX
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.reading.globs import matches_any
from modelyard.retrieval.updating.job import IndexUpdate

_QUIET_MS = 200
"""How long files must rest before they are read: editors write in several steps."""
_LONGEST_MS = 1_000
"""How long a file that never rests may keep the others waiting."""


class CannotWatch(ModelyardError):
    """The file system does not tell of changes."""


def keep_in_step(
    project: Project,
    indexes: Sequence[SearchIndex],
    update: Callable[[SearchIndex], IndexUpdate],
    *,
    progress: Progress,
    stop: Event | None = None,
) -> Iterator[IndexUpdate]:
    """Updates all of them, and then each one whose files change, until `stop` is set.

    What fails at the start is raised. What fails later (another update holds the lock, the disk is
    full) is told, and tried again every second.
    """
    waiting: dict[str, SearchIndex] = {}
    told: dict[str, str] = {}
    started = False
    for changed in watch_indexes(project, indexes, stop=stop):
        waiting |= {index.label: index for index in changed}
        for label, index in list(waiting.items()):
            try:
                done = update(index)
            except ModelyardError as error:
                if not started:
                    raise
                if told.get(label) != str(error):
                    progress.warn(f"{label}: {error}; trying again")
                told[label] = str(error)
            else:
                del waiting[label]
                told.pop(label, None)
                yield done
        started = True


def watch_indexes(
    project: Project, indexes: Sequence[SearchIndex], *, stop: Event | None = None
) -> Iterator[list[SearchIndex]]:
    """Yields the indexes whose files changed, until `stop` is set; none when a second was quiet.

    The first ones come after this has begun to watch, so nothing changes unseen: all of them.
    Raises CannotWatch when there are more folders than the system watches for one user.
    """
    from watchfiles import watch

    root, embeddings = project.root.resolve(), project.embeddings.resolve()

    def changed(paths: Iterable[str]) -> list[SearchIndex]:
        places = [Path(path) for path in paths]
        told = [one for one in places if _is_told(root, embeddings, one)]
        return [one for one in indexes if any(_concerns(one, root, place) for place in told)]

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
    """The folders that the globs name before their first wildcard, none inside another."""
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
        one for one in folders if not any(one != top and one.is_relative_to(top) for top in folders)
    )


def _is_told(root: Path, embeddings: Path, place: Path) -> bool:
    """Whether a change there can matter: not of our own indexes, nor of what is being written."""
    return (
        place.is_relative_to(root)
        and not place.is_relative_to(embeddings)
        and not place.name.startswith(STAGING_PREFIX)
    )


def _concerns(index: SearchIndex, root: Path, place: Path) -> bool:
    """Whether it is a source, or rules over sources: a `.gitignore`, a folder that came or went."""
    shown = place.relative_to(root).as_posix()
    globs = index.settings.sources
    if matches_any(shown, globs) or place.name == ".gitignore":
        return True
    return any(_may_hold(glob, shown) for glob in globs) and _may_be_folder(place)


def _may_hold(glob: str, folder: str) -> bool:
    """Whether a folder can hold what the glob asks for."""
    parts, names = glob.split("/"), folder.split("/")
    if "**" not in parts:
        return len(names) < len(parts) and matches_any(folder, ["/".join(parts[: len(names)])])
    fixed = parts[: min(parts.index("**"), len(names))]
    deeper = names[len(fixed) :]
    return (not fixed or matches_any("/".join(names[: len(fixed)]), ["/".join(fixed)])) and not any(
        name.startswith(".") for name in deeper
    )


def _may_be_folder(place: Path) -> bool:
    """Whether it is one, or went and has a name like one: `v1.2`, and not `notes.bak`."""
    if os.path.lexists(place):
        return os.path.isdir(place)  # noqa: PTH112 - Path.is_dir may raise
    return not any(ending[1:2].isalpha() for ending in place.suffixes)
