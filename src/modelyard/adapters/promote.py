"""Promotion: making a version active, when it is whole and its figures allow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelyard.adapters.manifest import DamagedVersion, require_intact
from modelyard.adapters.pointer import PointerMove, hold_pointer, plan_move
from modelyard.adapters.training_info import load_evaluation
from modelyard.adapters.verify import verify_version
from modelyard.adapters.versions import AdapterVersion, active_number, load_version
from modelyard.core.errors import GateBreached, InvalidInput
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase


def judge_promotion(project: Project, version: AdapterVersion) -> PromotionDecision:
    """Apply the gate to a version's recorded figures and those of the active version."""
    number = active_number(project, version.adapter)
    active = None
    if number is not None and number != version.number:
        try:
            current = load_version(project, version.adapter, number)
            if current.manifest.base.fingerprint == version.manifest.base.fingerprint:
                active = load_evaluation(current.path)
        except DamagedVersion:
            pass  # what is broken cannot stand in the way of what is whole
    return decide_promotion(load_evaluation(version.path), active)


def promote_version(
    project: Project, version: AdapterVersion, *, reason: str | None = None, wait_s: float = 0.0
) -> PointerMove:
    """Make a version active: one rename and one row of history. Does not apply the gate.

    Raises DamagedVersion when its files are not as they were registered.
    """
    with hold_pointer(project, version.adapter, wait_s=wait_s) as pointer:
        here = load_version(project, version.adapter, version.number)
        require_intact(here.path, here.manifest)
        return pointer.move(here, action="promote", reason=reason)


def promote_judged(
    project: Project,
    version: AdapterVersion,
    *,
    base: LocalBase | None,
    force: bool = False,
    reason: str | None = None,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> PointerMove:
    """Make a version active if it is whole and the gate allows it; the active version stays.

    `force`, with a reason, overrides the gate and nothing else. Without `base` its modules are not
    compared. Raises GateBreached with the numbers, DamagedVersion when the version is not whole.
    """
    if force and not (reason and reason.strip()):
        raise InvalidInput(
            "--force needs a reason",
            hint='say why, for the history: `--force --reason "..."`',
        )

    def plan() -> PointerMove:
        move = plan_move(project, version.adapter, version.number, action="promote", reason=reason)
        if not move.moved:
            return move
        require_sound(project, version, base)
        why = _require_allowed(project, version, force=force, reason=reason)
        return plan_move(project, version.adapter, version.number, action="promote", reason=why)

    if dry_run:
        return plan()
    with hold_pointer(project, version.adapter, wait_s=wait_s) as pointer:
        # What the gate compares with must still be active when the link moves.
        return pointer.move(version, action="promote", reason=plan().reason)


def require_sound(project: Project, version: AdapterVersion, base: LocalBase | None) -> None:
    """Return if `verify_version` finds nothing wrong; without `base`, what needs it is not asked.

    Raises DamagedVersion with everything that is wrong.
    """
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
    decision = judge_promotion(project, version)
    if decision.allowed:
        return reason or decision.reason
    if force:
        return f"{reason} (forced, although {decision.reason})"
    raise GateBreached(
        f"{version.name} is not promoted: {decision.reason}",
        hint='to use it all the same, say why: `--force --reason "..."`',
    )


class PromotionDecision(NamedTuple):
    """Whether a version may become active, and the numbers that say so."""

    allowed: bool
    reason: str


def decide_promotion(
    new: Mapping[str, Any], active: Mapping[str, Any] | None = None
) -> PromotionDecision:
    """Allow a version that beats its base with confidence, and is not worse than the active one.

    `active` are the figures of the active version on the same base; they count only when they come
    from the same evaluation rows, or from rows that a continued version was judged on as well.
    """
    if not new:
        return PromotionDecision(False, "it has not been evaluated")
    difference = new["difference"]
    loss, base_loss = new["tuned"]["loss"], new["base"]["loss"]
    if difference["high"] is None:
        return PromotionDecision(
            False, f"{new['rows']} evaluation rows are too few to tell it from the base"
        )
    figures = (
        f"loss {loss:.3f} against {base_loss:.3f} of the base (difference "
        f"{difference['mean']:+.3f}, 95% interval {difference['low']:+.3f} to "
        f"{difference['high']:+.3f}, {new['rows']} rows)"
    )
    if not difference["high"] < 0:
        return PromotionDecision(
            False, f"it is not better than the base with confidence: {figures}"
        )
    if active and (same := _on_same_rows(new, active)):
        loss, rows = same
        active_loss = active["tuned"]["loss"]
        if not loss <= active_loss:
            return PromotionDecision(
                False,
                f"it is worse than the active version: loss {loss:.3f} against {active_loss:.3f} "
                f"on the same {rows} rows",
            )
        figures += (
            f"; on the {rows} rows of the active version {loss:.3f} against {active_loss:.3f}"
        )
    return PromotionDecision(True, f"it is better than the base with confidence: {figures}")


def _on_same_rows(new: Mapping[str, Any], active: Mapping[str, Any]) -> tuple[float, int] | None:
    """The new version's loss on the rows that the active one was judged on, and their number."""
    if active["fingerprint"] == new["fingerprint"]:
        return new["tuned"]["loss"], new["rows"]
    old = new.get("old")
    if old and active["fingerprint"] == old["fingerprint"]:
        return old["loss"], old["rows"]
    return None
