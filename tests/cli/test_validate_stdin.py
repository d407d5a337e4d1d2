"""`models validate-config -`: a config that an editor or a hook has in hand, and no file yet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.setup.init import init_project

Models = Callable[..., int]
Check = Callable[..., int]

SCHEMA = "# yaml-language-server: $schema=../schemas/performance_profiles.json\n"
GOOD = "description: Patience\ntimeout: 2 minutes\n"
BAD = "description: Patience\ntimeout: 60\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    init_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def check(models_here: Models, monkeypatch: pytest.MonkeyPatch) -> Check:
    def run(data: str | bytes, *words: str) -> int:
        raw = data.encode() if isinstance(data, str) else data
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return models_here("validate-config", *words)

    return run


def test_the_schema_line_says_the_kind(
    root: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(SCHEMA + GOOD, "-") == 0
    assert capsys.readouterr().err == "1 file checked: no problems\n"
    assert check(SCHEMA + BAD, "-") == 2
    assert capsys.readouterr().out.startswith("<stdin>:3:1: 'timeout' must be a duration")


def test_the_name_of_a_file_says_the_kind_and_the_place(
    root: Path,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = "configs/performance_profiles/patient.yaml"
    assert check(GOOD, "-", "--stdin-filename", file) == 0
    assert check(BAD, "-", "--stdin-filename", file) == 2
    assert capsys.readouterr().out.startswith(f"{file}:2:1: ")
    assert not (root / file).exists()
    monkeypatch.chdir(root / "configs")
    assert check(BAD, "-", "--stdin-filename", "performance_profiles/patient.yaml") == 2
    assert capsys.readouterr().out.startswith("performance_profiles/patient.yaml:2:1: ")


def test_what_an_editor_has_not_saved_yet_is_checked_instead_of_the_file(
    root: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = root / "configs/performance_profiles/balanced.yaml"
    text = saved.read_text()
    assert check(text + "wrong: 1\n", "-", "--stdin-filename", "balanced", "--json") == 2
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["rule"] == "unknown-key"
    assert finding["file"] == "configs/performance_profiles/balanced.yaml"
    assert saved.read_text() == text
    declared = "environments: {development: {}, eu: {}}\n"
    assert check(declared, "-", "--stdin-filename", "configs/environments.yaml") == 0


def test_stdin_may_be_empty_or_a_config_that_is_there_or_of_another_program(
    root: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check("", "-") == 2
    assert capsys.readouterr().out.startswith("<stdin>:1:1: is empty (")
    gpt4 = (root / "configs" / "language_models" / "gpt4_config.yaml").read_text()
    assert check(gpt4, "-") == 0
    shown = capsys.readouterr().out
    assert "warning: 'gpt-4' also means" in shown and "`--stdin-filename FILE`" in shown
    axolotl = "base_model: x\nadapter: lora\nlora_r: 8\nmicro_batch_size: 1\n"
    assert check(axolotl, "-") == 2
    assert "save it in a file: `models config import FILE`" in capsys.readouterr().out


def test_a_merge_key_with_a_word_of_two_readings_is_a_finding(
    root: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(f"{SCHEMA}{GOOD}<<: 12:30\n", "-") == 2
    assert "'12:30' is read as a base-60 number" in capsys.readouterr().out


def test_what_is_no_config_is_one_finding(
    root: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(GOOD, "-") == 2
    assert "<stdin>:1:1: the kind of this config is unknown" in capsys.readouterr().out
    assert check(b"\xff\xfea\x00", "-", "--format", "sarif") == 2
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["yaml-not-utf8"]
    secret = "sk-ant-" + "api03-Zq8" * 6
    assert check(f"{SCHEMA}description: {secret}\n", "-", "--json") == 2
    printed = capsys.readouterr().out
    assert "inline-secret" in printed and secret not in printed
    assert check("a: " + "x" * 1_000_001, "-") == 2
    assert "larger than 1 MB" in capsys.readouterr().out


def test_stdin_is_checked_outside_a_project_too(
    tmp_path: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(SCHEMA + GOOD, "-") == 0
    assert "no project is around these files" in capsys.readouterr().err


def test_a_name_without_stdin_is_wrong_usage(root: Path, check: Check) -> None:
    assert check(GOOD, "--stdin-filename", "configs/environments.yaml") == 2
