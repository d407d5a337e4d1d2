"""How many bytes the evaluation after training takes on a CPU, where the inference engine runs it.

The engine holds the base as it was loaded and once more as it is computed, proves itself on a few
rows against transformers and PEFT, and then computes rows of both models together, in a cache that
takes memory as it is written. Counted from inference/ and evaluation/. Does not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.inference.sizes import (
    ANSWERS_TOGETHER,
    LEAST_SHARED,
    LOGITS_TOGETHER,
    LOSSES_TOGETHER,
    PROVEN_TOKENS,
    TOKENS_TOGETHER,
    common_length,
    row_capacity,
)
from modelyard.training.base_shape import BaseShape

_MODELS = 2  # the base and the base with the adapter
_PROVEN_COPIES = 13
"""Logits of a proven row that exist at a time: of three rows with and without the adapter, and
without it by transformers, and four of the row that is compared."""
_LEAST_RANK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedRows:
    """The most that is computed and kept at once of evaluation rows."""

    tokens: int
    """Tokens of one step."""
    labels: int
    """Places of one step whose logits are asked for."""
    row_labels: int
    """Those of one row whose losses are computed at a time."""
    positions: int
    """Positions of the cache that are written."""


def count_evaluated(rows: Sequence[TokenRow], answered: Sequence[TokenRow]) -> EvaluatedRows:
    """What the losses of `rows`, at least one, and the answers to some of them take."""
    tokens = labels = row_labels = 0
    scored: Counter[int] = Counter()
    shared = common_length([row.input_ids[: _first(row) - 1] for row in rows])
    shared = shared if shared >= LEAST_SHARED else 0
    for group in _groups(rows, shared):
        prompt = sum(_first(row) - 1 - shared for row in group)
        asked = [min(LOGITS_TOGETHER, len(row.input_ids) - _first(row)) for row in group]
        tokens = max(tokens, shared, prompt, sum(asked))
        labels = max(labels, sum(asked))
        row_labels = max(row_labels, min(LOSSES_TOGETHER, max(asked)))
        scored |= Counter(_pool(row) for row in group)
    longest: Counter[int] = Counter()
    for row in rows:
        longest[_pool(row)] = max(longest[_pool(row)], len(row.input_ids))
    going_on = Counter(_pool(row) for row in answered for _ in range(_MODELS))
    positions = sum(
        length * (scored[pool] + min(ANSWERS_TOGETHER, going_on[pool]))
        for pool, length in longest.items()
    )
    return EvaluatedRows(tokens=tokens, labels=labels, row_labels=row_labels, positions=positions)


def _first(row: TokenRow) -> int:
    """The place of the first trained token."""
    return 1 + int(row.trained[1:].argmax())


def _pool(row: TokenRow) -> int:
    """The capacity of its row of the cache: rows of one are used again by others of it."""
    return row_capacity(len(row.input_ids))


def _groups(rows: Sequence[TokenRow], shared: int) -> Iterator[list[TokenRow]]:
    """Rows that are computed together, each once for each model; the longest come first."""
    group: list[TokenRow] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: -len(row.input_ids)):
        for _ in range(_MODELS):
            own = len(row.input_ids) - shared
            if group and tokens + own > TOKENS_TOGETHER:
                yield group
                group, tokens = [], 0
            group.append(row)
            tokens += own
    if group:
        yield group


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounts:
    """Counts what the engine holds of one base with one adapter."""

    shape: BaseShape
    lora: LoraSettings
    rows: EvaluatedRows
    number: int
    """Bytes of a number of the compute type."""

    @property
    def weights(self) -> int:
        """The base as it was loaded, and the layers and the output layer as they are computed."""
        shape = self.shape
        loaded = shape.linear_parameters + shape.embedding_parameters
        packed = shape.linear_parameters + shape.vocabulary * shape.hidden
        return (loaded + packed) * self.number

    @property
    def adapter(self) -> int:
        """A place in a rack in fp32, the adapter in the compute type, and PEFT's with its file."""
        rank = max(_LEAST_RANK, 1 << (self.lora.rank - 1).bit_length())
        shapes = self.shape.linear_shapes
        place = 0
        for names in (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"),
                      ("down_proj",)):  # fmt: skip
            outputs = sum(shapes[name][1] for name in names)
            place += rank * (len(names) * shapes[names[0]][0] + outputs)
        parameters = self.shape.adapter_parameters(self.lora)
        return 4 * self.shape.layers * place + (self.number + 8) * parameters

    @property
    def cache(self) -> int:
        """Keys and values, in fp32."""
        keys = 2 * self.shape.key_heads * self.shape.head_width
        return 4 * self.shape.layers * keys * self.rows.positions

    @property
    def step(self) -> int:
        """The passing tensors of a layer."""
        shape = self.shape
        attended = (shape.heads + 2 * shape.key_heads) * shape.head_width
        widths = 10 * shape.hidden + 12 * shape.intermediate + 6 * attended
        return self.rows.tokens * widths

    @property
    def logits(self) -> int:
        """Those of a step in the compute type and fp32, or in fp32 beside losses of some."""
        rows, converted = self.rows, 4 if self.number == 4 else 6
        places = max(converted * rows.labels, 4 * rows.labels + 8 * rows.row_labels)
        return places * self.shape.vocabulary

    @property
    def proof(self) -> int:
        """Logits of the rows on which the engine proves itself."""
        return 4 * _PROVEN_COPIES * PROVEN_TOKENS * self.shape.vocabulary
