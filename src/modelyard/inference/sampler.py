"""The next token of every row of a batch: its likeliest one, or one drawn from its distribution.

What temperature, top-k and top-p leave is what transformers' logits warpers leave, in their order.
Rows are independent: each draws from a generator of its own, and nothing process-wide is seeded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modelyard.inference.sampling import Sampling

_CANDIDATES = 256
"""How many of the likeliest tokens are looked at first; the whole vocabulary is rarely needed."""


class Draws:
    """The random numbers of one answer: its nth token takes the nth of them."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = None if sampling.is_greedy else torch.Generator()
        if self._generator:
            self._generator.manual_seed(sampling.seed)

    def uniform(self) -> float:
        """The next number in [0, 1)."""
        return float(torch.rand((), dtype=torch.float64, generator=self._generator))


def choose_tokens(logits: Tensor, draws: Sequence[Draws]) -> list[int | None]:
    """The next token of each row; None where the logits are not numbers, as damaged weights give.

    logits: float32 [n, v].  draws: of the n rows, in their order.
    Greedy rows share one argmax. A drawn token is found where the cumulative
    probability, in the order of token ids, exceeds the row's uniform number: a difference of 1e-6
    in a probability changes about one draw in a million.
    """
    best = logits.max(dim=-1)
    chosen: list[int | None] = best.indices.tolist()
    drawn = [row for row, each in enumerate(draws) if not each.sampling.is_greedy]
    if drawn:
        limits = [draws[row].sampling for row in drawn]
        heat = torch.tensor([each.temperature for each in limits], device=logits.device)
        uniform = torch.tensor([draws[row].uniform() for row in drawn], dtype=torch.float64)
        scores = logits[torch.tensor(drawn, device=logits.device)] / heat[:, None]
        tokens = _draw(scores, limits, uniform.to(logits.device))
        for row, token in zip(drawn, tokens.tolist(), strict=True):
            chosen[row] = token
    for row, is_number in enumerate(best.values.isfinite().tolist()):
        if not is_number:
            chosen[row] = None
    return chosen


def _draw(scores: Tensor, limits: Sequence[Sampling], uniform: Tensor) -> Tensor:
    """A token for each row.  scores: [n, v], divided by the temperature.  uniform: float64 [n]."""
    tokens = torch.empty(len(limits), dtype=torch.long, device=scores.device)
    narrow = [row for row, each in enumerate(limits) if each.top_k or each.top_p < 1]
    wide = [row for row, each in enumerate(limits) if not (each.top_k or each.top_p < 1)]
    if wide:
        rows = torch.tensor(wide, device=scores.device)
        tokens[rows] = _pick(scores[rows].softmax(dim=-1).double(), uniform[rows])
    width = min(scores.shape[1], max(_CANDIDATES, *(2 * each.top_k for each in limits)))
    while narrow:
        rows = torch.tensor(narrow, device=scores.device)
        ids, weights, settled = restricted(
            scores[rows],
            torch.tensor(
                [min(limits[row].top_k, scores.shape[1]) for row in narrow], device=scores.device
            ),
            torch.tensor([limits[row].top_p for row in narrow], device=scores.device),
            candidates=width,
        )
        places = _pick(weights, uniform[rows])
        tokens[rows] = ids.gather(1, places[:, None])[:, 0]
        narrow = [row for row, done in zip(narrow, settled.tolist(), strict=True) if not done]
        width = scores.shape[1]
    return tokens


def restricted(
    scores: Tensor, top_k: Tensor, top_p: Tensor, *, candidates: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What top-k and then top-p leave of each row, looked for among its likeliest `candidates`.

    scores: float32 [n, v].  top_k: int [n], 0 for none.  top_p: float [n], 1 for none.
    Returns token ids [n, candidates] in ascending order; their probabilities, float64 [n,
    candidates], 0 for those that are left out, not normalised; and bool [n]: False where more
    candidates are needed to tell.
    Source: TopKLogitsWarper and TopPLogitsWarper of transformers. Equal scores at the kth place
    are all kept. Of equal scores at the edge of top-p the higher ids are; transformers leaves
    that to its sort.
    """
    vocabulary = scores.shape[1]
    limit_k = torch.where(top_k > 0, top_k, vocabulary).clamp(max=vocabulary)[:, None]
    limit_p = torch.where(top_p < 1, top_p.double(), torch.inf)[:, None]
    ids = scores.topk(candidates, sorted=False).indices.sort(dim=-1).values
    ascending, order = scores.gather(1, ids).sort(dim=-1, stable=True)
    kth = ascending.gather(1, (candidates - limit_k).clamp(min=0))
    kept = (ascending >= kth) | (limit_k == vocabulary)
    within_k = ascending.masked_fill(~kept, -torch.inf).double().logsumexp(-1, keepdim=True)
    whole = scores.logsumexp(-1, keepdim=True).double()
    weights = (ascending - torch.where(limit_k < vocabulary, within_k, whole)).exp() * kept
    likelier = weights.flip(-1).cumsum(-1).flip(-1) - weights
    kept &= likelier < limit_p
    kept[:, -1] = True
    least = ascending.masked_fill(~kept, torch.inf).amin(-1)
    reached = (limit_k[:, 0] <= candidates) | (limit_k[:, 0] == vocabulary)
    settled = (least > ascending[:, 0]) & reached | (candidates == vocabulary)
    return ids, torch.zeros_like(weights).scatter(1, order, weights * kept), settled


def _pick(weights: Tensor, uniform: Tensor) -> Tensor:
    """The place in each row where the cumulative weight exceeds `uniform` times their sum."""
    below = weights.cumsum(dim=-1)
    places = torch.searchsorted(below, uniform[:, None] * below[:, -1:], right=True)[:, 0]
    return places.clamp(max=weights.shape[1] - 1)  # for weights that are not numbers
