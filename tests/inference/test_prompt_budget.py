"""The chunks of a prompt keep the gaps between tokens short, on machines of any speed."""

from __future__ import annotations

import random
from statistics import median

import pytest

from modelyard.inference.prompt_budget import PromptBudget, share_out


class Machine:
    """How long a step takes: so much for itself, each decoding row, and each prompt token."""

    def __init__(self, step_s: float, row_s: float, token_s: float, attention_s: float) -> None:
        self.parts = step_s, row_s, token_s, attention_s
        self.noise = random.Random(1)

    def seconds(self, rows: int, tokens: int, before: int) -> float:
        step, row, token, attention = self.parts
        # Products of few rows cost little more than reading the weights.
        products = max(step, token * (rows + tokens))
        attended = attention * tokens * (before + tokens / 2)
        return (products + row * rows + attended) * self.noise.uniform(0.95, 1.08)


def join(machine: Machine, rows: int, length: int, budget: PromptBudget) -> tuple[float, float]:
    """A prompt that joins: the longest step, and the time to its first token."""
    longest = total = 0.0
    before = 0
    while before < length:
        tokens = min(budget.tokens(rows), length - before)
        seconds = machine.seconds(rows, tokens, before)
        budget.record(rows, tokens, seconds)
        before += tokens
        total += seconds
        longest = max(longest, seconds)
    return longest, total


MACHINES = {
    "few cores": Machine(0.020, 0.0005, 0.0004, 1e-7),
    "many cores": Machine(0.015, 0.0002, 0.00004, 1e-8),
    "a GPU": Machine(0.008, 0.00002, 0.000003, 1e-10),
    "slow attention": Machine(0.030, 0.001, 0.0003, 1.5e-7),
}


@pytest.mark.parametrize("rows", [1, 8, 30])
@pytest.mark.parametrize("name", MACHINES)
def test_a_long_prompt_keeps_gaps_short_and_is_not_slow_itself(name: str, rows: int) -> None:
    machine = MACHINES[name]
    budget = PromptBudget(most_tokens=2048, gap_ratio=2.0)
    decoding_s = median(machine.seconds(rows, 0, 0) for _ in range(50))
    join(machine, rows, 1024, budget)  # at the first one it knows nothing
    for _ in range(5):
        for _ in range(20):
            budget.record(rows, 0, machine.seconds(rows, 0, 0))
        longest, total = join(machine, rows, 1024, budget)
        alone = machine.seconds(0, 1024, 0)
        assert longest <= 2.5 * decoding_s
        assert total <= 2.5 * alone + 2 * decoding_s


def test_prompts_that_never_cease_leave_a_step_without_them_now_and_then() -> None:
    machine = MACHINES["few cores"]
    budget = PromptBudget(most_tokens=2048, gap_ratio=2.0)
    chosen = []
    for _ in range(1000):
        chosen.append(budget.tokens(8))
        budget.record(8, chosen[-1], machine.seconds(8, chosen[-1], 100))
    assert 10 <= chosen.count(0) <= 20
    assert max(machine.seconds(8, tokens, 100) for tokens in chosen[20:]) <= 0.03 * 2.7


def test_without_running_answers_or_without_a_bound_a_step_takes_what_it_may() -> None:
    assert PromptBudget(most_tokens=500, gap_ratio=2.0).tokens(0) == 500
    assert PromptBudget(most_tokens=500, gap_ratio=None).tokens(8) == 500


def test_some_of_a_prompt_is_computed_however_slow_its_tokens_are() -> None:
    budget = PromptBudget(most_tokens=500, gap_ratio=2.0)
    budget.record(4, 0, 0.01)
    for _ in range(20):
        budget.record(4, budget.tokens(4), 9.0)
    assert budget.tokens(4) == 16


def test_half_of_a_budget_is_for_the_first_prompt_and_the_rest_for_the_shortest() -> None:
    assert share_out(100, [400]) == [100]
    assert share_out(100, [400, 300, 30]) == [50, 20, 30]
    assert share_out(100, [10, 300, 30]) == [10, 60, 30]
    assert share_out(100, [400, 10, 30]) == [60, 10, 30]
    assert share_out(1, [400, 10]) == [1, 0]
    assert share_out(0, [400, 10]) == [0, 0]
    assert share_out(100, []) == []
