"""`models generate` records its answers, and answers where they cannot be recorded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.cli.app import main
from modelyard.core.layout import Project
from modelyard.monitoring.samples import read_samples
from small_disk import mounted_disk, remount

GENERATE = ("generate", "--base-model", "tiny", "--max-new-tokens", "6", "hello")


def generate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[str, str]:
    """What it printed on stdout and on stderr; it must end well."""
    monkeypatch.setattr("sys.argv", ["models", *(words or GENERATE), "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert not stopped.value.code, printed.err
    return printed.out, printed.err


def test_an_answer_is_recorded_with_what_it_took(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.time_ns() // 1_000_000
    generate(monkeypatch, capsys)
    (sample,) = read_samples(project)
    assert (sample.model, sample.outcome) == ("base:tiny", "answered")
    assert (sample.adapter_digest, sample.parent_id, sample.cost_usd) == (None, None, 0.0)
    assert sample.output_tokens is not None
    assert 0 < sample.output_tokens <= 6
    assert sample.prompt_tokens is not None
    assert sample.prompt_tokens > 1
    assert sample.load_s is not None
    assert sample.first_token_s is not None
    assert 0 < sample.first_token_s <= sample.latency_s
    assert before <= sample.answered_at_ms <= time.time_ns() // 1_000_000
    generate(monkeypatch, capsys)
    first, second = read_samples(project)
    assert first == sample
    assert second.answer_id != first.answer_id


def test_an_answer_that_is_interrupted_ends_in_order_and_is_recorded_as_that(
    project: Project,
) -> None:
    words = [sys.executable, "-m", "modelyard", *GENERATE[:3], "--max-new-tokens", "400", "hello"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout
    assert process.stdout.read(1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.splitlines()[-1]) == (130, "interrupted")
    assert "exception" not in stderr
    (sample,) = read_samples(project)
    assert sample.outcome == "interrupted"
    assert sample.output_tokens is not None
    assert 0 < sample.output_tokens < 400


def test_a_read_only_project_answers_and_says_that_it_does_not_record(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mounted_disk(tmp_path / "disk", "8m") as disk:
        root = disk / "project"
        shutil.copytree(project.root, root)
        remount(disk, "ro")
        monkeypatch.chdir(root)
        out, err = generate(monkeypatch, capsys)
        monkeypatch.chdir(tmp_path)
    assert len(json.loads(out)["answers"]) == 1
    assert err.count("Read-only file system") == 1
    assert "warning: not in the records of answers" in err
