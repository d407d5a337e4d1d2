from __future__ import annotations

import numpy as np
import pytest

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import ScheduleSettings
from modelyard.core.errors import InvalidInput
from modelyard.training import batches
from modelyard.training.batches import plan_steps, split_by_tokens
from modelyard.training.schedule import ChosenSchedule


def numbers(epochs: float = 1, rows_per_step: int = 16) -> ChosenSchedule:
    return ChosenSchedule(epochs=epochs, rows_per_step=rows_per_step, learning_rate=1e-3)


def rows_of(*lengths: int) -> list[TokenRow]:
    return [
        TokenRow(np.zeros(length, np.int32), np.ones(length, np.bool_), f"r:{length}")
        for length in lengths
    ]


def test_each_epoch_sees_every_row_once_in_an_order_of_its_own() -> None:
    rows = rows_of(*range(5, 25))
    chosen = numbers(epochs=2, rows_per_step=6)
    plan = plan_steps(rows, ScheduleSettings(), chosen, packing=True, tokens_per_batch=40, seed=1)
    assert plan.steps_per_epoch == 4
    epochs = [
        [row for step in plan.steps[start : start + 4] for batch in step for row in batch]
        for start in (0, 4)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(20))
    assert epochs[0] != epochs[1]


def test_the_same_seed_gives_the_same_plan() -> None:
    rows, chosen = rows_of(*range(5, 25)), numbers(epochs=3)
    plans = [
        plan_steps(rows, ScheduleSettings(), chosen, packing=True, tokens_per_batch=64, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_no_batch_is_over_the_limit_unless_one_row_alone_is() -> None:
    lengths = [90, 10, 20, 30, 40, 5]
    batches = split_by_tokens(range(6), lengths, 60)
    assert sorted(row for batch in batches for row in batch) == list(range(6))
    assert [0] in batches
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[row] for row in batch) <= 60


def test_without_packing_each_row_is_a_batch() -> None:
    schedule, chosen = ScheduleSettings(max_steps=1, shuffle=False), numbers(rows_per_step=3)
    rows = rows_of(4, 5, 6)
    plan = plan_steps(rows, schedule, chosen, packing=False, tokens_per_batch=99, seed=0)
    assert plan.steps == ([[0], [1], [2]],)


def test_max_steps_may_be_less_or_more_than_an_epoch() -> None:
    for wanted in (2, 11):
        schedule, chosen = ScheduleSettings(max_steps=wanted), numbers(rows_per_step=4)
        rows = rows_of(*[5] * 16)
        plan = plan_steps(rows, schedule, chosen, packing=True, tokens_per_batch=99, seed=0)
        assert len(plan.steps) == wanted


@pytest.mark.parametrize("packing", [True, False])
def test_only_the_steps_that_are_taken_are_built(
    monkeypatch: pytest.MonkeyPatch, packing: bool
) -> None:
    built = []
    split = batches.split_by_tokens
    monkeypatch.setattr(
        batches, "split_by_tokens", lambda *given: built.append(given) or split(*given)
    )
    schedule, chosen = ScheduleSettings(max_steps=3), numbers(rows_per_step=1)
    rows = rows_of(*[5] * 100)
    plan = plan_steps(rows, schedule, chosen, packing=packing, tokens_per_batch=9, seed=0)
    assert len(plan.steps) == 3
    assert len(built) == (3 if packing else 0)


def test_more_steps_than_a_plan_can_hold_are_refused() -> None:
    rows, chosen = rows_of(*[5] * 2_000), numbers(epochs=1000, rows_per_step=1)
    with pytest.raises(InvalidInput, match=r"makes 2,000,000 steps of 2,000 rows") as raised:
        plan_steps(rows, ScheduleSettings(), chosen, packing=True, tokens_per_batch=9, seed=0)
    assert raised.value.where == "schedule.epochs"
