"""The engine's bars on a GPU, with random weights of a given architecture.

Nothing is downloaded: weights, adapters and prompts are drawn at random. Prints the table of
`make bench-engine` for each setting of the base, as far as it needs no real base, on whatever
device there is.

    python -m benchmarks.engine_gpu [--shape smollm2-135m|qwen-3b|mistral-7b|tiny]
        [--settings bf16,4bit,8bit] [--rounds 5] [--vllm PYTHON]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from benchmarks.engine.bars import MIXED_ADAPTERS, RESIDENT_ADAPTERS
from benchmarks.engine.latency import LONG_PROMPT
from benchmarks.engine.parts import Bench
from benchmarks.engine.systems import Command
from benchmarks.engine.table import Row, render
from benchmarks.engine.workload import PROMPT_TOKENS, Prompts, write_adapters
from benchmarks.train_gpu import SHAPES, write_base
from modelyard.core.errors import ModelyardError
from modelyard.inference.machine import device_name, probe_machine
from modelyard.inference.weights import require_quantization


def draw_prompts(count: int, lengths: Sequence[int], vocabulary: int) -> list[tuple[int, ...]]:
    """Prompts of random tokens; their lengths go through `lengths` again and again."""
    chance = random.Random(0)
    return [
        tuple(chance.randrange(10, vocabulary) for _ in range(lengths[number % len(lengths)]))
        for number in range(count)
    ]


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer of single bytes, and of made-up words above them: an answer is also decoded."""
    texts = [*sorted(ByteLevel.alphabet()), *(f"w{number}" for number in range(256, vocabulary))]
    numbers = {text: number for number, text in enumerate(texts)}
    tokenizer = Tokenizer(BPE(numbers, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "w256", "chat_template": "{{ messages[0]['content'] }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def log(line: str) -> None:
    """A line of progress on stderr."""
    print(f"  {line}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="qwen-3b", choices=sorted(SHAPES))
    parser.add_argument("--settings", default="bf16,4bit,8bit")
    parser.add_argument("--rounds", type=int, default=5, help="of each figure (default: 5)")
    parser.add_argument("--only", action="append", choices=("speed", "latency", "bank"))
    parser.add_argument(
        "--vllm", type=Path, metavar="PYTHON", help="of an environment that has vLLM"
    )
    asked = parser.parse_args()
    print(f"{probe_machine().describe()} · {asked.shape}, random weights, {asked.rounds} rounds")
    vocabulary = SHAPES[asked.shape]["vocab_size"]
    prompts = Prompts(tuple(draw_prompts(500, PROMPT_TOKENS, vocabulary)))
    long_prompts = draw_prompts(40, (LONG_PROMPT,), vocabulary)
    with tempfile.TemporaryDirectory() as place:
        base = write_base(asked.shape, Path(place)).path
        write_tokenizer(base, vocabulary)
        adapters = write_adapters(base, base / "adapters", RESIDENT_ADAPTERS)
        for setting in asked.settings.split(","):
            print(f"\n{setting}\n")
            if setting in ("4bit", "8bit"):
                try:
                    require_quantization(setting, device_name())
                except ModelyardError as error:
                    print(f"left out: {error.message}")
                    continue
            peers: dict[str, Command] = {}
            if asked.vllm and setting == "bf16":
                module = "benchmarks.engine.peer_vllm"
                peers["vLLM"] = asked.vllm, module, base, setting, *adapters[:MIXED_ADAPTERS]
            bench = Bench(
                base=base,
                setting=setting,
                prompts=prompts,
                long_prompts=long_prompts,
                adapters=adapters,
                peers=peers,
                rounds=asked.rounds,
                report=log,
            )
            rows: list[Row] = []
            for name in asked.only or bench.parts:
                rows += bench.parts[name]()
            print(render(rows), flush=True)


if __name__ == "__main__":
    main()
