"""What a model says of tokens that are given: the logits before each trained one, and its loss.

Rows of several models are computed together. What all rows of a model begin with, such as a system
prompt, is computed once. Of each row the tokens before its first answer get no logits: the output
layer is a fifth of a small base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.inference.interfaces import KvPiece, LoadedAdapter, Segment, TokenDecoder
from modelyard.inference.sizes import (
    LEAST_SHARED,
    LOGITS_TOGETHER,
    LOSSES_TOGETHER,
    TOKENS_TOGETHER,
    common_length,
)


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row, and who reads it."""

    row: TokenRow
    adapter: LoadedAdapter | None
    """None for the bare base."""
    room: int = 0
    """Positions to reserve, where an answer may become longer than the row."""

    @property
    def first(self) -> int:
        """The place of the first trained token; nothing precedes the one at 0."""
        return 1 + int(np.argmax(self.row.trained[1:]))

    @property
    def length(self) -> int:
        return len(self.row.input_ids)

    @property
    def digest(self) -> str | None:
        """Of its adapter; None for the bare base."""
        return self.adapter.digest if self.adapter else None


@dataclass(frozen=True, slots=True, eq=False)
class RowLogits:
    """The logits before n trained tokens of one row: all of them, or a piece."""

    number: int
    """Which of the rows that were given."""
    logits: Tensor
    """float32 [n, v]."""
    labels: Tensor
    """int64 [n]: the trained tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class RowLoss:
    """The loss of a row's trained tokens."""

    total: float
    """Sum of their negative log-likelihoods, in nats."""
    likeliest: npt.NDArray[np.int64]
    """int64 [n]: the likeliest token at the place of each of them."""

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.likeliest)

    @property
    def mean(self) -> float:
        return self.total / self.tokens

    def greedy_beginning(self, row: TokenRow, start: int) -> list[int]:
        """What greedy decoding gives from a place of the row on, as far as the logits show it.

        The row's own tokens, up to the first that is not the likeliest, and the likeliest in its
        place: a draft and how much of it is accepted, as in Leviathan et al., Fast Inference from
        Transformers via Speculative Decoding, 2023. Nothing where the token at `start` has no loss.
        """
        places = 1 + np.flatnonzero(row.trained[1:])
        likeliest = dict(zip(places.tolist(), self.likeliest.tolist(), strict=True))
        found: list[int] = []
        for place in range(start, len(row.input_ids)):
            if (token := likeliest.get(place)) is None:
                break
            found.append(token)
            if token != row.input_ids[place]:
                break
        return found


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a row is in a decoder: its row of keys and values, and its adapter's slot in use."""

    row: int
    slot: int | None


class Follower(Protocol):
    """Goes on from rows that were scored, beside the scoring of others."""

    def take(self, number: int, loss: RowLoss, spot: Spot) -> bool:
        """Whether it takes over the spot of a scored row, and gives it back when it is done."""

    def make_room(self) -> bool:
        """Compute something of what was taken over; False when nothing was left of it."""


def row_losses(
    decoder: TokenDecoder, rows: Sequence[ScoredRow], follower: Follower | None = None
) -> list[RowLoss]:
    """The loss of each row's trained tokens, in the order given; each row has some."""
    totals = [0.0] * len(rows)
    likeliest: list[list[npt.NDArray[np.int64]]] = [[] for _ in rows]
    found: dict[int, RowLoss] = {}

    def take(number: int, spot: Spot) -> bool:
        found[number] = RowLoss(totals[number], np.concatenate(likeliest[number]))
        return follower is not None and follower.take(number, found[number], spot)

    scoring = _Scoring(decoder, rows, take, follower.make_room if follower else lambda: False)
    for piece in scoring.pieces():
        losses = F.cross_entropy(piece.logits, piece.labels, reduction="none")
        totals[piece.number] += float(losses.double().sum())
        likeliest[piece.number].append(piece.logits.argmax(1).cpu().numpy())
        del piece  # or it would live beside the next ones
    return [found[number] for number in range(len(rows))]


def label_logits(decoder: TokenDecoder, rows: Sequence[ScoredRow]) -> Iterator[RowLogits]:
    """The logits before each row's trained tokens, in pieces; the longest rows come first.

    Nothing else may use the decoder's rows and slots meanwhile.
    """
    return _Scoring(decoder, rows, lambda number, spot: False, lambda: False).pieces()


@dataclass(slots=True, eq=False)
class _Scoring:
    """Computes rows in batches."""

    decoder: TokenDecoder
    rows: Sequence[ScoredRow]
    take: Callable[[int, Spot], bool]
    """Is told that all logits of a row were given, and says whether its spot is taken over."""
    make_room: Callable[[], bool]
    """Is called when there is no room for a row; False when there will be none."""

    def pieces(self) -> Iterator[RowLogits]:
        """See `label_logits`."""
        shared = self._shared_beginnings()
        waiting = sorted(range(len(self.rows)), key=lambda at: (self.rows[at].length, -at))
        while waiting:
            batch: dict[int, Spot] = {}
            tokens = 0
            while waiting:
                scored = self.rows[waiting[-1]]
                piece = shared.get(scored.digest)
                own = scored.length - (piece.tokens if piece else 0)
                if batch and tokens + own > TOKENS_TOGETHER:
                    break
                spot = self._place(scored)
                if spot is None:
                    if batch:
                        break
                    if not self.make_room():
                        raise RuntimeError("the decoder has no room for one row, and holds none")
                    continue
                batch[waiting.pop()] = spot
                tokens += own
                if piece:
                    self.decoder.kv.write(spot.row, 0, piece)
            try:
                yield from self._compute(batch, shared)
                for number in list(batch):
                    if self.take(number, batch[number]):
                        del batch[number]
            finally:
                for spot in batch.values():
                    self._leave(spot)

    def _shared_beginnings(self) -> dict[str | None, KvPiece]:
        """By adapter: the keys and values of what all its rows begin with before their answers."""
        groups: dict[str | None, list[ScoredRow]] = {}
        for scored in self.rows:
            groups.setdefault(scored.digest, []).append(scored)
        found = {}
        for digest, members in groups.items():
            length = common_length([each.row.input_ids[: each.first - 1] for each in members])
            if len(members) > 1 and length >= LEAST_SHARED:
                spot = self._place(members[0])
                if spot is None:
                    continue
                ids = members[0].row.input_ids[:length].tolist()
                try:
                    self.decoder.step([Segment(spot.row, ids, 0, spot.slot, "none")])
                    found[digest] = self.decoder.kv.copy(spot.row, 0, length)
                finally:
                    self._leave(spot)
        return found

    def _place(self, scored: ScoredRow) -> Spot | None:
        """A row of the cache and the adapter's slot; None where one of them is not free."""
        row = self.decoder.kv.allocate(max(scored.length, scored.room))
        if row is None:
            return None
        if scored.adapter is None:
            return Spot(row, None)
        slot = None
        try:
            slot = self.decoder.bank.acquire(scored.adapter)
        finally:
            if slot is None:
                self.decoder.kv.release(row)
        return None if slot is None else Spot(row, slot)

    def _leave(self, spot: Spot) -> None:
        self.decoder.kv.release(spot.row)
        if spot.slot is not None:
            self.decoder.bank.release(spot.slot)

    def _compute(
        self, batch: Mapping[int, Spot], shared: Mapping[str | None, KvPiece]
    ) -> Iterator[RowLogits]:
        """What precedes each row's first answer in one step, then the rest, but the last token."""
        prompts = []
        for number, spot in batch.items():
            scored = self.rows[number]
            piece = shared.get(scored.digest)
            start = piece.tokens if piece else 0
            if ids := scored.row.input_ids[start : scored.first - 1].tolist():
                prompts.append(Segment(spot.row, ids, start, spot.slot, "none"))
        if prompts:
            self.decoder.step(prompts)
        done = 0
        while segments := {
            number: segment
            for number, spot in batch.items()
            if (segment := _answer_segment(self.rows[number], spot, done))
        }:
            sizes = [len(segment.tokens) for segment in segments.values()]
            logits = torch.split(self.decoder.step(list(segments.values())), sizes)
            for (number, segment), own in zip(segments.items(), logits, strict=True):
                yield from _pieces(number, self.rows[number].row, segment, own)
            del logits, own  # or they would live beside the next ones
            done += LOGITS_TOGETHER


def _answer_segment(scored: ScoredRow, spot: Spot, done: int) -> Segment | None:
    """The next tokens before trained ones, when so many have been computed; None without any."""
    start = scored.first - 1 + done
    ids = scored.row.input_ids[start : min(start + LOGITS_TOGETHER, scored.length - 1)]
    return Segment(spot.row, ids.tolist(), start, spot.slot, "all") if len(ids) else None


def _pieces(number: int, row: TokenRow, segment: Segment, logits: Tensor) -> Iterator[RowLogits]:
    """Of the logits after each token of a segment, those that are followed by a trained one."""
    for start in range(0, len(logits), LOSSES_TOGETHER):
        some = logits[start : start + LOSSES_TOGETHER]
        after = slice(segment.start + 1 + start, segment.start + 1 + start + len(some))
        wanted = torch.from_numpy(np.flatnonzero(row.trained[after]))
        labels = torch.from_numpy(row.input_ids[after]).long()[wanted]
        if len(labels):
            yield RowLogits(
                number=number,
                logits=some[wanted.to(logits.device)],
                labels=labels.to(logits.device),
            )
