"""The benchmark of the engine measures what it says, on a tiny base with random weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engine import peer_transformers
from benchmarks.engine.speed import Case, Ratio
from benchmarks.engine.systems import ROOT, Batch, System
from benchmarks.engine.table import Bar
from benchmarks.engine.this_project import Running
from benchmarks.engine.workload import write_adapters
from benchmarks.engine_gpu import draw_prompts, write_tokenizer
from benchmarks.train_gpu import SHAPES, write_base
from modelyard.core.errors import ModelyardError

PROMPTS = draw_prompts(4, (5, 9, 7, 12), 4096)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_tokenizer(folder, SHAPES["tiny"]["vocab_size"])
    return write_base("tiny", folder).path


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folders = write_adapters(base, tmp_path_factory.mktemp("adapters"), 3)
    return [str(folder) for folder in folders]


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_speeds() -> None:
    ours, other = Case("engine", "base", 8), Case("transformers", "base", 8)
    ratio = Ratio(Bar(what="ours ÷ theirs", prototype="", least=2.0), ours, other)
    slow_second_round = {ours: [200, 60, 210], other: [100, 20, 100]}
    row = ratio.row(slow_second_round)
    assert row.cells[:5] == ("ours ÷ theirs", "", "≥ 2", "2.10", "hit")
    assert ratio.row({ours: [190], other: [100]}).verdict == "missed"


def test_a_figure_without_its_peer_is_left_out_and_not_a_miss() -> None:
    ours, other = Case("engine", "8 adapters", 8), Case("vLLM", "8 adapters", 8)
    row = Ratio(Bar(what="ours ÷ vLLM", prototype="", least=1.5), ours, other).row({ours: [100]})
    assert row.cells[3:] == ("", "left out", "vLLM was not given")


def test_a_figure_that_must_be_low_is_missed_when_it_is_high() -> None:
    bar = Bar(what="a cold adapter", prototype="20 ms", most=100, unit="ms")
    assert bar.measured(99.6, "").cells[2:5] == ("≤ 100 ms", "100 ms", "hit")
    assert bar.measured(100.2, "").verdict == "missed"


def test_stock_answers_have_exactly_the_tokens_asked_for(base: Path, adapters: list[str]) -> None:
    config = base / "generation_config.json"
    config.write_text(f'{{"eos_token_id": {list(range(4096))}}}')  # whatever it says would end it
    bare = peer_transformers.load(base, "fp32", ())["answer"]
    assert bare(prompts=PROMPTS, adapters=[None] * 4, new_tokens=6)["tokens"] == 24
    adapted = peer_transformers.load(base, "fp32", adapters)["answer"]
    for chosen in ([1, 1, 1, 1], [0, 2, 1, 0]):
        assert adapted(prompts=PROMPTS, adapters=chosen, new_tokens=6)["tokens"] == 24


def test_a_system_that_gives_fewer_tokens_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short_system.py").write_text("""
import subprocess
from benchmarks.engine.systems import serve

def load():
    subprocess.run(["echo", "a library's child talks on stdout"])
    print("so does the library")
    return {"answer": lambda **_: {"seconds": 2.0, "tokens": 12}}

serve(load)
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with System("short", (Path(sys.executable), "short_system")) as system:
        enough = Batch(prompts=PROMPTS[:2], adapters=[None, None], new_tokens=6)
        assert system.tokens_per_s(enough) == 6.0
        with pytest.raises(SystemExit, match="short gave 12 tokens, not 14"):
            system.tokens_per_s(replace(enough, new_tokens=7))


@pytest.fixture(scope="module")
def running(base: Path, adapters: list[str]) -> Running:
    return Running(base, "fp32", adapters)


def test_the_engines_answers_have_exactly_the_tokens_asked_for(running: Running) -> None:
    for chosen in ([None] * 4, [1, 1, 1, 1], [0, None, 1, 2]):
        assert running.answer(PROMPTS, chosen, new_tokens=6)["tokens"] == 24


def test_a_joining_prompt_and_running_answers_are_timed(running: Running) -> None:
    (joining,) = draw_prompts(1, (200,), 4096)
    found = running.join(PROMPTS, joining)
    assert 0 < found["step_s"] <= found["gap_s"] <= found["first_s"]
    assert running.scheduler.running == 0
    assert running.first_token(joining)["seconds"] > 0


def test_a_cold_adapter_is_read_and_a_warm_one_is_not(
    running: Running, base: Path, tmp_path: Path
) -> None:
    (folder,) = write_adapters(base, tmp_path, 1)
    running.first_token(PROMPTS[0], str(folder))
    moved = shutil.move(folder, tmp_path / "moved")
    assert running.first_token(PROMPTS[0], str(folder))["seconds"] > 0
    (moved / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelyardError):
        running.first_token(PROMPTS[0], str(moved))


def test_mixed_load_ends_with_nothing_running(running: Running) -> None:
    found = running.load(PROMPTS, seconds=0.3, seed=1)
    assert found["answers"] >= 1
    assert running.loaded_scheduler.running == running.loaded_scheduler.waiting == 0
    assert running.memory()["bytes"] > 1e6


@pytest.mark.soak
def test_the_whole_table_of_a_tiny_base(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.engine_gpu", "--shape", "tiny"]
    done = subprocess.run(
        [*command, "--settings", "bf16,8bit", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    verdicts = [row[4].strip() for row in rows[1:]]
    assert verdicts.count("left out") == 2  # vLLM and llama.cpp
    assert verdicts.count("hit") + verdicts.count("missed") == len(verdicts) - 2 >= 13
    assert "8bit" in done.stdout
