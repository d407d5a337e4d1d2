"""What a model says of tokens that are given: the logits before each trained one, and its loss.

Rows of several models are computed together. Of each row the tokens before its first answer get no
logits: the output layer is a fifth of a small base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.inference.interfaces import LoadedAdapter, Segment, TokenDecoder

_TOKENS_TOGETHER = 1024
_LOGITS_TOGETHER = 512


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row, and who reads it."""

    row: TokenRow
    adapter: LoadedAdapter | None
    """None for the bare base."""

    @property
    def first(self) -> int:
        """The place of the first trained token; nothing precedes the one at 0."""
        return 1 + int(np.argmax(self.row.trained[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class RowLogits:
    """The logits before n trained tokens of one row: all of them, or a piece of a long row's."""

    number: int
    """Which of the rows that were given."""
    logits: Tensor
    """float32 [n, v]."""
    labels: Tensor
    """int64 [n]: the trained tokens."""
    places: Tensor
    """int64 [n]: their places in the row."""


@dataclass(frozen=True, slots=True)
class RowLoss:
    """The loss of a row's trained tokens."""

    total: float
    """Sum of their negative log-likelihoods, in nats."""
    tokens: int
    """How many there are."""
    last_miss: int
    """The place in the row of the last of them that is not the likeliest token; -1 for none."""

    @property
    def mean(self) -> float:
        return self.total / self.tokens


def row_losses(decoder: TokenDecoder, rows: Sequence[ScoredRow]) -> list[RowLoss]:
    """The loss of each row's trained tokens, in the order given; each row has some."""
    totals, counts, last_misses = [0.0] * len(rows), [0] * len(rows), [-1] * len(rows)
    for piece in label_logits(decoder, rows):
        losses = F.cross_entropy(piece.logits, piece.labels, reduction="none")
        totals[piece.number] += float(losses.double().sum())
        counts[piece.number] += len(piece.labels)
        missed = piece.places[(piece.logits.argmax(1) != piece.labels).cpu()]
        if len(missed):
            last_misses[piece.number] = int(missed[-1])
    return [RowLoss(*found) for found in zip(totals, counts, last_misses, strict=True)]


def label_logits(decoder: TokenDecoder, rows: Sequence[ScoredRow]) -> Iterator[RowLogits]:
    """The logits before each row's trained tokens, in pieces; the longest rows come first.

    Nothing else may use the decoder's rows and slots meanwhile.
    """
    waiting = sorted(range(len(rows)), key=lambda number: -len(rows[number].row.input_ids))
    while waiting:
        placed: list[tuple[int, _Spot]] = []
        tokens = 0
        while waiting and (not placed or tokens + _length(rows[waiting[0]]) <= _TOKENS_TOGETHER):
            spot = _place(decoder, rows[waiting[0]])
            if spot is None:
                break
            tokens += _length(rows[waiting[0]])
            placed.append((waiting.pop(0), spot))
        if not placed:
            raise RuntimeError("the decoder has no room for one row, and holds none")
        try:
            yield from _compute(decoder, [(number, rows[number], spot) for number, spot in placed])
        finally:
            for _, spot in placed:
                _leave(decoder, spot)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a row is computed."""

    row: int
    slot: int | None


def _length(scored: ScoredRow) -> int:
    return len(scored.row.input_ids)


def _place(decoder: TokenDecoder, scored: ScoredRow) -> _Spot | None:
    """A row of the cache and the adapter's slot; None where one of them is not free."""
    row = decoder.kv.allocate(_length(scored))
    if row is None:
        return None
    if scored.adapter is None:
        return _Spot(row, None)
    slot = None
    try:
        slot = decoder.bank.acquire(scored.adapter)
    finally:
        if slot is None:
            decoder.kv.release(row)
    return None if slot is None else _Spot(row, slot)


def _leave(decoder: TokenDecoder, spot: _Spot) -> None:
    decoder.kv.release(spot.row)
    if spot.slot is not None:
        decoder.bank.release(spot.slot)


def _compute(
    decoder: TokenDecoder, placed: Sequence[tuple[int, ScoredRow, _Spot]]
) -> Iterator[RowLogits]:
    """What precedes each row's first answer in one step, then the rest, but the last token."""
    prompts = [
        Segment(spot.row, scored.row.input_ids[: scored.first - 1].tolist(), 0, spot.slot, "none")
        for _, scored, spot in placed
        if scored.first > 1
    ]
    if prompts:
        decoder.step(prompts)
    done = 0
    while rest := [one for one in placed if one[1].first + done < _length(one[1])]:
        answers = []
        for _, scored, spot in rest:
            start = scored.first - 1 + done
            ids = scored.row.input_ids[start : min(start + _LOGITS_TOGETHER, _length(scored) - 1)]
            answers.append(Segment(spot.row, ids.tolist(), start, spot.slot, "all"))
        sizes = [len(segment.tokens) for segment in answers]
        logits = torch.split(decoder.step(answers), sizes)
        for (number, scored, _), segment, own in zip(rest, answers, logits, strict=True):
            after = slice(segment.start + 1, segment.start + 1 + len(segment.tokens))
            wanted = torch.from_numpy(np.flatnonzero(scored.row.trained[after]))
            labels = torch.from_numpy(scored.row.input_ids[after]).long()[wanted]
            yield RowLogits(
                number=number,
                logits=own[wanted.to(own.device)],
                labels=labels.to(own.device),
                places=wanted + segment.start + 1,
            )
        done += _LOGITS_TOGETHER
