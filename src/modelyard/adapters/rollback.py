"""Rollback: activates the version that was active before, according to the history.

The history is read as a stack of active versions. A promotion pushes its version. A rollback pops
everything above the version it goes to, so a second rollback goes one version further back. A link
that was moved by other means counts as a promotion.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from modelyard.adapters.manifest import DamagedVersion, require_intact
from modelyard.adapters.pointer import (
    PointerMove,
    hold_pointer,
    move_pointer,
    plan_move,
    pointer_history,
)
from modelyard.adapters.versions import (
    AdapterVersion,
    active_number,
    load_version,
    require_numbers,
    version_numbers,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The result of a rollback."""

    move: PointerMove
    """The move of the link."""
    skipped: tuple[int, ...] = ()
    """Versions that were active in between, and whose files are gone."""
    completed: bool = False
    """Whether an interrupted rollback had already moved the link, and only its row was missing."""


def earlier_versions(history: Sequence[PointerMove], active: int | None) -> list[int]:
    """The versions that were active before the active one, the latest first."""
    stack: list[int] = []
    for move in history:
        _see_active(stack, move.from_version)
        below = stack if move.from_version is None else stack[:-1]
        if move.action == "rollback" and move.to_version in below:
            while below[-1] != move.to_version:
                below.pop()
            stack = list(below)
        else:
            stack.append(move.to_version)
    _see_active(stack, active)
    return stack[::-1] if active is None else stack[-2::-1]


def _see_active(stack: list[int], version: int | None) -> None:
    """Push a version that was active although no move in the history activated it."""
    if version is not None and stack[-1:] != [version]:
        stack.append(version)


def roll_back(
    project: Project,
    adapter: str,
    *,
    to: int | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Rollback:
    """Point the link at the version that was active before, or at `to` if that was ever active.

    A rollback that was killed after its rename is completed instead of going a second step back.
    Raises DamagedVersion when the files of that version are not as they were registered, and
    ModelyardError when no earlier version exists.
    """
    require_numbers(project, adapter)
    if dry_run:
        version, skipped = _choose(project, adapter, to)
        move = plan_move(project, adapter, version.number, action="rollback", reason=reason)
        return Rollback(move=move, skipped=skipped)
    with hold_pointer(project, adapter, wait_s=wait_s) as left:
        if left is not None and left.action == "rollback" and to in (None, left.to_version):
            return Rollback(move=left, completed=True)
        version, skipped = _choose(project, adapter, to)
        move = move_pointer(project, version, action="rollback", reason=reason)
    return Rollback(move=move, skipped=skipped)


def _choose(
    project: Project, adapter: str, to: int | None
) -> tuple[AdapterVersion, tuple[int, ...]]:
    """The intact version to go back to, and those that are skipped because they are gone."""
    history = pointer_history(project, adapter)
    active = active_number(project, adapter)
    present = version_numbers(project, adapter)
    earlier = earlier_versions(history, active)
    if to is None:
        number, skipped = _nearest(adapter, present, earlier, active)
    else:
        used = {move.to_version for move in history} | {move.from_version for move in history}
        _require_used(adapter, present, used | {active}, to)
        number, skipped = to, ()
    version = load_version(project, adapter, number)
    try:
        require_intact(version.path, version.manifest)
    except DamagedVersion as error:
        others = [
            f"`--to {other}`"
            for other in dict.fromkeys(earlier)
            if other in present and other != number
        ]
        error.hint = "restore it from a backup, or " + (
            f"go to another that was active: {', '.join(others)}"
            if others
            else f"activate another: `models adapters promote {adapter}@V`"
        )
        raise
    return version, skipped


def _nearest(
    adapter: str, present: Sequence[int], earlier: Sequence[int], active: int | None
) -> tuple[int, tuple[int, ...]]:
    """The latest earlier version that exists, and those after it that do not."""
    found = [number for number in earlier if number in present and number != active]
    after = earlier[: earlier.index(found[0])] if found else earlier
    skipped = tuple(number for number in dict.fromkeys(after) if number not in present)
    if found:
        return found[0], skipped
    message = f"no version of {adapter} is active"
    if active is not None:
        message = f"no version of {adapter} was active before {adapter}@{active}"
    if skipped:
        gone = ", ".join(f"{adapter}@{number}" for number in skipped)
        message = f"{message} that is still here (gone: {gone})"
    raise ModelyardError(
        message, hint=f"`models adapters promote {adapter}@V` activates any version"
    )


def _require_used(adapter: str, present: Sequence[int], used: Set[int | None], to: int) -> None:
    """Raise InvalidInput unless the version `to` was active and exists."""
    if to in used and to not in present:
        raise InvalidInput(
            f"{adapter}@{to} was active, and its files are gone",
            hint=f"there are: {', '.join(f'{adapter}@{number}' for number in present)}",
        )
    if to not in used and to in present:
        raise InvalidInput(
            f"{adapter}@{to} was never active",
            hint=f"`models adapters promote {adapter}@{to}` activates it",
        )
    if to not in used:
        raise InvalidInput(
            f"there is no {adapter}@{to}",
            hint=f"`models adapters history {adapter}` shows what was active",
        )
