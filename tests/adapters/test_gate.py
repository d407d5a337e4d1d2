from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapter_samples import BETTER
from modelyard.adapters.promote import decide_promotion
from modelyard.records.evaluation import Evaluation, ModelFigures, OldRows, PairedDifference


def figures(*, loss: float = 1.2, **changes: Any) -> Evaluation:
    return replace(BETTER, tuned=ModelFigures(loss=loss), **changes)


def test_a_version_that_beats_its_base_with_confidence_is_allowed() -> None:
    allowed, reason = decide_promotion(BETTER)
    assert allowed
    assert reason == (
        "it is better than the base with confidence: loss 1.200 against 3.100 of the base "
        "(difference -1.900, 95% interval -2.100 to -1.700, 60 rows)"
    )


@pytest.mark.parametrize("high", [0.0, 0.1, float("nan")])
def test_a_version_that_may_be_no_better_than_its_base_is_refused(high: float) -> None:
    unsure = figures(difference=PairedDifference(-0.1, -0.3, high))
    allowed, reason = decide_promotion(unsure)
    assert not allowed
    assert reason.startswith("it is not better than the base with confidence: loss 1.200 against")


def test_too_few_rows_are_no_reason_to_promote() -> None:
    alone = figures(rows=1, difference=PairedDifference(-1.0, None, None))
    assert decide_promotion(alone) == (
        False,
        "1 evaluation row cannot tell it from the base: too few",
    )


def test_a_version_without_figures_is_refused() -> None:
    assert decide_promotion(None) == (False, "it has not been evaluated")


def test_a_version_worse_than_the_active_one_on_the_same_rows_is_refused() -> None:
    allowed, reason = decide_promotion(figures(loss=1.3), active=figures(loss=1.2))
    assert not allowed
    assert reason == (
        "it is worse than the active version: loss 1.300 against 1.200 on the same 60 rows"
    )


def test_a_version_as_good_as_the_active_one_is_allowed() -> None:
    allowed, reason = decide_promotion(BETTER, active=BETTER)
    assert allowed
    assert reason.endswith("on the 60 rows of the active version 1.200 against 1.200")


def test_figures_on_other_rows_are_not_compared() -> None:
    better_elsewhere = figures(loss=0.1, fingerprint="sha256:other")
    assert decide_promotion(BETTER, active=better_elsewhere).allowed
    assert decide_promotion(BETTER, active=None).allowed


def test_a_continued_version_that_forgot_what_the_active_one_knows_is_refused() -> None:
    def continued(old_loss: float) -> Evaluation:
        old = OldRows(rows=60, fingerprint=BETTER.fingerprint, loss=old_loss)
        return figures(fingerprint="sha256:more", old=old)

    decision = decide_promotion(continued(1.5), BETTER)
    assert not decision.allowed
    assert "worse than the active version" in decision.reason
    assert "same 60 rows" in decision.reason
    assert decide_promotion(continued(1.2), BETTER).allowed
