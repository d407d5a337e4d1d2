"""Rows are scored and their answers go on from there: each as if it were computed alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from toy_decoder import (
    END,
    TOKENIZER,
    VOCABULARY,
    ToyDecoder,
    ToyRows,
    ToySlots,
    answer_alone,
    toy_adapter,
    toy_logits,
)

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.core.errors import ModelyardError
from modelyard.inference.answering import Start
from modelyard.inference.engine import Engine
from modelyard.inference.generation import Request
from modelyard.inference.interfaces import LoadedAdapter
from modelyard.inference.losses import RowLoss, ScoredRow
from modelyard.inference.sampling import Sampling


def row_of(prompt: list[int], answer: list[int]) -> TokenRow:
    ids = np.array([*prompt, *answer], dtype=np.int32)
    return TokenRow(ids, np.arange(len(ids)) >= len(prompt), "row")


def loss_alone(row: TokenRow, adapter: LoadedAdapter | None) -> float:
    digest = adapter.digest if adapter else None
    positions = [(token, digest) for token in row.input_ids.tolist()]
    total = 0.0
    for place in np.flatnonzero(row.trained).tolist():
        logits = toy_logits(tuple(positions[:place]))
        total -= float(logits.log_softmax(0)[row.input_ids[place]])
    return total


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shared", [0, 12])
def test_losses_and_answers_are_those_of_each_row_alone(seed: int, shared: int) -> None:
    chosen = random.Random(seed)
    decoder = ToyDecoder(
        ToyRows(room=chosen.choice([90, 300, 100_000])), ToySlots(chosen.choice([1, 4]))
    )
    engine = Engine(decoder, TOKENIZER)
    beginning = [chosen.randrange(1, VOCABULARY) for _ in range(shared)]
    rows, requests = [], []
    for number in range(60):
        adapter = toy_adapter(chosen.choice("ab")) if chosen.random() < 0.6 else None
        prompt = [*beginning, *(chosen.randrange(1, VOCABULARY) for _ in range(number % 9 + 1))]
        sampling = Sampling(max_new_tokens=chosen.randint(1, 12))
        answer = [*answer_alone(prompt, adapter, sampling), END][: chosen.randint(1, 12)]
        answer += [chosen.randrange(1, VOCABULARY) for _ in range(chosen.choice([0, 0, 3]))]
        rows.append(ScoredRow(row_of(prompt, answer), adapter, len(prompt) + 12))
        requests.append(
            Request(prompt=tuple(prompt), adapter=adapter, tokenizer=TOKENIZER,
                    sampling=sampling, use_prefix_cache=False)
        )  # fmt: skip
    wants = [chosen.random() < 0.7 for _ in rows]

    def wanted(number: int, loss: RowLoss) -> Start | None:
        begins = loss.greedy_beginning(rows[number].row, len(requests[number].prompt))
        return Start(requests[number], tuple(begins)) if wants[number] else None

    losses, answers = engine.score_and_answer(rows, wanted)
    for number, (scored, request) in enumerate(zip(rows, requests, strict=True)):
        assert losses[number].total == pytest.approx(loss_alone(scored.row, scored.adapter))
        if wants[number]:
            alone = answer_alone(request.prompt, request.adapter, request.sampling)
            assert answers.pop(number).tokens == alone
    assert not answers
    assert decoder.in_use == 0
    assert not engine.scheduler.step()


def test_what_rows_of_a_model_begin_with_is_computed_once_for_each() -> None:
    decoder = ToyDecoder()
    beginning = list(range(1, 21))
    rows = [
        ScoredRow(row_of([*beginning, number], [3, 4]), toy_adapter("a") if number % 2 else None)
        for number in range(30, 36)
    ]
    Engine(decoder, TOKENIZER).score_and_answer(rows, lambda number, loss: None)
    computed = [segment for step in decoder.steps for segment in step]
    assert sum(len(segment.tokens) for segment in computed) == 2 * 20 + 6 * 2
    assert decoder.in_use == 0


@pytest.mark.parametrize(
    ("row", "start", "likeliest", "wanted"),
    [
        (row_of([1, 2], [3, 4, END]), 2, [3, 4, END], [3, 4, END]),
        (row_of([1, 2], [3, 4, END]), 2, [3, 9, END], [3, 9]),
        (row_of([1, 2], [3, 4, END]), 2, [7, 4, END], [7]),
        # The first answer of two is trained too.
        (row_of([1], [3, 4, END]), 3, [9, 9, END], [END]),
        # Nothing is known of what comes first.
        (row_of([1, 2], [3]), 1, [3], []),
    ],
)
def test_the_greedy_beginning_ends_with_the_first_token_that_is_not_the_likeliest(
    row: TokenRow, start: int, likeliest: list[int], wanted: list[int]
) -> None:
    assert RowLoss(1.0, np.array(likeliest)).greedy_beginning(row, start) == wanted


def test_a_decoder_that_fails_gives_every_row_back() -> None:
    decoder = ToyDecoder()
    engine = Engine(decoder, TOKENIZER)
    rows = [ScoredRow(row_of([1, 2, number], [3, 4]), None, 20) for number in range(5, 15)]

    def wanted(number: int, loss: RowLoss) -> Start:
        prompt = tuple(rows[number].row.input_ids[:3].tolist())
        sampling = Sampling(max_new_tokens=10)
        return Start(Request(prompt=prompt, tokenizer=TOKENIZER, sampling=sampling), ())

    def fail_later(segments: object) -> None:
        if len(decoder.steps) == 3:
            raise ModelyardError("no memory")

    decoder.on_step = fail_later
    with pytest.raises(ModelyardError, match="no memory"):
        engine.score_and_answer(rows, wanted)
    assert decoder.in_use == 0
