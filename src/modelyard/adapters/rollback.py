"""Rollback: back to the version that was active before, as the history says.

The history is read as a stack of what became active. A promotion puts its version on top. A
rollback takes off what lies above the version it went to, so a second rollback goes one further
back and never forth again. A link that was moved by other means counts as a promotion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.adapters.manifest import DamagedVersion, require_intact
from modelyard.adapters.pointer import PointerMove, hold_pointer, plan_move, pointer_history
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
    """What a rollback came to."""

    move: PointerMove
    """The move of the link."""
    skipped: tuple[int, ...] = ()
    """Versions that were active in between, and are gone."""
    completed: bool = False
    """Whether an interrupted rollback had moved the link already, and only its row was missing."""


def earlier_versions(history: Sequence[PointerMove], active: int | None) -> list[int]:
    """The versions that were active before the one that is, nearest first."""
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
    """Put a version on top that is active, although no move of the history made it so."""
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
    """Point the link at the version that was active before, or at `to` if that ever was.

    A rollback that was killed after its rename is completed instead of going a second step back.
    Raises DamagedVersion when the files of that version are not as they were registered, and
    ModelyardError when the history knows of none.
    """
    require_numbers(project, adapter)
    if dry_run:
        version, skipped = _choose(project, adapter, pointer_history(project, adapter), to)
        move = plan_move(project, adapter, version.number, action="rollback", reason=reason)
        return Rollback(move=move, skipped=skipped)
    with hold_pointer(project, adapter, wait_s=wait_s) as pointer:
        left = pointer.completed
        if left is not None and left.action == "rollback" and to in (None, left.to_version):
            return Rollback(move=left, completed=True)
        version, skipped = _choose(project, adapter, pointer.history(), to)
        move = pointer.move(version, action="rollback", reason=reason)
    return Rollback(move=move, skipped=skipped)


def _choose(
    project: Project, adapter: str, history: Sequence[PointerMove], to: int | None
) -> tuple[AdapterVersion, tuple[int, ...]]:
    """The version to go back to, whole, and those that are passed over because they are gone."""
    active = active_number(project, adapter)
    earlier = earlier_versions(history, active)
    if to is None:
        number, skipped = _nearest(project, adapter, earlier, active)
    else:
        number, skipped = _asked_for(project, adapter, history, active, to), ()
    version = load_version(project, adapter, number)
    try:
        require_intact(version.path, version.manifest)
    except DamagedVersion as error:
        error.hint = f"restore it from a backup{_others(project, adapter, earlier, number)}"
        raise
    return version, skipped


def _nearest(
    project: Project, adapter: str, earlier: Sequence[int], active: int | None
) -> tuple[int, tuple[int, ...]]:
    present = version_numbers(project, adapter)
    skipped: list[int] = []
    for number in earlier:
        if number in present and number != active:
            return number, tuple(skipped)
        if number not in present and number not in skipped:
            skipped.append(number)
    if active is None:
        message = f"no version of {adapter} is active"
    else:
        message = f"no version of {adapter} was active before {adapter}@{active}"
    if skipped:
        gone = ", ".join(f"{adapter}@{number}" for number in skipped)
        message = f"{message} that is still here (gone: {gone})"
    raise ModelyardError(
        message, hint=f"`models adapters promote {adapter}@V` activates any version"
    )


def _asked_for(
    project: Project, adapter: str, history: Sequence[PointerMove], active: int | None, to: int
) -> int:
    used = {move.to_version for move in history} | {move.from_version for move in history}
    present = version_numbers(project, adapter)
    if to not in used | {active}:
        known = to in present
        raise InvalidInput(
            f"{adapter}@{to} was never active" if known else f"there is no {adapter}@{to}",
            hint=f"`models adapters promote {adapter}@{to}` activates it"
            if known
            else f"`models adapters history {adapter}` shows what was active",
        )
    if to not in present:
        raise InvalidInput(
            f"{adapter}@{to} was active, and its files are gone",
            hint=f"there are: {', '.join(f'{adapter}@{number}' for number in present)}",
        )
    return to


def _others(project: Project, adapter: str, earlier: Sequence[int], number: int) -> str:
    present = version_numbers(project, adapter)
    others = [str(one) for one in dict.fromkeys(earlier) if one in present and one != number]
    if not others:
        return f", or activate another: `models adapters promote {adapter}@V`"
    return f", or go to another that was active: `--to {'`, `--to '.join(others)}`"
