"""Removing an adapter with all its versions. Its numbers are never used again."""

from __future__ import annotations

from contextlib import suppress

from modelyard.adapters.manifest import DamagedVersion
from modelyard.adapters.pointer import hold_pointer
from modelyard.adapters.versions import (
    adapter_lock,
    list_adapters,
    load_version,
    note_highest_number,
    version_numbers,
    version_of_another,
)
from modelyard.core.files import (
    STAGING_PREFIX,
    LockHeld,
    remove_folder,
    require_removable,
    sweep_staging,
    sync_path,
)
from modelyard.core.layout import Project, is_name
from modelyard.core.state import open_state


def adapters_of(project: Project, org: str) -> dict[str, tuple[int, ...]]:
    """The numbers of the versions of each adapter that belongs to an organisation alone."""
    return {
        name: tuple(version_numbers(project, name))
        for name in list_adapters(project)
        if version_of_another(project, name, org) is None and _has_version_of(project, name, org)
    }


def remove_adapter(project: Project, adapter: str, *, wait_s: float = 0.0) -> None:
    """Remove the link, all versions, the pins and the recorded figures of an adapter.

    Killed in between, it leaves an adapter with fewer versions and none active; the same again
    completes it. Raises NoAccess, before anything is removed, for a version that another user alone
    may remove, LockHeld while another process works with the adapter, ModelyardError when
    a version is a link.
    """
    link, home = project.trained_link(adapter), project.adapter_versions(adapter)
    with hold_pointer(project, adapter, wait_s=wait_s):
        sweep_staging(home)
        require_removable_adapter(project, adapter)
        note_highest_number(project, adapter)
        if link.is_symlink():
            link.unlink()
            sync_path(link.parent)
        for number in version_numbers(project, adapter):
            remove_folder(project.adapter_version(adapter, number))
        with open_state(project) as state:
            state.execute("DELETE FROM pins WHERE adapter = ?", (adapter,))
            state.execute("DELETE FROM recorded_figures WHERE adapter = ?", (adapter,))


def require_removable_adapter(project: Project, adapter: str) -> None:
    """Raise NoAccess where a version of it belongs to somebody who alone may remove it."""
    for number in version_numbers(project, adapter):
        require_removable(project.adapter_version(adapter, number))


def sweep_removed(project: Project) -> None:
    """Remove what killed processes left of the last versions of adapters.

    An adapter that another process works with is left to it.
    """
    if not project.versions.is_dir():
        return
    for home in project.versions.iterdir():
        left_over = is_name(home.name) and any(home.glob(f"{STAGING_PREFIX}*"))
        if left_over and not version_numbers(project, home.name):
            with suppress(LockHeld), adapter_lock(project, home.name, wait_s=0.0):
                sweep_staging(home)


def _has_version_of(project: Project, adapter: str, org: str) -> bool:
    for number in version_numbers(project, adapter):
        with suppress(DamagedVersion):  # whose owner is not known
            if load_version(project, adapter, number).manifest.org == org:
                return True
    return False
