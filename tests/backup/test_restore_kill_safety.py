"""A restore that is killed, or whose disk or store fails, at any call: nothing or everything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapter_samples import facts, fill_with
from hand_made_snapshots import contents_of, store
from killed import SOAK
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import load_version, register_version
from modelyard.backup.repository import open_repository
from modelyard.core.layout import Project
from modelyard.core.state import open_state

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def laid_down(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, itself as it was backed up, and the repository."""
    folder = tmp_path_factory.mktemp("cut-off")
    project = Project(folder / "project")
    for name in ("configs", "models"):
        (project.root / name).mkdir(parents=True)
    for name in ("a", "b"):
        (project.configs / f"{name}.yaml").write_text(f"name: {name}\n")
    for run in ("1", "2"):
        register_version(project, "demo", fill=fill_with(), provenance=facts(run))
    promote_version(project, load_version(project, "demo", 1))
    _spend(project, 20)
    then = Project(folder / "then")
    shutil.copytree(project.root, then.root, symlinks=True)
    shutil.rmtree(then.local_state / "locks")
    for path in then.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o640)
    repository = open_repository((folder / "backups").as_uri(), project, make=True)
    store(repository, contents_of(then))
    promote_version(project, load_version(project, "demo", 2))
    shutil.rmtree(project.adapter_version("demo", 1))
    (project.configs / "a.yaml").write_text("name: later\n")
    (project.configs / "c.yaml").write_text("name: c\n")
    _spend(project, 50)
    return folder


def _spend(project: Project, nano_usd: int) -> None:
    row = ("production", "", "2026-11-30", nano_usd)
    with open_state(project) as state:
        state.execute("INSERT OR REPLACE INTO spending VALUES (?, ?, ?, ?, 0)", row)


@pytest.mark.parametrize(
    ("action", "how"),
    [
        ("new", "kill"),
        ("new", "fail"),
        ("in-place", "kill"),
        ("in-place", "fail"),
        ("undo", "kill"),
        *([("undo", "fail")] if SOAK > 1 else []),
    ],
)
def test_cut_off_at_any_call_it_has_done_nothing_or_is_completed(
    laid_down: Path, tmp_path: Path, action: str, how: str
) -> None:
    folder = Path(shutil.copytree(laid_down, tmp_path / "folder", symlinks=True))
    paths = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(TESTS / "restore_cut_off.py"), action, how, str(folder)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=540,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
