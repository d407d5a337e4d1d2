"""Garbage collection: removes old versions that nothing needs, each in one rename; and pins.

A pinned version is kept until it is unpinned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from modelyard.adapters.pointer import hold_pointer, pointer_history
from modelyard.adapters.rollback import earlier_versions
from modelyard.adapters.versions import (
    active_number,
    adapter_lock,
    note_highest_number,
    require_numbers,
    version_numbers,
)
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.files import (
    folder_size_bytes,
    remove_folder,
    require_removable,
    shared_lock,
    sweep_staging,
)
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoAccess
from modelyard.core.state import open_state, read_state

KEEP_NEWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageCollection:
    """The versions of one adapter that were removed, or would be."""

    adapter: str
    """The adapter's name."""
    removed: Mapping[int, int]
    """The size in bytes of each removed version, by its number."""
    kept: Mapping[int, str]
    """Why each version that is needed is kept, by its number."""
    left: Mapping[int, NoAccess]
    """Why each other version cannot be removed by this user, by its number."""

    @property
    def freed_bytes(self) -> int:
        """The size of all removed versions."""
        return sum(self.removed.values())


def collect_garbage(
    project: Project,
    adapter: str,
    *,
    keep: int = KEEP_NEWEST,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> GarbageCollection:
    """Remove an adapter's versions except the `keep` newest and those that are needed.

    Needed are the active version, the one a rollback would go to, and pinned ones. Also removes
    what killed processes left half removed. A version that this user may not remove is left.
    Raises InvalidInput when there is no such adapter or a version is a link, ModelyardError when
    its pointer is broken, LockHeld while a backup reads the versions.
    """
    if keep < 1:
        raise InvalidInput(f"--keep must be at least 1, not {keep}")
    require_numbers(project, adapter)
    if dry_run:
        return _plan(project, adapter, keep)
    kept_whole = shared_lock(project.versions_lock, what="backup of the project", wait_s=wait_s)
    with kept_whole, hold_pointer(project, adapter, wait_s=wait_s):
        sweep_staging(project.adapter_versions(adapter))
        plan = _plan(project, adapter, keep)
        if plan.removed:
            note_highest_number(project, adapter)
        removed: dict[int, int] = {}
        left = dict(plan.left)
        for number, size_bytes in plan.removed.items():
            try:
                remove_folder(project.adapter_version(adapter, number))
            except NoAccess as error:
                left[number] = error
            else:
                removed[number] = size_bytes
    return replace(plan, removed=removed, left=left)


def _plan(project: Project, adapter: str, keep: int) -> GarbageCollection:
    numbers = version_numbers(project, adapter)
    kept = _reasons_to_keep(project, adapter, numbers, keep)
    removed: dict[int, int] = {}
    left: dict[int, NoAccess] = {}
    for number in numbers:
        if number not in kept:
            path = project.adapter_version(adapter, number)
            if path.is_symlink():
                raise InvalidInput(
                    "is a link, where the folder of a version belongs",
                    where=project.show(path),
                    hint="remove the link by hand",
                )
            try:
                require_removable(path)
            except NoAccess as error:
                left[number] = error
            else:
                removed[number] = folder_size_bytes(path)
    return GarbageCollection(adapter=adapter, removed=removed, kept=kept, left=left)


def _reasons_to_keep(
    project: Project, adapter: str, numbers: list[int], keep: int
) -> dict[int, str]:
    """The most important reason to keep each version that must be kept."""
    active = active_number(project, adapter)
    earlier = earlier_versions(pointer_history(project, adapter), active)
    newest = "the newest" if keep == 1 else f"among the {keep} newest"
    # The most important reason comes last, and replaces the others.
    reasons = dict.fromkeys(numbers[-keep:], newest)
    reasons |= dict.fromkeys(load_pins(project).get(adapter, {}), "pinned")
    before = [number for number in earlier if number in numbers and number != active]
    reasons |= dict.fromkeys(before[:1], "active before")
    if active is not None:
        reasons[active] = "active"
    return {number: reasons[number] for number in numbers if number in reasons}


def load_pins(project: Project) -> dict[str, dict[int, str | None]]:
    """The pinned versions of every adapter, each with its reason."""
    pins: dict[str, dict[int, str | None]] = {}
    for row in read_state(project, "SELECT * FROM pins ORDER BY adapter, version"):
        pins.setdefault(row["adapter"], {})[row["version"]] = row["reason"]
    return pins


def pin_version(
    project: Project, adapter: str, number: int, *, reason: str | None = None, wait_s: float = 0.0
) -> bool:
    """Pin a version, or give its pin another reason; returns whether anything changed.

    Raises InvalidInput when there is no such version.
    """
    with adapter_lock(project, adapter, wait_s=wait_s), open_state(project) as state:
        if number not in version_numbers(project, adapter):
            raise InvalidInput(f"there is no {adapter}@{number}")
        pinned = state.execute(
            "INSERT INTO pins (adapter, version, reason, pinned_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET reason = excluded.reason"
            " WHERE excluded.reason IS NOT NULL AND excluded.reason IS NOT pins.reason",
            (adapter, number, reason, utc_now()),
        )
        return pinned.rowcount > 0


def unpin_version(project: Project, adapter: str, number: int, *, wait_s: float = 0.0) -> bool:
    """Remove a version's pin; returns whether it had one."""
    with adapter_lock(project, adapter, wait_s=wait_s), open_state(project) as state:
        deleted = state.execute(
            "DELETE FROM pins WHERE adapter = ? AND version = ?", (adapter, number)
        )
        return deleted.rowcount > 0
