"""What is counted for a forecast of the evaluation is what the inference engine holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.inference.decoder import Decoder
from modelyard.inference.interfaces import Segment
from modelyard.inference.losses import ScoredRow, label_logits, row_losses
from modelyard.inference.structure import recognise
from modelyard.inference.weights import load_weights
from modelyard.training.base_shape import load_base_shape
from modelyard.training.evaluation_tensors import EngineCounts, EvaluatedRows, count_evaluated
from modelyard.training.live_tensors import BatchShape
from modelyard.training.memory import RunBatches, predict_memory

LENGTHS = [500, 480, 300, 290, 130, 120, 110, 40, 40, 40]


class Recording(Decoder):
    """A decoder that notes the size of its steps."""

    def step(self, segments: Sequence[Segment]) -> Tensor:
        logits = super().step(segments)
        sizes = getattr(self, "sizes", [])
        sizes.append((sum(len(segment.tokens) for segment in segments), len(logits)))
        self.sizes = sizes
        return logits


def rows(lengths: Sequence[int]) -> list[TokenRow]:
    chance = np.random.default_rng(2)
    return [
        TokenRow(
            chance.integers(3, 200, length).astype(np.int32),
            np.arange(length) >= length * 3 // 4,
            f"row:{length}",
        )
        for length in lengths
    ]


@pytest.fixture
def decoder(tiny_base_folder: Path) -> Recording:
    return Recording(recognise(load_weights(tiny_base_folder, precision="bf16", device="cpu")))


def test_the_counted_rows_are_those_that_the_engine_computes(
    decoder: Recording, tiny_base_folder: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=torch.bfloat16)
    lora = LoraSettings(rank=12)
    config = LoraConfig(r=12, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    adapter = decoder.bank.load(tmp_path / "adapter")
    chosen = rows(LENGTHS)
    row_losses(decoder, [ScoredRow(row, who) for who in (None, adapter) for row in chosen])

    counted = count_evaluated(chosen, ())
    assert counted.tokens == max(tokens for tokens, _ in decoder.sizes)
    assert counted.labels == max(labels for _, labels in decoder.sizes)
    assert counted.row_labels == 125
    counts = EngineCounts(
        shape=load_base_shape(tiny_base_folder), lora=lora, rows=counted, number=2
    )
    in_bank = counts.adapter - 8 * counts.shape.adapter_parameters(lora)
    assert in_bank == decoder.bank.resident_bytes


def test_the_loss_of_a_long_answer_is_added_up_from_pieces(decoder: Recording) -> None:
    row = replace(rows([500])[0], trained=np.arange(500) >= 200)
    pieces = list(label_logits(decoder, [ScoredRow(row, None)]))
    assert [len(piece.labels) for piece in pieces] == [128, 128, 44]
    logits, labels = (torch.cat(parts) for parts in zip(
        *((piece.logits, piece.labels) for piece in pieces), strict=True
    ))  # fmt: skip
    (loss,) = row_losses(decoder, [ScoredRow(row, None)])
    assert labels.tolist() == row.input_ids[200:].tolist()
    assert loss.total == pytest.approx(float(F.cross_entropy(logits, labels, reduction="sum")))
    assert loss.likeliest.tolist() == logits.argmax(1).tolist()


def test_a_common_beginning_is_computed_once(decoder: Recording) -> None:
    chosen = [
        replace(
            row, input_ids=np.concatenate([np.arange(3, 23, dtype=np.int32), row.input_ids[20:]])
        )
        for row in rows([60] * 30)
    ]
    row_losses(decoder, [ScoredRow(row, None) for row in (*chosen, *chosen)])
    assert count_evaluated(chosen, ()).tokens == max(tokens for tokens, _ in decoder.sizes)


def test_rows_that_are_answered_take_rows_of_the_cache_beside_those_that_are_scored() -> None:
    short, long = rows([100] * 3), rows([300])
    assert count_evaluated(short, ()).positions == 6 * 100
    assert count_evaluated(short * 20, short * 20).positions == (10 + 32) * 100
    assert count_evaluated(short + long, long).positions == 4 * 100 + 4 * 300


@pytest.mark.parametrize(("device", "is_more"), [("cpu", True), ("cuda", False)])
def test_a_run_that_trains_little_at_once_has_its_peak_in_the_evaluation(
    tiny_base_folder: Path, device: str, is_more: bool
) -> None:
    def total(after: EvaluatedRows | None) -> int:
        return predict_memory(
            load_base_shape(tiny_base_folder),
            LoraSettings(),
            RunBatches(trained=[BatchShape(16, 1, 16, 4)], after=after),
            precision="bf16",
            quantize="none",
            checkpointing=False,
            path="fast",
            attention="auto",
            device=device,
        ).total

    few, many = (
        EvaluatedRows(tokens=900, labels=500, row_labels=500, positions=positions)
        for positions in (512, 10**6)
    )
    keys = 4 * 2 * (2 * 2 * 16) * (10**6 - 512)
    assert (total(few) > total(None)) is is_more
    assert total(many) - total(few) == (keys if is_more else 0)
