"""`models evaluate` says what it could not evaluate, before it loads the base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training_runs import arguments, flower_rows, run_here

from modelyard.core.layout import Project


def test_what_the_length_takes_away_is_said(
    flowers: Project, write_jsonl: Callable[[Path, list[Any]], Path]
) -> None:
    done = run_here(*arguments(settings=("schedule.max_steps=1",)))
    assert done.returncode == 0, done.stderr
    rows = flower_rows(3, start=200)
    rows[1]["messages"][0]["content"] += " Say it in a few words." * 9
    write_jsonl(flowers.root / "other" / "train.jsonl", flower_rows(1))
    write_jsonl(flowers.root / "other" / "eval.jsonl", rows)
    words = ("evaluate", "--adapter", "flowers@1", "--dataset", "./other", "--json")

    none = run_here(*words, "--max-length", "8")
    assert none.returncode == 5
    assert "all 3 evaluation rows are cut off before their last answer" in none.stderr
    assert "hint: raise max_length to " in none.stderr
    assert "load:" not in none.stderr

    some = run_here(*words, "--max-length", "64")
    assert some.returncode == 0, some.stderr
    assert "load:" in some.stderr
    assert json.loads(some.stdout)["rows"] == 2
    assert "1 of 3 evaluation rows left out, cut off before the last answer" in some.stderr

    rows[0]["expect"] = 5
    write_jsonl(flowers.root / "other" / "eval.jsonl", rows)
    wrong = run_here(*words)
    assert wrong.returncode == 2
    assert "other/eval.jsonl:1: 'expect' must be a list of lists of text" in wrong.stderr

    rows[0]["expect"] = [["blue"]]
    write_jsonl(flowers.root / "other" / "eval.jsonl", rows)
    words = ("evaluate", "--adapter", "flowers@1", "--dataset", "flowers", "--dataset", "./other")
    unusable = run_here(*words, "--max-length", "8")
    assert unusable.returncode == 5
    assert "flowers: all " in unusable.stderr and "load:" not in unusable.stderr
    both = run_here(*words, "--max-length", "64")
    assert both.returncode == 0, both.stderr
    title, _, columns, _, *lines = both.stdout.splitlines()
    assert title.startswith("flowers@1 against ")
    assert columns.split()[:3] == ["dataset", "rows", "loss"]
    assert [line.split()[0] for line in lines if line.strip()] == ["flowers", "other"]
    assert "warning: other: 1 of 3 evaluation rows left out" in both.stderr
    found = json.loads(run_here(*words, "--max-length", "64", "--json").stdout)
    assert [(each["adapter"], each["dataset"]) for each in found] == [
        ("flowers@1", "flowers"),
        ("flowers@1", "other"),
    ]
    assert found[1]["rows"] == 2
