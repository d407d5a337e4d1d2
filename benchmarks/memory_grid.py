"""The settings on which predictions of memory are fitted and checked, and the bases they need.

FITTED is what the constants of `training/memory.py` are fitted to. REPORTED was declared before any
of it was measured, and is only reported; a setting that was looked at for mending the prediction
belongs to FITTED from then on. Bases of other shapes have random weights, in the embedded base's
architecture and with its tokenizer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setting:
    """One run of a few steps."""

    name: str
    lengths: tuple[int, int]
    """Tokens of the shortest and of the longest row."""
    rows: int = 48
    rows_per_step: int = 16
    base: str = "embedded"
    answer_share: float = 0.25
    evaluated: int = 8
    """Evaluation rows, of the same lengths."""
    answered: int = 0
    """How many of them are answered too."""
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def assignments(self) -> dict[str, Any]:
        """What `--set` gets: one pass, and one evaluation after it."""
        return {
            "schedule.epochs": 1,
            "schedule.rows_per_step": self.rows_per_step,
            "keep.evaluate_every_steps": "never",
            "keep.checkpoint_every_steps": 1000,
            "data.max_length": 4096,
            "compute.precision": "bf16",
            **self.spec,
        }


SHAPES: dict[str, dict[str, Any]] = {
    "wide": {
        "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8,
        "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
    "deep": {
        "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 40,
        "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 16384,
    },
    "many words": {
        "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 128256,
    },
    "broad": {
        "hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 10,
        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 65536,
    },
}  # fmt: skip

LONG = {"rows": 3, "rows_per_step": 1, "evaluated": 2}
TOKENS = "schedule.tokens_per_batch"
FITTED = (
    Setting("short rows", (40, 90)),
    Setting("short rows, 20 steps", (40, 90), 320),
    Setting("rows of 30 to 200 tokens", (30, 200)),
    Setting("256 tokens a batch", (40, 90), spec={TOKENS: 256}),
    Setting("512 tokens a batch", (100, 300), rows=24, rows_per_step=8, spec={TOKENS: 512}),
    Setting("rows of 1,500", (1450, 1500), **LONG),
    Setting("rows of 1,900", (1850, 1900), **LONG),
    Setting("rows of 1,900, 4,096 a batch", (1850, 1900), 6, 2, spec={TOKENS: 4096}),
    Setting("2,048 tokens a batch", (200, 250), spec={TOKENS: 2048}),
    Setting("rank 128", (40, 90), spec={"lora.rank": 128}),
    Setting("fp32", (40, 90), spec={"compute.precision": "fp32"}),
    Setting(
        "recomputed, 4,096 a batch", (400, 500), 24, 8,
        spec={"compute.checkpointing": "always", TOKENS: 4096},
    ),
    Setting(
        "wide, recomputed, 2,048 a batch", (300, 400), 30, 5, "wide",
        spec={"compute.checkpointing": "always", TOKENS: 2048},
    ),
    Setting(
        "deep, recomputed, rows of 900", (850, 900), 6, 2, "deep",
        spec={"compute.checkpointing": "always", TOKENS: 2048},
    ),
    Setting("dropout", (40, 90), spec={"lora.dropout": 0.1}),
    Setting("stock", (40, 90), spec={"compute.fast_path": False}),
    Setting("two targets", (40, 90), spec={"lora.targets": "[q_proj, v_proj]"}),
    Setting("answers", (60, 120), answered=8, spec={TOKENS: 256}),
    Setting("wide", (200, 300), 24, 8, "wide"),
    Setting("wide, stock", (200, 300), 12, 4, "wide", spec={"compute.fast_path": False}),
    Setting(
        "wide, fp32, rank 64", (200, 300), 12, 4, "wide",
        spec={"compute.precision": "fp32", "lora.rank": 64},
    ),
    Setting("wide, sdpa, rows of 1,500", (1450, 1500), base="wide",
            spec={"compute.attention": "sdpa"}, **LONG),
    Setting("deep", (40, 90), base="deep"),
    Setting(
        "deep, dropout, two targets", (100, 200), 24, 8, "deep",
        spec={"lora.dropout": 0.1, "lora.targets": "[q_proj, v_proj]"},
    ),
    Setting("deep, 20 steps", (100, 200), 160, 8, "deep"),
    Setting("many words, 256 a batch", (150, 200), 12, 4, "many words", evaluated=40,
            spec={TOKENS: 256}),
    Setting("DoRA", (100, 200), 12, 4, spec={"lora.dora": True}),
    Setting("wide, rows of 1,000", (950, 1000), base="wide", **LONG),
    Setting(
        "many words, mostly answers", (800, 900), base="many words", answer_share=0.6, **LONG
    ),
    Setting("many words, answers of 1,000", (1400, 1500), 2, 1, "many words", answer_share=0.7,
            evaluated=3),
    Setting("broad, rows of 800", (700, 800), 4, 2, "broad"),
)  # fmt: skip
REPORTED = (
    Setting(
        "rank 64, 32 rows a step, 8,192 a batch", (30, 110), 96, 32,
        spec={"lora.rank": 64, TOKENS: 8192},
    ),
    Setting("stock, rows of 1,900", (1850, 1900), 2, 1, evaluated=2,
            spec={"compute.fast_path": False}),
    Setting(
        "rank 32, fp32, 512 a batch", (80, 140), 24, 8,
        spec={"lora.rank": 32, "compute.precision": "fp32", TOKENS: 512},
    ),
    Setting("wide, 24 answers, 256 a batch", (60, 120), 24, 8, "wide", evaluated=24, answered=24,
            spec={TOKENS: 256}),
    Setting("recomputed, rows of 1,900", (1850, 1900), 2, 1, evaluated=2,
            spec={"compute.checkpointing": "always"}),
    Setting("deep, rows of 700, 2,048 a batch", (650, 700), 12, 4, "deep", spec={TOKENS: 2048}),
    Setting(
        "attention only, rank 64", (100, 200), 24, 8,
        spec={"lora.targets": "[q_proj, k_proj, v_proj, o_proj]", "lora.rank": 64},
    ),
    Setting("broad", (100, 200), 12, 4, "broad"),
    Setting("many words, stock", (350, 400), 4, 2, "many words", spec={"compute.fast_path": False}),
    Setting(
        "deep, fp32, recomputed", (200, 300), 24, 8, "deep",
        spec={"compute.precision": "fp32", "compute.checkpointing": "always", TOKENS: 2048},
    ),
    Setting(
        "evaluated between steps", (250, 300), 12, 4,
        spec={"keep.evaluate_every_steps": 1, TOKENS: 512},
    ),
    Setting(
        "wide, dropout, gated layers only", (100, 200), 24, 8, "wide",
        spec={"lora.dropout": 0.1, "lora.targets": "[gate_proj, up_proj, down_proj]"},
    ),
    Setting("rows of 600, 512 a batch", (550, 600), 6, 2, spec={TOKENS: 512}),
    Setting("wide, DoRA", (400, 500), 6, 2, "wide", spec={"lora.dora": True}),
    Setting("mostly answers, 30 evaluated", (200, 300), 12, 4, answer_share=0.6, evaluated=30),
    Setting("fp32, rows of 1,200", (1150, 1200), 2, 1, evaluated=2,
            spec={"compute.precision": "fp32"}),
    Setting("rows of 2,500", (2450, 2500), 2, 1, evaluated=2),
    Setting("dropout, rows of 400", (350, 400), 12, 4, spec={"lora.dropout": 0.1}),
    Setting("wide, rows of 1,300", (1200, 1300), base="wide", **LONG),
    Setting("rank 8, rows of 1,100, 4,096 a batch", (1000, 1100), 8, 4,
            spec={"lora.rank": 8, TOKENS: 4096}),
    Setting("broad, fp32, short rows, 512 a batch", (40, 90), 24, 8, "broad",
            spec={"compute.precision": "fp32", TOKENS: 512}),
    Setting(
        "deep, recomputed, rows of 1,500, rank 64", (1400, 1500), base="deep",
        spec={"compute.checkpointing": "always", "lora.rank": 64}, **LONG,
    ),
    Setting("wide, stock, short rows, 20 steps", (40, 90), 160, 8, "wide",
            spec={"compute.fast_path": False}),
    Setting("many words, 40 answers, rank 4", (60, 150), 24, 8, "many words", evaluated=40,
            answered=40, spec={"lora.rank": 4}),
    Setting("rows of 500, 12 steps, rank 32", (300, 500), 48, 4, spec={"lora.rank": 32}),
    Setting("stock, recomputed, rows of 700", (650, 700), 6, 2,
            spec={"compute.fast_path": False, "compute.checkpointing": "always"}),
    Setting("deep, sdpa, rows of 1,000", (900, 1000), 4, 2, "deep",
            spec={"compute.attention": "sdpa"}),
    Setting("wide, fp32, rows of 600, answers", (550, 600), 6, 2, "wide", answer_share=0.6,
            spec={"compute.precision": "fp32"}),
)  # fmt: skip


def build_base(shape: Mapping[str, Any], embedded: Path, folder: Path) -> None:
    """A base of random bf16 weights in `folder`; its vocabulary is a part of the embedded one's."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer_config.json"):
        shutil.copy(embedded / name, folder / name)
    tokenizer = json.loads((embedded / "tokenizer.json").read_text())
    model = tokenizer["model"]
    words = {word for word, index in model["vocab"].items() if index < shape["vocab_size"]}
    model["vocab"] = {word: index for word, index in model["vocab"].items() if word in words}
    pairs = [(merge if isinstance(merge, list) else merge.split(" ")) for merge in model["merges"]]
    model["merges"] = [pair for pair in pairs if words >= {*pair, "".join(pair)}]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((embedded / "config.json").read_text())
    for key in ("architectures", "dtype", "model_type", "transformers_version", "head_dim"):
        config.pop(key, None)
    torch.manual_seed(0)
    random = LlamaForCausalLM(LlamaConfig(**(config | dict(shape))))
    random.to(torch.bfloat16).save_pretrained(folder)


def build_rows(
    setting: Setting, texts: Sequence[str], base: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and evaluation rows of the setting's lengths, cut from `texts` laid end to end."""
    from tokenizers import Tokenizer

    around = 40  # the chat format and its system turn
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    ids = tokenizer.encode(" ".join(texts)).ids
    chance = np.random.default_rng(0)

    def rows(count: int) -> list[dict[str, Any]]:
        made = []
        for length in np.linspace(*setting.lengths, count, dtype=int).tolist():
            answer = int(length * setting.answer_share)
            question = max(4, length - answer - around)
            start = int(chance.integers(len(ids) - length))
            parts = ids[start:][:question], ids[start + question :][:answer]
            asked, answered = (tokenizer.decode(part).strip() for part in parts)
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            made.append({"messages": turns})
        chance.shuffle(made)
        return made

    trained, evaluated = rows(setting.rows), rows(setting.evaluated)
    for row in evaluated[: setting.answered]:
        row["expect"] = [["never said"]]
    return trained, evaluated
