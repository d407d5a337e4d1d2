"""What is drawn is what transformers' logits warpers leave, and rows do not disturb each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from modelyard.inference.sampler import Draws, choose_tokens, restricted
from modelyard.inference.sampling import Sampling


def drawn_with(**settings: Any) -> Sampling:
    return Sampling(max_new_tokens=1, **settings)


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The probabilities that transformers draws from: float64 [v]."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers(torch.empty(1, 0), logits[None].double())[0].softmax(-1)


def ours(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The probabilities that we draw from: float64 [v]."""
    scores, candidates = logits[None] / sampling.temperature, 256
    limits = torch.tensor([sampling.top_k]), torch.tensor([sampling.top_p])
    ids, weights, settled = restricted(scores, *limits, candidates=min(candidates, len(logits)))
    if not settled[0]:
        ids, weights, settled = restricted(scores, *limits, candidates=len(logits))
        assert settled[0]
    whole = torch.zeros(len(logits), dtype=torch.float64).scatter(0, ids[0], weights[0])
    return whole / whole.sum()


@pytest.mark.parametrize("rounded", [False, True], ids=["float32", "bf16 values"])
@pytest.mark.parametrize(("spread", "vocabulary"), [(0.3, 3000), (3.0, 3000), (8.0, 200)])
def test_top_k_and_top_p_leave_what_transformers_leaves(
    spread: float, vocabulary: int, rounded: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    for top_k in (0, 1, 2, 40, 199, 1000):
        for top_p in (0.01, 0.5, 0.9, 0.999, 1.0):
            for temperature in (0.1, 1.0, 1.7):
                logits = torch.randn(vocabulary, generator=generator) * spread
                if rounded:  # then many are equal
                    logits = logits.bfloat16().float()
                sampling = drawn_with(temperature=temperature, top_k=top_k, top_p=top_p)
                expected, found = warped(logits, sampling), ours(logits, sampling)
                if rounded:  # which of equal ones at the edge of top-p remain is left to a sort
                    expected, found = expected.sort()[0], found.sort()[0]
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_equal_scores_at_the_kth_place_are_all_kept() -> None:
    logits = torch.tensor([0.0, 2.0, 1.0, 1.0, 1.0, -1.0])
    kept = ours(logits, drawn_with(temperature=1, top_k=2)).nonzero().flatten()
    assert kept.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "sampling",
    [
        drawn_with(temperature=0.8, seed=3),
        drawn_with(temperature=1.2, top_k=5, seed=3),
        drawn_with(temperature=1.0, top_p=0.7, seed=3),
        drawn_with(temperature=2.0, top_k=20, top_p=0.8, seed=3),
    ],
    ids=["all", "top-k", "top-p", "both"],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(sampling: Sampling) -> None:
    logits = torch.randn(300, generator=torch.Generator().manual_seed(5)) * 2
    draws, count = Draws(sampling), 20_000
    drawn = Counter(
        token
        for _ in range(count // 500)
        for token in choose_tokens(logits.expand(500, -1), [draws] * 500)
    )
    expected = warped(logits, sampling)
    for token, share in enumerate(expected.tolist()):
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(drawn[token] - count * share) <= 4.5 * deviation + 3


def test_a_row_draws_the_same_whatever_is_beside_it() -> None:
    generator = torch.Generator().manual_seed(2)
    settings = [
        drawn_with(temperature=0.9, top_p=0.95, seed=11),
        drawn_with(),
        drawn_with(temperature=1.1, top_k=400, seed=12),
        drawn_with(temperature=1.0, seed=13),
        drawn_with(temperature=0.2, top_k=3, top_p=0.3, seed=14),
    ]
    steps = torch.randn(40, len(settings), 2000, generator=generator) * 4
    together = [Draws(each) for each in settings]
    mixed = [choose_tokens(step, together) for step in steps]
    for row, sampling in enumerate(settings):
        alone = Draws(sampling)
        assert [answer[row] for answer in mixed] == [
            choose_tokens(step[row : row + 1], [alone])[0] for step in steps
        ]


def test_equal_seeds_draw_equally_and_others_do_not() -> None:
    logits = torch.zeros(1, 1000)

    def drawn(seed: int) -> list[int | None]:
        draws = Draws(drawn_with(temperature=1.0, seed=seed))
        return [choose_tokens(logits, [draws])[0] for _ in range(8)]

    before = torch.get_rng_state()
    assert drawn(4) == drawn(4) != drawn(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_logits_that_are_not_numbers_give_no_token_and_leave_other_rows_alone() -> None:
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    logits[1, 7], logits[3, 0], logits[4] = torch.nan, torch.inf, -torch.inf
    sampling = drawn_with(temperature=1.0, top_p=0.9, seed=1)
    for setting in (drawn_with(), sampling, replace(sampling, top_p=1.0)):
        tokens = choose_tokens(logits, [Draws(setting) for _ in range(5)])
        assert [token is None for token in tokens] == [False, True, False, True, True]


def test_more_candidates_than_there_are_tokens_are_all_of_them() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(3))
    chosen = [
        choose_tokens(logits, [Draws(drawn_with(temperature=1.0, top_k=top_k, seed=7))])
        for top_k in (0, 50, 2**63)
    ]
    assert chosen[0] == chosen[1] == chosen[2]
