"""Backups in a real S3-speaking server on loopback, through the commands themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from upkeep_samples import SILENT, small_project

from modelyard.backup.repository import open_repository
from modelyard.backup.selection import Selection
from modelyard.backup.snapshot import make_snapshot
from modelyard.core.layout import Project
from modelyard.setup.init import init_project
from s3_server import BUCKET, SECRET, S3Server, serving_guarded_s3

URL = f"s3://{BUCKET}/team/backups"
CONFIGS = 500


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with serving_guarded_s3(tmp_path / "s3") as started:
        yield started


def models(
    folder: Path, server: S3Server, *words: str, code: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *words],
        cwd=folder,
        env={**os.environ, **server.environment, "MODELS_BACKUP_REPO": URL, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert SECRET not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return done


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("configs", "models")
        for path in (folder / name).rglob("*")
        if path.is_file()
    }


def test_a_project_goes_to_a_bucket_encrypted_and_comes_back(
    tmp_path: Path, server: S3Server
) -> None:
    project = init_project(tmp_path / "project").project
    key = {"MODELS_BACKUP_KEY": str(pyrage.x25519.Identity.generate())}
    models(project.root, server, "backup", "--models", "all", **key)
    (project.configs / "extra.txt").write_text("more")
    models(project.root, server, "backup", "--tag", "second", **key)
    listed = json.loads(models(project.root, server, "backup", "list", "--json", **key).stdout)
    assert [one["tag"] for one in listed["snapshots"]] == [None, "second"] and listed["encrypted"]
    models(project.root, server, "backup", "verify", "--all", **key)
    models(tmp_path, server, "restore", "latest", "--to", "back", **key)
    assert files_of(tmp_path / "back") == files_of(project.root)
    pruned = models(project.root, server, "backup", "prune", "--keep-last", "1", "--json", **key)
    assert len(json.loads(pruned.stdout)["removed"]) == 1
    assert (
        "extra.txt"
        in models(project.root, server, "backup", "show", "latest", "--files", **key).stdout
    )
    models(tmp_path, server, "restore", "latest", "--to", "again", **key)
    assert files_of(tmp_path / "again") == files_of(project.root)
    assert "no key was given" in models(project.root, server, "backup", "list", code=2).stderr
    wrong = {"MODELS_BACKUP_KEY": str(pyrage.x25519.Identity.generate())}
    assert "does not open" in models(tmp_path, server, "restore", "latest", code=1, **wrong).stderr


def requests_of_a_snapshot(project: Project, server: S3Server, prefix: str) -> int:
    repository = open_repository(f"s3://{BUCKET}/{prefix}", project, make=True)
    before = len(server.requests)
    make_snapshot(project, repository, Selection(), progress=SILENT)
    return len(server.requests) - before


def test_hundreds_of_configs_are_a_handful_of_requests(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    project = small_project(tmp_path / "project")
    few = requests_of_a_snapshot(project, server, "few")
    for number in range(CONFIGS):
        (project.configs / f"model_{number:03d}.yaml").write_text(f"number: {number}\n")
    many = requests_of_a_snapshot(project, server, "many")
    print(f"{CONFIGS} configs: {many - few} requests more than the {few} of a snapshot of ten")
    print("\n".join(server.requests[-many:]))
    assert many - few <= 5
