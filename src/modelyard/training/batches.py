"""Which rows each step trains on: a plan made before training, from the seed alone.

A step is `rows_per_step` rows, split into batches of at most `tokens_per_batch` tokens. Rows are
laid end to end, so short rows make full matrices and nothing is spent on padding. Because the plan
does not depend on what happened so far, a resumed run continues exactly where it was.
Does not know models; numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import MOST_STEPS, ScheduleSettings
from modelyard.core.errors import InvalidInput
from modelyard.training.schedule import ChosenSchedule

EVALUATION_TOKENS = 2048
"""Tokens of a batch of an evaluation between steps."""

Batch = list[int]
"""Indices of the rows that are in memory together."""
Step = list[Batch]
"""The batches of one optimizer step."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Every step of a run, in order."""

    steps: tuple[Step, ...]
    steps_per_epoch: int

    @property
    def epochs(self) -> float:
        return len(self.steps) / self.steps_per_epoch

    def warmup_steps(self, schedule: ScheduleSettings) -> int:
        """Steps over which the learning rate rises; it is 0 in the first of them."""
        return round(schedule.warmup_share * len(self.steps))


def plan_steps(
    rows: Sequence[TokenRow],
    schedule: ScheduleSettings,
    chosen: ChosenSchedule,
    *,
    packing: bool,
    tokens_per_batch: int,
    seed: int,
) -> StepPlan:
    """The steps of `chosen.epochs` passes over `rows`, each epoch in an order of its own.

    Without `packing`, each row is a batch of its own. Raises InvalidInput for too many steps.
    """
    lengths = [len(row.input_ids) for row in rows]
    steps_per_epoch = math.ceil(len(rows) / chosen.rows_per_step)
    wanted = schedule.max_steps or max(1, round(chosen.epochs * steps_per_epoch))
    if wanted > MOST_STEPS:
        raise InvalidInput(
            f"makes {wanted:,} steps of {len(rows):,} rows, and a run has up to {MOST_STEPS:,}",
            where="schedule.epochs",
            hint="train fewer epochs, or set a larger schedule.rows_per_step",
        )
    orders = (_epoch_order(len(rows), seed, epoch, shuffle=schedule.shuffle) for epoch in count())
    sliced = (
        order[start : start + chosen.rows_per_step]
        for order in orders
        for start in range(0, len(order), chosen.rows_per_step)
    )
    steps = tuple(
        split_by_tokens(step, lengths, tokens_per_batch) if packing else [[row] for row in step]
        for step in islice(sliced, wanted)
    )
    return StepPlan(steps, steps_per_epoch)


def _epoch_order(count: int, seed: int, epoch: int, *, shuffle: bool) -> list[int]:
    if not shuffle:
        return list(range(count))
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(count)]


def split_by_tokens(rows: Sequence[int], lengths: Sequence[int], limit: int) -> list[Batch]:
    """Rows into as few batches of at most `limit` tokens as first-fit-decreasing finds.

    A row longer than the limit is a batch of its own. Rows of a step commute, so their order inside
    it is free. Source: Johnson 1973, Near-optimal bin packing algorithms.
    """
    batches: list[Batch] = []
    free: list[int] = []
    for row in sorted(rows, key=lambda index: -lengths[index]):
        fitting = next((spot for spot, left in enumerate(free) if lengths[row] <= left), None)
        if fitting is None:
            batches.append([row])
            free.append(limit - lengths[row])
        else:
            batches[fitting].append(row)
            free[fitting] -= lengths[row]
    return batches


def place_tokens(rows: Sequence[TokenRow], *, share: bool) -> list[npt.NDArray[np.int64]]:
    """For each row, the place of each of its tokens in the packed batch.

    With `share`, tokens that follow the same beginning have one place: under causal attention their
    hidden states are the same in every row, so the system prompt that most rows open with is
    computed once a batch, exactly. Without it, rows lie one after the other.
    """
    places: list[npt.NDArray[np.int64]] = []
    known: dict[tuple[int, int], int] = {}
    count = 0
    for row in rows:
        here: list[int] = []
        before = -1
        for token in row.input_ids.tolist():
            place = known.get((before, token)) if share else None
            if place is None:
                place, count = count, count + 1
                known[before, token] = place
            here.append(place)
            before = place
        places.append(np.array(here, dtype=np.int64))
    return places


def count_places(rows: Sequence[TokenRow], *, share: bool) -> int:
    """How many tokens a packed batch of these rows computes."""
    return 1 + max(int(places[-1]) for places in place_tokens(rows, share=share))
