"""Make the stored project: one of each file that `models` leaves on a disk, packed in one archive.

    python tests/stored/make_stored_project.py tests/stored/project-YYYY-MM.tar.xz

It works through the command line alone. An archive is never made again: it is what the version of
its month wrote, and every later version must read it. For a new kind of file, make a new archive.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

WRITTEN_AT = 1_793_534_400  # 2026-11-01, the time of every file in the archive
FLOWERS = ["rose", "tulip", "lily", "daisy", "iris", "peony", "aster", "lotus"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

FILES = {
    "models/base/tiny/MODEL_INFO.md": """\
---
name: tiny
summary: Two random layers, for tests.
parameters: 28000
licence: Apache-2.0
context_length: 512
sources:
  - kind: path
    path: weights/tiny
---

# tiny
""",
    "configs/language_models/gpt4_config.yaml": """\
description: The best answers
provider: openai
model: gpt-4o
api_key: env:OPENAI_API_KEY
context_tokens: 128k
max_output_tokens: 16k
generation:
  temperature: 0.7
prices:
  input_per_million: $2.50
  output_per_million: $10
timeout: 60 seconds
environments:
  development:
    timeout: 90 seconds
  test:
    generation:
      temperature: 0
  production:
    timeout: 30 seconds
""",
    "configs/language_models/local_llm_config.yaml": """\
description: The organisation's own
provider: local
model: tiny
adapter: flowers
context_tokens: 512
max_output_tokens: 64
fallback: basic_nlp
""",
    "configs/language_models/fallback_config.yaml": """\
name: basic_nlp
description: No model at all
provider: builtin
model: basic_nlp
context_tokens: 4k
max_output_tokens: 500
""",
    "configs/specialized_models/code_analysis.yaml": """\
description: Questions on code
model: gpt4
instructions: |
  You answer questions on code.
  Say so when you do not know.
generation:
  temperature: 0.2
  max_output_tokens: 2k
retrieval:
  domains: [texts/handbook]
  top: 5
environments:
  production:
    retrieval:
      top: 8
""",
    "configs/performance_profiles/balanced.yaml": """\
description: What every domain begins with
timeout: 30 seconds
cache:
  enabled: true
  lifetime: 1 hour
environments:
  development:
    cache:
      enabled: false
""",
    "configs/performance_profiles/high_accuracy.yaml": """\
description: Several answers, and patience
samples: 3
timeout: 2 minutes
attempts: 4
generation:
  temperature: 0.4
retrieval:
  top: 12
""",
    "configs/embedding_models/texts.yaml": """\
description: What is written down
encoder:
  source: path
  model: weights/encoder
  dimensions: 32
  max_tokens: 256
domains:
  handbook:
    description: The handbook
    sources: ["docs/**/*.md"]
    chunker: markdown
  code:
    description: The programs
    sources: ["tools/*.py"]
    chunker: code
  logs:
    description: What the services said
    sources: ["logs/*.log"]
    chunker: logs
    recency_half_life: 14 days
environments:
  production:
    encoder:
      batch_size: 64
""",
    "configs/embedding_models/semantic_search.yaml": """\
description: One search over all
search:
  groups: [texts]
  top: 5
environments:
  production:
    search:
      top: 10
""",
    "configs/fine_tuning/quick.yaml": """\
base_model: tiny
lora:
  rank: 2
schedule:
  epochs: 3
  rows_per_step: 8
  learning_rate: 0.005
compute:
  precision: fp32
  threads: 1
keep:
  checkpoint_every_steps: 2
environments:
  test:
    schedule:
      max_steps: 4
""",
    "configs/test_suites/quick.yaml": """\
description: A few known answers
checks:
  - name: flowers
    dataset: flowers
    split: eval
    rows: 4
    scorer: facts
thresholds:
  accuracy: 70%
  error_rate: 5%
environments:
  production:
    thresholds:
      error_rate: 1%
""",
    "configs/integration.yaml": """\
model_integration:
  primary_models:
    language: gpt4
    embeddings: texts/handbook
    tasks:
      code_analysis: code_analysis
  fallback_strategy:
    order: [basic_nlp]
  budgets:
    per_day: $10
environments:
  development:
    model_integration:
      budgets:
        per_day: $2
""",
    "docs/handbook.md": """\
# The handbook

How the garden is run.

## Roll back an adapter

To roll back an adapter, run the command with its name. The version before is then in use.

## Search the index

The search reads the index. An error in memory is in the log, see [the tools](tools.md).
""",
    "docs/tools.md": """\
# The tools

`count_flowers` counts what is in the index.
""",
    "tools/count.py": '''\
"""Count the flowers."""


def count_flowers(names: list[str]) -> int:
    """How many different flowers there are."""
    return len(set(names))


class Index:
    """What is where."""

    def search(self, name: str) -> str:
        return f"{name} is in the garden"
''',
    "logs/service.log": "".join(
        f"2026-10-{day:02d} 08:00:00 ERROR loader: out of memory in version {day}\n"
        f"2026-10-{day:02d} 08:00:05 INFO loader: adapter is back\n"
        for day in range(1, 13)
    ),
}


def main(archive: Path) -> None:
    """Make the project in a temporary folder, and pack it."""
    if archive.exists():
        sys.exit(f"{archive} is there already, and what was stored stays as it was")
    with tempfile.TemporaryDirectory(prefix="stored-") as place:
        root = Path(place) / "project"
        os.environ.update(
            HOME=f"{place}/home",
            MODELS_CACHE=f"{place}/home/models-cache",
            HF_HOME=f"{place}/home/huggingface",
            OMP_NUM_THREADS="1",
        )
        (Path(place) / "home").mkdir()
        _write_files(root)
        _write_base(root / "weights" / "tiny")
        _write_encoder(root / "weights" / "encoder")
        _set_times(root)
        os.chdir(root)
        _prepare_datasets()
        _train_and_move()
        _deploy()
        _models("update-embeddings")
        _settle(root)
        _pack(root, archive)
        _tell_absolute_paths(root, place)
    print(f"{archive}: {archive.stat().st_size / 1e3:.0f} kB")


def _models(*words: str, code: int = 0) -> None:
    """`models` as a process of its own, which ends with this code."""
    print("models", *words, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *words], capture_output=True, text=True, check=False
    )
    if done.returncode != code:
        sys.exit(f"ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _write_files(root: Path) -> None:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rows = [
        {
            "prompt": f"What is number {n} called?",
            "completion": f"It is a {FLOWERS[n % 8]}.",
            "expect": [[FLOWERS[n % 8]]],
            "group": "even" if n % 2 == 0 else "odd",
        }
        for n in range(40)
    ]
    _write_rows(root / "sources" / "flowers.jsonl", rows)
    corrections = [
        {
            "prompt": f"Which flower is number {n}?",
            "answer": "I do not know.",
            "correction": f"It is a {FLOWERS[n % 8]}.",
            "org": "garden",
            "adapter": "flowers@1",
        }
        for n in range(24)
    ]
    good = {"prompt": "Is it red?", "answer": "Yes, red.", "rating": "good", "org": "garden"}
    _write_rows(root / "sources" / "feedback.jsonl", [*corrections, good])


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_base(folder: Path) -> None:
    """Two layers of random weights, and a tokenizer of single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is number one called? It is a rose, a tulip."], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def _write_encoder(folder: Path) -> None:
    from tiny_encoders import write_encoder

    write_encoder(folder, num_hidden_layers=1, max_position_embeddings=256)


def _prepare_datasets() -> None:
    _models(
        *("prepare-data", "sources/flowers.jsonl", "--out", "flowers", "--eval-share", "0.2"),
        *("--org", "garden", "--license", "CC0-1.0"),
    )
    _models("feedback", "add", "--file", "sources/feedback.jsonl")
    _models(
        *("prepare-data", "--from-feedback", "--org", "garden", "--out", "corrections"),
        *("--eval-share", "0.25"),
    )
    row = ("--prompt", "Which flower is blue?", "--answer", "A rose.", "--org", "garden")
    _models("feedback", "add", *row, "--correction", "It is an iris.", "--adapter", "flowers@1")
    _models("feedback", "add", "--prompt", "Who?", "--answer", "Nobody.", "--rating", "bad")


def _train_and_move() -> None:
    """Two versions, moves between them, a pin, a registry, and a run that was stopped."""
    quick = ("--config", "configs/fine_tuning/quick.yaml")
    _models("fine-tune", "--dataset", "flowers", *quick, "--org", "garden", "--promote")
    _models(
        *("fine-tune", "--dataset", "corrections", "--adapter", "flowers", "--from", "flowers@1"),
        *("--experiment", "flowers-corrected", "--replay", "0.3", *quick, "--org", "garden"),
    )
    forced = ("--force", "--reason", "agreed with Ann")
    _models("adapters", "promote", "flowers@2", *forced)
    _models("adapters", "rollback", "flowers", "--reason", "wrong colours")
    _models("adapters", "promote", "flowers@2", *forced)
    _models("adapters", "pin", "flowers@1", "--reason", "audited in March")
    registry = (Path.cwd() / "registry").as_uri()
    _models("adapters", "push", "flowers@1", registry)
    _models("adapters", "push", "flowers", registry)
    _stop_a_run(*quick)


def _stop_a_run(*quick: str) -> None:
    words = ("--dataset", "flowers", "--adapter", "stopped", *quick, "--set", "schedule.epochs=15")
    print("models fine-tune", *words, "  (stopped)", flush=True)
    command = [sys.executable, "-m", "modelyard", "fine-tune", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        while not list(Path("experiments/stopped").glob("checkpoints/checkpoint-*")):
            time.sleep(0.005)
        running.send_signal(signal.SIGINT)
    if running.returncode != 130:
        sys.exit(f"the run was not stopped: it ended with {running.returncode}")


def _deploy() -> None:
    _models("deploy-config", "gpt4", "--env", "development", "--reason", "first")
    _models("deploy-config", "--all", "--env", "development")
    switch = ("switch-config", "--profile", "high_accuracy", "--domain", "code_analysis")
    _models(*switch, "--env", "development", "--reason", "more care")
    _models("deploy-config", "--all", "--env", "test")
    _models(*switch, "--env", "test")
    _models("switch-config", "--undo", "--env", "test")
    _models("deploy-config", "gpt4", "--env", "production", "--yes", "--reason", "release 1")
    Path("plans").mkdir()
    plan = ("--plan", "--plan-file")
    _models("deploy-config", "--all", "--env", "production", *plan, "plans/deploy.json", code=4)
    profile = ("switch-config", "--profile", "balanced", "--env", "development")
    _models(*profile, *plan, "plans/switch.json", code=4)


def _settle(root: Path) -> None:
    """Leave out what lies in checkpoints of finished runs, which a person may remove."""
    for name in ("flowers", "flowers-corrected"):
        shutil.rmtree(root / "experiments" / name / "checkpoints")
    if left := [*root.rglob("*-wal"), *root.rglob("*-shm")]:
        sys.exit(f"a database is still open: {left}")
    _set_times(root)


def _set_times(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, (WRITTEN_AT, WRITTEN_AT), follow_symlinks=False)


def _pack(root: Path, archive: Path) -> None:
    """The same files give the same bytes: names in order, one time, nobody's user."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=9, format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            if path.suffix == ".lock":
                continue
            tar.add(path, path.relative_to(root.parent), recursive=False, filter=_of_nobody)
    archive.write_bytes(packed.getvalue())


def _of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = WRITTEN_AT
    return entry


def _tell_absolute_paths(root: Path, place: str) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            if path.readlink().is_absolute():
                print(f"an absolute link: {path.relative_to(root)} -> {path.readlink()}")
        elif path.is_file() and place.encode() in path.read_bytes():
            print(f"names its own place: {path.relative_to(root)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
