"""Writing anew what was changed by hand under .models/deployed/: the way out of drift."""

from __future__ import annotations

from modelyard.configs.live.drift import Drift, find_drift
from modelyard.configs.live.publish import HeldEnvironment, render_files
from modelyard.configs.live.revisions import find_live, load_snapshot
from modelyard.core.files import make_folder, remove_folder, replace_link, write_atomic
from modelyard.core.layout import Yard


def mend_files(held: HeldEnvironment) -> tuple[str, ...]:
    """Bring link and files of what is live back to what was written; returns what was not so.

    Nothing that holds depends on them, so each is mended by itself, in one rename.
    """
    if find_live(held.yard, held.environment) is None:
        return ()
    found = find_drift(held.yard, held.environment)
    folder = held.yard.deployed_revision(held.environment, found.revision)
    mended = dict.fromkeys(file.path for file in found.files)
    if any(file.what == "link" for file in found.files):
        make_folder(folder)
        replace_link(held.yard.deployed(held.environment), folder)
        found = find_drift(held.yard, held.environment)
        mended |= dict.fromkeys(file.path for file in found.files)
    # A link in the place of a folder goes before anything is written through it.
    _remove(held, found, "extra")
    _write(held, find_drift(held.yard, held.environment))
    return tuple(mended)


def files_to_mend(yard: Yard, environment: str) -> tuple[str, ...]:
    """What `mend_files` would write anew or remove; nothing where nothing is live."""
    if find_live(yard, environment) is None:
        return ()
    return tuple(dict.fromkeys(file.path for file in find_drift(yard, environment).files))


def _remove(held: HeldEnvironment, found: Drift, what: str) -> None:
    for file in found.files:
        place = held.yard.root / file.path
        if file.what == what:
            remove_folder(place) if place.is_dir() and not place.is_symlink() else place.unlink()


def _write(held: HeldEnvironment, found: Drift) -> None:
    _remove(held, found, "unreadable")
    if not found.files:
        return
    snapshot = load_snapshot(held.yard, held.environment, found.revision)
    shown = held.yard.show(held.yard.deployed(held.environment))
    for path, text in render_files(snapshot, held.environment, found.revision).items():
        if any(file.path == f"{shown}/{path}" for file in found.files):
            write_atomic(held.yard.deployed(held.environment) / path, text)
