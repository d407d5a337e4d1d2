"""`--dry-run` says what the same command without it does; `--check` and it change nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_runs import Ended, arguments, cut_off, run_here

from modelyard.core.layout import Project


def dry_run(*more: str, settings: tuple[str, ...] = ()) -> Ended:
    return run_here(*arguments("--dry-run", *more, settings=settings))


def preview(*more: str) -> dict[str, Any]:
    ended = dry_run("--json", *more)
    assert ended.returncode == 0, ended.stderr
    would: dict[str, Any] = json.loads(ended.stdout)["would"]
    return would


def content_of(*roots: Path) -> dict[Path, bytes | None]:
    """Every folder and file below the roots, with what it holds."""
    places = [place for root in roots for place in root.rglob("*")]
    return {place: place.read_bytes() if place.is_file() else None for place in places}


@pytest.fixture
def without_base(flowers: Project) -> Project:
    """The project, when its base would have to be fetched."""
    card = flowers.base_card("tiny")
    front = card.read_text().partition("sources:")[0]
    source = "  - kind: hub\n    repo: example/tiny\n    revision: main\n"
    card.write_text(f"{front}download_bytes: 93000000\nsources:\n{source}---\n")
    return flowers


@pytest.mark.parametrize("asked", ["--check", "--dry-run"])
def test_looking_writes_nothing_anywhere(flowers: Project, own_home: Path, asked: str) -> None:
    before = content_of(flowers.root, own_home)
    assert run_here(*arguments(asked)).returncode == 0
    assert content_of(flowers.root, own_home) == before


def test_a_dry_run_of_a_new_experiment_names_what_would_be_written(flowers: Project) -> None:
    ended = dry_run("--promote")
    assert ended.returncode == 0, ended.stderr
    for line in (
        "  experiments/flowers/",
        "  models/versions/flowers/1/",
        "  models/trained/flowers, if it beats the base with confidence",
    ):
        assert line in ended.stdout.splitlines()


def test_a_dry_run_of_a_finished_experiment_has_nothing_to_do(finished: Project) -> None:
    before = content_of(finished.root)
    ended = dry_run()
    assert ended.returncode == 0, ended.stderr
    assert "flowers@1 is already trained and registered; nothing to do." in ended.stdout
    assert "would write" not in ended.stdout
    assert preview()["writes"] == []
    assert content_of(finished.root) == before


def test_a_dry_run_is_refused_where_the_command_is_with_the_same_words(finished: Project) -> None:
    other = ("lora.rank=8",)
    dry, real = dry_run(settings=other), run_here(*arguments(settings=other))
    assert (dry.returncode, dry.stderr) == (real.returncode, real.stderr)
    assert "lora.rank was 4, and is 8 now" in dry.stderr
    fresh = preview("--fresh", "--set", "lora.rank=8")
    assert (fresh["action"], fresh["removes_run"]) == ("start", True)
    assert fresh["writes"][-1] == "models/versions/flowers/2"


def test_a_dry_run_says_what_the_gate_says_of_a_finished_run(finished: Project) -> None:
    dry, real = dry_run("--promote"), run_here(*arguments("--promote"))
    assert dry.returncode == real.returncode
    if dry.returncode == 0:
        assert "would promote it: it is better than the base" in dry.stdout
    else:
        assert "would not be promoted" in dry.stderr


def test_a_dry_run_of_a_stopped_run_says_from_which_step_it_would_go_on(
    flowers: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off("_evaluate", flowers, monkeypatch)
    assert preview()["action"] == "conclude"
    shutil.rmtree(flowers.experiment("flowers") / "checkpoints" / "final")
    shutil.rmtree(flowers.experiment("flowers") / "checkpoints" / "checkpoint-6")
    ended = dry_run()
    assert "would resume after step 4, which experiments/flowers/ holds" in ended.stdout
    resumed = run_here(*arguments())
    assert "go on after step 4" in resumed.stderr


def test_a_run_that_was_registered_and_not_noted_keeps_its_version(
    flowers: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off("_write_report", flowers, monkeypatch)
    assert preview()["writes"][-1] == "models/versions/flowers/1"


def test_a_dry_run_without_the_base_says_what_it_could_not_check(
    without_base: Project, own_home: Path
) -> None:
    before = content_of(without_base.root, own_home)
    ended = dry_run()
    assert ended.returncode == 0, ended.stderr
    assert "(about 93 MB) from the first source that has it: hub example/tiny@main" in ended.stdout
    assert "which tokens are trained" in ended.stdout
    assert "  models/versions/flowers/1/" in ended.stdout
    assert content_of(without_base.root, own_home) == before


def test_a_check_that_could_not_be_made_is_no_success(
    without_base: Project, own_home: Path
) -> None:
    before = content_of(without_base.root, own_home)
    ended = run_here(*arguments("--check"))
    assert ended.returncode == 1
    assert "base 'tiny' is not on this machine" in ended.stderr
    assert "run `models base pull tiny` (about 93 MB), then check again" in ended.stderr
    assert content_of(without_base.root, own_home) == before


def test_without_the_base_rows_are_still_checked(without_base: Project) -> None:
    folder = without_base.dataset("flowers")
    (folder / "eval.jsonl").write_text((folder / "train.jsonl").read_text())
    ended = dry_run()
    assert ended.returncode == 2
    assert "is also in train" in ended.stderr


def test_without_the_base_another_run_is_still_refused(finished: Project, tmp_path: Path) -> None:
    card = finished.base_card("tiny")
    card.write_text(card.read_text().replace("path: ", "path: /nowhere"))
    assert dry_run().returncode == 0
    assert "seed was 0, and is 7 now" in dry_run(settings=("seed=7",)).stderr
    stopped = dry_run(settings=("schedule.max_steps=2",)).stderr
    assert "schedule.max_steps was not set, and is 2 now" in stopped


def test_a_version_that_was_deleted_names_the_way_out(finished: Project) -> None:
    shutil.rmtree(finished.adapter_version("flowers", 1))
    for ended in (dry_run(), run_here(*arguments())):
        assert ended.returncode == 1
        assert "models/versions/flowers/1/MANIFEST.json: is missing" in ended.stderr
        assert "--fresh" in ended.stderr
    assert run_here(*arguments("--fresh")).returncode == 0
