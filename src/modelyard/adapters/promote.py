"""Promotion: makes a version active, when it is intact and its figures pass the gate.

The gate is a pure rule over two evaluations.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from modelyard.adapters.manifest import DamagedVersion, require_intact
from modelyard.adapters.pointer import PointerMove, hold_pointer, move_pointer, plan_move
from modelyard.adapters.recorded import figures_of
from modelyard.adapters.verify import verify_version
from modelyard.adapters.versions import AdapterVersion, active_number, load_version
from modelyard.core.errors import GateBreached, InvalidInput
from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.records.evaluation import Evaluation
from modelyard.weights.local import LocalBase


def apply_gate(project: Project, version: AdapterVersion) -> PromotionDecision:
    """Decide on a version by its recorded figures and those of the active version."""
    number = active_number(project, version.adapter)
    active = None
    if number not in (None, version.number):
        with suppress(DamagedVersion):  # a damaged version must not block an intact one
            current = load_version(project, version.adapter, number)
            if current.manifest.base.fingerprint == version.manifest.base.fingerprint:
                active, _ = figures_of(project, current)
    figures, recorded = figures_of(project, version)
    decision = decide_promotion(figures, active)
    if recorded is None:
        return decision
    return decision._replace(reason=f"{decision.reason}; {recorded.origin}")


def promote_version(
    project: Project, version: AdapterVersion, *, reason: str | None = None, wait_s: float = 0.0
) -> PointerMove:
    """Make a version active: one rename and one row of history. Does not apply the gate.

    Raises DamagedVersion when its files are not as they were registered.
    """
    with hold_pointer(project, version.adapter, wait_s=wait_s):
        here = load_version(project, version.adapter, version.number)
        require_intact(here.path, here.manifest)
        return move_pointer(project, here, action="promote", reason=reason)


def promote_if_allowed(
    project: Project,
    version: AdapterVersion,
    *,
    base: LocalBase | None,
    force: bool = False,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> PointerMove:
    """Make a version active if it is intact and the gate allows it; nothing if it is active.

    `force`, with a reason, overrides only the gate. Without `base` its modules are not compared.
    Raises GateBreached with the numbers, DamagedVersion when the version is not intact.
    """
    if force and not (reason and reason.strip()):
        raise InvalidInput(
            "--force needs a reason",
            hint='say why, for the history: `--force --reason "..."`',
        )

    def plan() -> PointerMove:
        move = plan_move(project, version.adapter, version.number, action="promote", reason=reason)
        if move.moved:
            require_sound(project, version, base)
            why = _require_allowed(project, version, force=force, reason=reason)
            move = replace(move, reason=why)
        return move

    if dry_run:
        return plan()
    with hold_pointer(project, version.adapter, wait_s=wait_s):
        # The version that the gate compares with must still be active when the link moves.
        return move_pointer(project, version, action="promote", reason=plan().reason)


def require_sound(project: Project, version: AdapterVersion, base: LocalBase | None) -> None:
    """Raise DamagedVersion with everything that `verify_version` finds wrong."""
    here = load_version(project, version.adapter, version.number)
    if problems := verify_version(project, here, base):
        raise DamagedVersion(
            f"{here.name} does not pass `models adapters verify`",
            where=project.show(here.path),
            problems=problems,
        )


def _require_allowed(
    project: Project, version: AdapterVersion, *, force: bool, reason: str | None
) -> str:
    """Why the version may become active, for the history. Raises GateBreached when it may not."""
    decision = apply_gate(project, version)
    if decision.allowed:
        return reason or decision.reason
    if force:
        return f"{reason} (forced, although {decision.reason})"
    forcing = 'to promote it nevertheless, say why: `--force --reason "..."`'
    if figures_of(project, version)[0] is None:
        measuring = f"`models evaluate --adapter {version.name} --dataset NAME --record`"
        forcing = f"measure it: {measuring}; {forcing}"
    raise GateBreached(f"{version.name} is not promoted: {decision.reason}", hint=forcing)


class PromotionDecision(NamedTuple):
    """Whether a version may become active, and the numbers that say so."""

    allowed: bool
    reason: str


def decide_promotion(new: Evaluation | None, active: Evaluation | None = None) -> PromotionDecision:
    """Allow a version that beats its base with confidence, and is not worse than the active one.

    `active` are the figures of the active version on the same base. They count only when they are
    of the same evaluation rows, or of rows that a continued version was evaluated on as well.
    """
    if new is None:
        return PromotionDecision(False, "it has not been evaluated")
    if new.difference.interval is None:
        return PromotionDecision(
            False, f"{counted(new.rows, 'evaluation row')} cannot tell it from the base: too few"
        )
    figures = (
        f"loss {new.tuned.loss:.3f} against {new.base.loss:.3f} of the base (difference "
        f"{new.difference.mean:+.3f}, 95% interval {new.difference.shown_interval}, "
        f"{counted(new.rows, 'row')})"
    )
    if not new.difference.interval[1] < 0:
        return PromotionDecision(
            False, f"it is not better than the base with confidence: {figures}"
        )
    if active and (same := _on_same_rows(new, active)):
        loss, rows = same
        active_loss = active.tuned.loss
        if not loss <= active_loss:
            return PromotionDecision(
                False,
                f"it is worse than the active version: loss {loss:.3f} against {active_loss:.3f} "
                f"on the same {counted(rows, 'row')}",
            )
        figures += (
            f"; on the {counted(rows, 'row')} of the active version {loss:.3f} against "
            f"{active_loss:.3f}"
        )
    return PromotionDecision(True, f"it is better than the base with confidence: {figures}")


def _on_same_rows(new: Evaluation, active: Evaluation) -> tuple[float, int] | None:
    """The new version's loss on the rows of the active one's evaluation, and their number."""
    if active.fingerprint == new.fingerprint:
        return new.tuned.loss, new.rows
    if new.old and active.fingerprint == new.old.fingerprint:
        return new.old.loss, new.old.rows
    return None
