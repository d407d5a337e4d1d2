"""Writing anew what was changed by hand under .models/deployed/: the way out of drift."""

from __future__ import annotations

from modelyard.core.files import make_folder, remove_folder, replace_link, write_atomic
from modelyard.core.layout import Project
from modelyard.deployments.drift import Drift, find_drift
from modelyard.deployments.publish import HeldEnvironment, render_files
from modelyard.deployments.revisions import find_live, load_snapshot


def mend_files(held: HeldEnvironment) -> tuple[str, ...]:
    """Bring link and files of what is live back to what was written; returns what was not so.

    Nothing that holds depends on them, so each is mended by itself, in one rename.
    """
    if find_live(held.project, held.environment) is None:
        return ()
    found = find_drift(held.project, held.environment)
    folder = held.project.deployed_revision(held.environment, found.revision)
    mended = dict.fromkeys(file.path for file in found.files)
    if any(file.what == "link" for file in found.files):
        make_folder(folder)
        replace_link(held.project.deployed(held.environment), folder)
        found = find_drift(held.project, held.environment)
        mended |= dict.fromkeys(file.path for file in found.files)
    # A link in the place of a folder goes before anything is written through it.
    _remove(held, found, "extra")
    _write(held, find_drift(held.project, held.environment))
    return tuple(mended)


def files_to_mend(project: Project, environment: str) -> tuple[str, ...]:
    """What `mend_files` would write anew or remove; nothing where nothing is live."""
    if find_live(project, environment) is None:
        return ()
    return tuple(dict.fromkeys(file.path for file in find_drift(project, environment).files))


def _remove(held: HeldEnvironment, found: Drift, what: str) -> None:
    for file in found.files:
        place = held.project.root / file.path
        if file.what == what:
            remove_folder(place) if place.is_dir() and not place.is_symlink() else place.unlink()


def _write(held: HeldEnvironment, found: Drift) -> None:
    _remove(held, found, "unreadable")
    if not found.files:
        return
    snapshot = load_snapshot(held.project, held.environment, found.revision)
    shown = held.project.show(held.project.deployed(held.environment))
    for path, text in render_files(snapshot, held.environment, found.revision).items():
        if any(file.path == f"{shown}/{path}" for file in found.files):
            write_atomic(held.project.deployed(held.environment) / path, text)
