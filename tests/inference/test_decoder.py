"""The decoder gives the logits of transformers and PEFT, in any mixture of rows and adapters."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig, MistralConfig

from modelyard.core.errors import InvalidInput
from modelyard.inference.decoder import Decoder
from modelyard.inference.interfaces import Segment
from modelyard.inference.kv_cache import KvCache
from modelyard.inference.structure import Unrecognised, recognise
from tiny_models import (
    FAMILIES,
    adapted_model,
    logits_of,
    tiny_model,
    tokens,
    wanted_logits,
    write_adapter,
)

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def opened(model: Any, **options: Any) -> Decoder:
    return Decoder(recognise(model), **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_those_of_transformers(name: str) -> None:
    model = tiny_model(FAMILIES[name])
    decoder = opened(model)
    row = tokens(90)
    assert torch.allclose(logits_of(decoder, row), wanted_logits(model, row), **CLOSE)


@pytest.mark.parametrize("name", ["llama, tied", "qwen3"])
def test_every_mixture_of_adapters_gives_the_logits_of_each_alone(
    name: str, tmp_path: Path
) -> None:
    model = tiny_model(FAMILIES[name])
    decoder = opened(model)
    options: list[dict[str, Any]] = [
        {},
        {"r": 2, "target_modules": ["q_proj", "v_proj"]},
        {"r": 12, "use_rslora": True},
        {"r": 4, "rank_pattern": {"down_proj": 7}, "alpha_pattern": {"k_proj": 32}},
        {"r": 3, "layers_to_transform": [1], "target_modules": ["gate_proj"]},
    ]
    slots: list[int | None] = [None]
    wanted_from: list[Any] = [model]
    for seed, chosen in enumerate(options):
        folder = write_adapter(tmp_path / str(seed), model, seed=seed, **chosen)
        slots.append(decoder.bank.acquire(decoder.bank.load(folder)))
        wanted_from.append(adapted_model(model, folder))

    # Rows of different lengths: first their prompts, whole or in part, then token by token. The
    # first adapter has more rows than the others.
    slots += slots[1:2] * 5
    wanted_from += wanted_from[1:2] * 5
    rows = [tokens(20 + 5 * number, seed=number) for number in range(2 * len(slots))]
    wanted = [wanted_logits(wanted_from[n % len(slots)], row) for n, row in enumerate(rows)]
    handles = [decoder.kv.allocate(len(row)) for row in rows]
    done = [0] * len(rows)
    found: list[list[torch.Tensor]] = [[] for _ in rows]
    generator = torch.Generator().manual_seed(1)
    while any(at < len(row) for at, row in zip(done, rows, strict=True)):
        segments, chosen_rows = [], []
        for n in torch.randperm(len(rows), generator=generator).tolist()[:15]:
            longest = 70 if n % 3 else 5
            size = int(torch.randint(1, longest, (), generator=generator)) if done[n] < 12 else 1
            part = rows[n][done[n] : done[n] + size]
            if part:
                handle = handles[n]
                assert handle is not None
                segments.append(Segment(handle, part, done[n], slots[n % len(slots)], "all"))
                chosen_rows.append(n)
                done[n] += len(part)
        if not segments:
            continue
        logits = decoder.step(segments)
        parts = logits.split([len(segment.tokens) for segment in segments])
        for n, part in zip(chosen_rows, parts, strict=True):
            found[n].append(part)
    for n in range(len(rows)):
        assert torch.allclose(torch.cat(found[n]), wanted[n], **CLOSE), n


@pytest.mark.parametrize("chunk", [1, 2, 7, 40])
def test_a_prompt_in_chunks_gives_the_logits_of_one_pass(chunk: int) -> None:
    model = tiny_model(FAMILIES["llama, three groups"])
    decoder = opened(model)
    row = tokens(75)
    assert torch.allclose(logits_of(decoder, row, chunk=chunk), wanted_logits(model, row), **CLOSE)


@pytest.mark.parametrize("chunk", [50, 64, 128, 200, 300])
def test_long_chunks_in_bf16_give_the_logits_of_one_pass(chunk: int) -> None:
    model = tiny_model(FAMILIES["llama, three groups"]).to(torch.bfloat16)
    decoder = opened(model)
    row = tokens(300)
    found, wanted = logits_of(decoder, row, chunk=chunk), wanted_logits(model.float(), row)
    difference = (found - wanted).norm() / (wanted - wanted.mean(-1, keepdim=True)).norm()
    assert difference < 0.03


def logits_by_threads(decoder: Decoder, segments: list[Segment], threads: int) -> torch.Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return decoder.step(segments).clone()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=512,
        intermediate_size=768,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    model = tiny_model(config).to(dtype)
    adapter = write_adapter(tmp_path / "adapter", model, seed=3, r=16)
    decoder = opened(model)
    slots = [decoder.bank.acquire(decoder.bank.load(adapter)), None]
    row = decoder.kv.allocate(256)
    decoder.step([Segment(row, tokens(40), 0, slots[0], "none")])
    for slot in slots:
        for count in (1, 4, 5, 7, 10, 33, 130):
            chunk = [Segment(row, tokens(count), 40, slot, "all")]
            one, *more = (logits_by_threads(decoder, chunk, threads) for threads in (1, 2, 3))
            assert all(torch.equal(one, other) for other in more), (slot, count)


def test_logits_come_in_the_order_of_the_segments_and_only_where_they_are_asked_for() -> None:
    decoder = opened(tiny_model(FAMILIES["llama, tied"]))
    rows = [tokens(9, seed) for seed in range(3)]
    alone = [logits_of(decoder, row) for row in rows]
    handles = [decoder.kv.allocate(20) for _ in rows]
    found = decoder.step(
        [
            Segment(handles[1] or 0, rows[1], 0, None, "last"),
            Segment(handles[2] or 0, rows[2], 0, None, "none"),
            Segment(handles[0] or 0, rows[0], 0, None, "all"),
        ]
    )
    assert torch.allclose(found, torch.cat([alone[1][-1:], alone[0]]), **CLOSE)


def test_rows_of_different_capacity_decode_together() -> None:
    model = tiny_model(FAMILIES["llama, tied"])
    decoder = opened(model)
    short, long = tokens(10, 1), tokens(300, 2)
    handles = [decoder.kv.allocate(len(row)) for row in (long, short)]
    assert None not in handles
    for handle, row in zip(handles, (long, short), strict=True):
        decoder.step([Segment(handle or 0, row[:-1], 0, None, "none")])
    found = decoder.step(
        [
            Segment(handles[0] or 0, long[-1:], len(long) - 1, None, "last"),
            Segment(handles[1] or 0, short[-1:], len(short) - 1, None, "last"),
        ]
    )
    wanted = torch.stack([wanted_logits(model, row)[-1] for row in (long, short)])
    assert torch.allclose(found, wanted, **CLOSE)


def test_copied_pieces_stand_for_the_tokens_it_was_computed_from() -> None:
    model = tiny_model(FAMILIES["qwen2"])
    decoder = opened(model)
    row = tokens(60)
    first = decoder.kv.allocate(60) or 0
    decoder.step([Segment(first, row[:40], 0, None, "none")])
    pieces = [decoder.kv.copy(first, start, 16) for start in (0, 16)]
    decoder.kv.release(first)
    assert pieces[1].tokens == 16
    assert pieces[1].size_bytes == 2 * 2 * 2 * 16 * 8 * 4
    second = decoder.kv.allocate(60) or 0
    for start, piece in zip((0, 16), pieces, strict=True):
        decoder.kv.write(second, start, piece)
    found = decoder.step([Segment(second, row[32:], 32, None, "all")])
    assert torch.allclose(found, wanted_logits(model, row)[32:], **CLOSE)


def test_a_nan_in_one_row_reaches_no_other_row_and_no_later_one() -> None:
    model = tiny_model(FAMILIES["llama, tied"])
    decoder = opened(model)
    row = tokens(20)
    bad = decoder.kv.allocate(20) or 0
    good = decoder.kv.allocate(20) or 0
    decoder.step([Segment(n, row[:-1], 0, None, "none") for n in (bad, good)])
    pool, place = decoder.kv.place(bad)
    pool.data[:, :, place, :, :10] = float("nan")
    logits = decoder.step([Segment(n, row[-1:], 19, None, "last") for n in (bad, good)])
    assert logits[0].isnan().all()
    assert torch.allclose(logits[1], wanted_logits(model, row)[-1], **CLOSE)
    decoder.kv.release(bad)
    assert torch.allclose(logits_of(decoder, row[:3]), wanted_logits(model, row[:3]), **CLOSE)


def test_rows_are_bounded_in_bytes_and_come_back() -> None:
    decoder = opened(tiny_model(FAMILIES["llama, tied"]), kv_bytes=3 * 256 * 2 * 2 * 2 * 8 * 4)
    held = [decoder.kv.allocate(100) for _ in range(4)]
    assert held[3] is None
    assert decoder.kv.allocate(300) is None
    for row in held[:3]:
        decoder.kv.release(row or 0)
    assert decoder.kv.allocate(300) is not None
    assert decoder.kv.size_bytes <= decoder.kv.budget_bytes
    with pytest.raises(InvalidInput, match="600 tokens are more than the 512"):
        decoder.kv.allocate(600)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def large_cache() -> KvCache:
    """A cache that takes 64 KB a position."""
    tiny = recognise(tiny_model(FAMILIES["mistral"])).shape
    shape = replace(tiny, layers=32, key_heads=4, head_width=64)
    return KvCache(shape, torch.float32, torch.device("cpu"), 1 << 30)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_row_takes_memory_only_as_it_is_written() -> None:
    kv = large_cache()
    before = resident_bytes()
    row, *_ = (kv.allocate(200) for _ in range(8))
    assert row is not None
    kv.written(row, 16)
    pool, at = kv.place(row)
    pool.data[:, :, at, :, :16] = 1.0
    assert resident_bytes() - before < kv.size_bytes // 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_rows_that_nobody_has_keep_little_memory_and_nothing_that_was_written() -> None:
    kv = large_cache()
    before = resident_bytes()
    held = [kv.allocate(512) for _ in range(4)]
    for number, row in enumerate(held):
        assert row is not None
        pool, at = kv.place(row)
        kv.written(row, 500)
        pool.data[:, :, at, :, :500] = float(number + 1)
    assert resident_bytes() - before > 120_000_000
    # The last one moves to the place of the first, which nobody has then.
    kv.release(held[0] or 0)
    kv.bring_forward([held[3] or 0])
    pool, at = kv.place(held[3] or 0)
    assert at == 0 and bool((pool.data[:, :, 0, :, :500] == 4).all())
    assert not pool.data[:, :, 3].any()
    for row in held[1:]:
        kv.release(row or 0)
    assert resident_bytes() - before < 80_000_000
    assert not pool.data.any()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Gemma2Config(**{"hidden_size": 32, "num_hidden_layers": 1}), "type gemma2"),
        (
            MistralConfig(num_hidden_layers=1, hidden_size=32, sliding_window=64),
            "sees only the last 64 of 131,072 positions",
        ),
        (
            LlamaConfig(
                num_hidden_layers=1,
                hidden_size=32,
                rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
            ),
            "rotary embedding is of type dynamic",
        ),
        (LlamaConfig(num_hidden_layers=1, hidden_size=32, hidden_act="gelu"), "no gated SiLU"),
    ],
    ids=["gemma2", "sliding window", "dynamic rope", "gelu"],
)
def test_other_structures_are_named(config: Any, reason: str) -> None:
    from transformers import AutoModelForCausalLM

    config.vocab_size = 50
    config.intermediate_size = 32
    with pytest.raises(Unrecognised, match=reason):
        recognise(AutoModelForCausalLM.from_config(config))
