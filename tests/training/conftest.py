"""A project with a small dataset, and one in which a run on it is done."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import arguments, flower_rows, run_here

from modelyard.core.layout import Project


@pytest.fixture(scope="session")
def training_libraries() -> None:
    """Loaded once, and then skipped by the garbage collector: each run calls it twice for 0.2 s."""
    import modelyard.training.train  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture
def flowers(
    project: Project, write_jsonl: Callable[[Path, list[Any]], Path], training_libraries: None
) -> Project:
    """The project with a dataset of 24 training rows and 6 evaluation rows."""
    write_jsonl(project.root / "datasets/flowers/train.jsonl", flower_rows(24))
    write_jsonl(project.root / "datasets/flowers/eval.jsonl", flower_rows(6, start=100))
    return project


@pytest.fixture(scope="session")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the project of the first `finished` is kept for the next."""
    return tmp_path_factory.mktemp("kept") / "project"


@pytest.fixture
def finished(flowers: Project, kept_run: Path) -> Project:
    """The project with flowers@1, after a run that is done."""
    if kept_run.exists():
        shutil.copytree(kept_run, flowers.root, symlinks=True, dirs_exist_ok=True)
        return flowers
    ended = run_here(*arguments())
    assert ended.returncode == 0, ended.stderr
    shutil.copytree(flowers.root, kept_run, symlinks=True)
    return flowers
