"""A folder that is searched without a project: two indexes of its files, kept in the user's cache.

One index is of source code and one of all else, with the settings of the configs that `models init`
writes. They are named after the real path and these settings, and each call brings them up to date
first, so an unchanged folder costs a walk through it. What nobody searched for a month is removed,
and what was not searched for longest where all of them together grow past two gigabytes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.configs.kinds.embedding_models import (
    Encoder,
    Fusion,
    IndexSettings,
    Modality,
    SearchRules,
)
from modelyard.core.errors import InvalidInput, ModelyardError, NoData
from modelyard.core.files import (
    LockHeld,
    disk_errors,
    exclusive_lock,
    folder_size_bytes,
    make_folder,
    remove_folder,
    shared_lock,
    sweep_staging,
)
from modelyard.core.layout import Project, searched_folders
from modelyard.core.layout import shared_lock as lock_of_all_projects
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.encoders import Encoders
from modelyard.retrieval.indexes import (
    SearchIndex,
    SearchSettings,
    declared_index,
    settings_digest,
)
from modelyard.retrieval.language import read_language_problem
from modelyard.retrieval.reading.grammars import ENDINGS
from modelyard.retrieval.reading.sources import find_sources
from modelyard.retrieval.update import update_index

MOST_FILES = 20_000
"""Files of a folder, which take an hour to index on two cores; more are refused."""
KEPT_S = 30 * 86_400.0
"""How long the indexes of a folder are kept that nobody searches."""
KEPT_BYTES = 2_000_000_000
"""How large all of them may be together, after a call."""
_UPDATE_WAIT_S = 600.0

_ENCODER = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
_FUSIONS: Mapping[Modality, Fusion] = {
    "code": Fusion(dense=0.85, exact_dense=0.3),
    "text": Fusion(dense=0.6, exact_dense=0.3),
}
_ENDINGS = frozenset((*ENDINGS, ".proto"))
_CODE = tuple(f"**/*{ending}" for ending in sorted(_ENDINGS))
_INSTALLED = ("**/node_modules/**", "**/vendor/**", "**/third_party/**")
"""The code of others: it is found, below the folder's own."""
_GENERATED = ("**/*.lock", "**/package-lock.json", "**/*.min.js", "**/*.map", "**/*.svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedFolder:
    """A folder whose indexes are up to date."""

    project: Project
    """The folder, or the git work tree that it lies in, from which paths are shown."""
    settings: SearchSettings
    """Its indexes that have files."""


@contextmanager
def open_searched_folder(path: Path, progress: Progress) -> Iterator[SearchedFolder]:
    """Bring the indexes of a folder or a file up to date, and keep them while they are searched.

    Raises InvalidInput for what is not there or holds too many files, NoData when nothing in it can
    be indexed, ModelyardError where the cache cannot be written.
    """
    tree, below = _find_tree(path)
    lock = lock_of_all_projects("searched-folders")
    folders = searched_folders()
    with disk_errors(folders):
        make_folder(folders.parent)
        folders.mkdir(mode=0o700, exist_ok=True)  # they hold the texts of private files
    with shared_lock(lock, what="indexes of searched folders", wait_s=_UPDATE_WAIT_S):
        project, indexes = _declare(tree, below, folders)
        grown = False
        encoders = Encoders(project=project, progress=progress)
        built = []
        for index in indexes:
            if not index.path.exists():
                if not (files := _count_files(project, index, path)):
                    continue
                progress.stage(f"index {counted(files, 'file')} of {index.name} in {path}")
            update = update_index(
                project,
                index,
                encoders,
                check=False,
                allow_empty=True,
                wait_s=_UPDATE_WAIT_S,
                progress=progress,
            )
            grown |= not update.unchanged
            if not update.unchanged and (problem := read_language_problem(index, index.path)):
                progress.warn(problem)
            if update.files.total:
                built.append(index)
        if not built:
            raise NoData(
                "holds no file that can be searched",
                where=str(path),
                hint="what .gitignore names, binary files and those over 2 MB are left out",
            )
        assert project.kept_in is not None
        with suppress(OSError):
            os.utime(project.kept_in)
        yield SearchedFolder(
            project=project,
            settings=SearchSettings(
                indexes={index.label: index for index in built}, rules=SearchRules(groups=())
            ),
        )
    if grown:
        _remove_old(folders, lock)


def _find_tree(path: Path) -> tuple[Path, str]:
    """The git work tree around a path, else the folder itself, and the path from there."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(
            "there is no such folder or file", where=str(path), hint="give --in a folder"
        ) from error
    folder = real if real.is_dir() else real.parent
    tree = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)
    below = real.relative_to(tree).as_posix()
    return tree, "" if below == "." else below


def _declare(tree: Path, below: str, folders: Path) -> tuple[Project, list[SearchIndex]]:
    settings = _settings_below(below, is_file=(tree / below).is_file())
    digests = (settings_digest(each, _ENCODER) for each in settings.values())
    key = "\0".join((str(tree), *digests)).encode("utf-8", "surrogateescape")
    project = Project(tree, folders / hashlib.sha256(key).hexdigest()[:16])
    return project, [
        declared_index(
            project,
            "folder",
            name,
            settings=each,
            encoder=_ENCODER,
            fusion=_FUSIONS[name],
            modalities=(name,),
        )
        for name, each in settings.items()
    ]


def _settings_below(below: str, *, is_file: bool) -> Mapping[Modality, IndexSettings]:
    """The settings of the indexes of code and of text, for a place in a tree."""
    place = "/".join(part.replace("[", "[[]") for part in below.split("/"))
    place = place.replace("*", "[*]").replace("?", "[?]")
    within = f"{place}/" if place else ""
    # A file as PATH is matched by its own name in both, and the endings decide which one has it.
    everything = (place,) if is_file else (f"{within}**/*", f"{within}**/.github/**/*")
    code: tuple[str, ...] = tuple(within + glob for glob in _CODE)
    if is_file:
        code = (place,) if Path(below).suffix.lower() in _ENDINGS else ()
    return {
        "code": IndexSettings(
            description="Source code", sources=code, chunker="code", rank_below=_INSTALLED
        ),
        "text": IndexSettings(
            description="All else",
            sources=everything,
            exclude=(*_CODE, *_GENERATED),
            rank_below=_INSTALLED,
        ),
    }


def _count_files(project: Project, index: SearchIndex, path: Path) -> int:
    """How many files an index will have. Raises InvalidInput for too many."""
    count = len(find_sources(project, index).files)
    if count > MOST_FILES:
        raise InvalidInput(
            f"holds {count:,} files, and --in takes {MOST_FILES:,}",
            where=str(path),
            hint="name a folder in it, or declare an index of it in a project (`models init`)",
        )
    return count


def _remove_old(folders: Path, lock: Path) -> None:
    """Remove indexes that nobody needs, unless another search is under way; the next call will."""
    with suppress(LockHeld, OSError, ModelyardError), exclusive_lock(lock, what="their indexes"):
        sweep_staging(folders)
        used = sorted(
            ((folder.stat().st_mtime, folder) for folder in folders.iterdir()), reverse=True
        )
        total = 0
        for number, (used_at, folder) in enumerate(used):
            total += folder_size_bytes(folder)
            is_old = time.time() - used_at > KEPT_S
            if number and (is_old or total > KEPT_BYTES):
                remove_folder(folder)
