"""Training side by side: this project, `trl sft` and, where it is installed, LLaMA-Factory.

Each is its own process on the same rows in the same order, with the same LoRA settings, number of
steps and learning rate. Run by `make bench-train`; nothing else should be running.

    python benchmarks/train.py [--rows 256] [--repeats 3] [--llamafactory DIR]

DIR holds an environment in which `llamafactory-cli` works (DIR/bin/llamafactory-cli).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.dataset import load_dataset
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow, tokenize_conversations
from modelyard.core.layout import find_project
from modelyard.core.progress import Silent
from modelyard.inference.engine import Engine
from modelyard.inference.machine import measure_matmul_gflops, probe_machine
from modelyard.training.base_shape import load_base_shape
from modelyard.weights.local import LocalBase
from modelyard.weights.pull import require_base

BIN = Path(sys.executable).parent
ROWS_PER_STEP = 8
RANK, ALPHA = 16, 32
LEARNING_RATE = 2e-4
STEADY_AFTER = 2
"""Steps that are left out of the speed: allocators and caches fill in them."""


@dataclass(frozen=True)
class Measured:
    """What one process took and gave."""

    rows_per_s: float
    wall_s: float
    startup_s: float
    peak_bytes: int
    eval_loss: float


@dataclass(frozen=True)
class Job:
    """What every system is given."""

    base: LocalBase
    train: list[Conversation]
    evaluation: list[TokenRow]
    steps: int


def run_process(command: Sequence[str], folder: Path, **environment: str) -> tuple[str, float, int]:
    """Output, wall seconds and the peak resident memory of the process and its children."""
    started = time.perf_counter()
    process = subprocess.Popen(
        list(command),
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = 0

    def watch() -> None:
        nonlocal peak
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                family = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(item.memory_info().rss for item in family))
            except psutil.Error:
                pass
            time.sleep(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    output = process.communicate()[0]
    thread.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{output[-4000:]}\nexit {process.returncode}")
    return output, time.perf_counter() - started, peak


def run_modelyard(job: Job, folder: Path) -> Measured:
    """`models fine-tune`, as a user runs it, up to a registered version."""
    for name in ("configs", f"models/base/{job.base.name}"):
        (folder / name).mkdir(parents=True)
    (folder / f"models/base/{job.base.name}/MODEL_INFO.md").write_text(
        f"---\nname: {job.base.name}\nsummary: bench\nparameters: 1\nlicence: none\n"
        f"context_length: 2048\nsources:\n  - kind: path\n    path: {job.base.path}\n---\n"
    )
    data = folder / "datasets/bench"
    data.mkdir(parents=True)
    write_rows(data / "train.jsonl", job.train, prompt_completion=False)
    (data / "eval.jsonl").write_text(
        '{"prompt": "What is the colour of a ripe lemon?", "completion": "Yellow."}\n'
    )
    settings = {
        "lora.rank": RANK,
        "lora.alpha": ALPHA,
        "schedule.shuffle": False,
        "schedule.max_steps": job.steps,
        "schedule.rows_per_step": ROWS_PER_STEP,
        "schedule.learning_rate": LEARNING_RATE,
        "schedule.shape": "linear",
        "schedule.warmup_share": 0,
        "keep.checkpoint_every_steps": job.steps,
        "keep.evaluate_every_steps": "never",
    }
    command = [str(BIN / "models"), "fine-tune", "--dataset", "bench"]
    command += ["--base-model", job.base.name]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    _, wall_s, peak = run_process(command, folder, MODELS_PROJECT=str(folder))
    lines = (folder / "experiments/bench/metrics.jsonl").read_text().splitlines()
    ended = [json.loads(line)["elapsed_s"] for line in lines]
    trained_s = ended[-1]
    rows_per_s = (len(ended) - STEADY_AFTER) * ROWS_PER_STEP / (ended[-1] - ended[STEADY_AFTER - 1])
    loss = evaluate(job, folder / "models/versions/bench/1")
    return Measured(rows_per_s, wall_s, wall_s - trained_s, peak, loss)


def run_trl(job: Job, folder: Path) -> Measured:
    """`trl sft` with both cores; its launcher takes one unless it is set otherwise."""
    write_rows(folder / "data/train.jsonl", job.train, prompt_completion=True)
    threads = str(torch.get_num_threads())
    command = f"""
        {BIN / "trl"} sft --use_cpu --num_cpu_threads_per_process {threads}
        --model_name_or_path {job.base.path} --dataset_name {folder / "data"}
        --use_peft --lora_r {RANK} --lora_alpha {ALPHA} --lora_dropout 0
        --lora_target_modules all-linear --per_device_train_batch_size {ROWS_PER_STEP}
        --learning_rate {LEARNING_RATE} --lr_scheduler_type linear --max_steps {job.steps}
        --train_sampling_strategy sequential --max_length 1024 --logging_steps 1
        --save_strategy no --report_to none --output_dir {folder / "out"}
    """.split()
    output, wall_s, peak = run_process(command, folder, OMP_NUM_THREADS=threads)
    runtime_s = logged(output, "train_runtime")
    rows_per_s = logged(output, "train_samples_per_second")
    loss = evaluate(job, folder / "out")
    return Measured(rows_per_s, wall_s, wall_s - runtime_s, peak, loss)


def run_llamafactory(job: Job, folder: Path, home: Path) -> Measured:
    """`llamafactory-cli train` with bf16, its fastest setting on a CPU."""
    rows = [
        {"instruction": item.first_question, "input": "", "output": item.answer}
        for item in job.train
    ]
    (folder / "data").mkdir()
    (folder / "data/rows.json").write_text(json.dumps(rows))
    (folder / "data/dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}')
    command = f"""
        {home / "bin/llamafactory-cli"} train --stage sft --do_train true
        --model_name_or_path {job.base.path} --dataset rows --dataset_dir {folder / "data"}
        --template smollm2 --finetuning_type lora --lora_rank {RANK} --lora_alpha {ALPHA}
        --lora_target all --use_cpu true --bf16 true --per_device_train_batch_size {ROWS_PER_STEP}
        --gradient_accumulation_steps 1 --learning_rate {LEARNING_RATE} --lr_scheduler_type linear
        --max_steps {job.steps} --cutoff_len 1024 --logging_steps 1 --save_strategy no
        --disable_shuffling true --report_to none --output_dir {folder / "out"}
    """.split()
    output, wall_s, peak = run_process(command, folder)
    runtime_s = logged(output, "train_runtime")
    rows_per_s = logged(output, "train_samples_per_second")
    return Measured(rows_per_s, wall_s, wall_s - runtime_s, peak, evaluate(job, folder / "out"))


def logged(output: str, name: str) -> float:
    """A figure that a peer logs, as a number or as h:mm:ss."""
    found = re.findall(rf"{name}'?\s*[:=]\s*'?([0-9.:]+)", output)
    if not found:
        raise SystemExit(f"no {name} in:\n{output[-3000:]}")
    value = 0.0
    for part in found[-1].split(":"):
        value = 60 * value + float(part)
    return value


def evaluate(job: Job, adapter: Path) -> float:
    """Loss of held-out rows under a saved adapter, measured the same way for all."""
    engine = Engine.load(job.base, adapter, machine=probe_machine(), precision="fp32")
    engine.tokenizer = ChatTokenizer.load(job.base.path)
    losses = engine.row_losses(job.evaluation)
    return sum(loss.total for loss in losses) / sum(loss.tokens for loss in losses)


def write_rows(path: Path, rows: Sequence[Conversation], *, prompt_completion: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        for item in rows:
            turns = [{"role": turn.role, "content": turn.content} for turn in item.messages]
            row: dict[str, Any] = {"messages": turns}
            if prompt_completion:
                row = {"prompt": turns[:-1], "completion": turns[-1:]}
            stream.write(json.dumps(row) + "\n")


def read_job(data: str, rows: int) -> Job:
    """`rows` training and 128 evaluation rows of a dataset, or of a CSV with text and category."""
    project = find_project(Path(__file__).parent.parent)
    base = require_base(project, "smollm2-135m-instruct", progress=Silent())
    if data.endswith(".csv"):
        from modelyard.chatdata.conversation import Message

        with Path(data).open(newline="") as stream:
            pairs = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
        # A csv is often sorted by category; every 7th row of a rotation mixes it.
        pairs = [pairs[(index * 7919) % len(pairs)] for index in range(len(pairs))]
        every = [
            Conversation((Message("user", text), Message("assistant", label)), f"row {n}", {})
            for n, (text, label) in enumerate(pairs)
        ]
        train, held = every[:rows], every[rows : rows + 128]
    else:
        dataset = load_dataset(project, data)
        train = [item for item in dataset.train if len(item.messages) == 2][:rows]
        held = list(dataset.evaluation)
    tokenizer = ChatTokenizer.load(base.path)
    evaluation = list(tokenize_conversations(held, tokenizer, max_length=1024).rows)
    return Job(base, train, evaluation, len(train) // ROWS_PER_STEP)


def flops_per_row(job: Job, tokens: float, labels: float) -> float:
    """Forward and backward of a frozen base with LoRA: 4 a weight and token, 6 of the adapter."""
    shape = load_base_shape(job.base.path)
    adapter = RANK * shape.layers * sum(sum(pair) for pair in shape.linear_shapes.values())
    head = shape.vocabulary * shape.hidden
    return tokens * (4 * shape.linear_parameters + 6 * adapter) + labels * 4 * head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="techcorp")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--llamafactory", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    machine = probe_machine()
    job = read_job(given.data, given.rows)
    tokenizer = ChatTokenizer.load(job.base.path)
    rows = tokenize_conversations(job.train, tokenizer, max_length=1024).rows
    tokens = statistics.mean(len(row.input_ids) for row in rows)
    labels = statistics.mean(int(row.trained.sum()) for row in rows)
    shape = load_base_shape(job.base.path)
    peak_gflops = max(
        measure_matmul_gflops([torch.bfloat16], shape=item, repeats=30)[0]
        for item in (
            (1024, shape.hidden, shape.intermediate),
            (1024, shape.intermediate, shape.hidden),
            (2048, 2048, 2048),
        )
    )
    print(f"{machine.describe()} · load {os.getloadavg()[0]:.2f}")
    print(
        f"{len(job.train)} rows, {job.steps} steps of {ROWS_PER_STEP}, {tokens:.0f} tokens a row, "
        f"{labels:.0f} of them trained; bf16 matrix product at best {peak_gflops:,.0f} GFLOP/s"
    )
    systems: dict[str, Callable[[Job, Path], Measured]] = {
        "modelyard": run_modelyard,
        "trl sft": run_trl,
    }
    if given.llamafactory:
        home = given.llamafactory
        systems["llamafactory"] = lambda job, folder: run_llamafactory(job, folder, home)
    found: dict[str, list[Measured]] = {name: [] for name in systems}
    for repeat in range(given.repeats):
        for name, run in systems.items():
            if given.only and name != given.only:
                continue
            with tempfile.TemporaryDirectory() as folder:
                measured = run(job, Path(folder))
            found[name].append(measured)
            print(f"  {repeat + 1} {name}: {measured}", file=sys.stderr, flush=True)
    work = flops_per_row(job, tokens, labels)
    print(
        "| system | rows/s | tokens/s | label tokens/s | start-up s | wall s | peak MB "
        "| eval loss | share of bf16 peak |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, runs in found.items():
        if not runs:
            continue
        speed = statistics.median(item.rows_per_s for item in runs)
        print(
            f"| {name} | {speed:.2f} | {speed * tokens:,.0f} | {speed * labels:,.0f} "
            f"| {statistics.median(item.startup_s for item in runs):.1f} "
            f"| {statistics.median(item.wall_s for item in runs):.1f} "
            f"| {max(item.peak_bytes for item in runs) / 1e6:,.0f} "
            f"| {statistics.median(item.eval_loss for item in runs):.3f} "
            f"| {speed * work / 1e9 / peak_gflops:.0%} |"
        )


if __name__ == "__main__":
    main()
