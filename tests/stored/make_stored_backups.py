"""Make the stored backups: two repositories, one of them encrypted, packed in one archive.

    python tests/stored/make_stored_backups.py tests/stored/backups-YYYY-MM.tar.xz

It works through the command line alone. As for make_stored_project.py, an archive is never made
again: every later version must read it. In it are `plain`, `encrypted`, the `key` of that, and
`expected.json`: what the newest snapshot of each restores, by path.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

import pyrage

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_projects import make_project
from modelyard.core.layout import Project

OPTIONS = ("embeddings", "datasets", "experiments", "telemetry")


def make(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        project = make_project(folder / "project")
        write_large_index(project)
        (folder / "key").write_text(f"{pyrage.x25519.Identity.generate()}\n")
        for tag in ("first", "second"):
            (project.configs / "changing.yaml").write_text(f"name: {tag}\n")
            for name, key in (("plain", ()), ("encrypted", ("--key", f"file:{folder}/key"))):
                back_up(project, folder / name, tag, key)
        expected = contents(project)
        (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True))
        with tarfile.open(archive, "x:xz") as packed:
            for name in ("plain", "encrypted", "key", "expected.json"):
                packed.add(folder / name, name)


def write_large_index(project: Project) -> None:
    """So many pages that their hashes are in lists; most of them compress well."""
    with (
        closing(sqlite3.connect(project.search_index("docs", "large", "0123abcd"))) as index,
        index,
    ):
        index.execute("CREATE TABLE passages (id INTEGER PRIMARY KEY, text TEXT)")
        rows = [(f"{number} " * 500,) for number in range(1_700)]
        index.executemany("INSERT INTO passages (text) VALUES (?)", rows)


def back_up(project: Project, repository: Path, tag: str, key: tuple[str, ...]) -> None:
    options = [f"--include-{name}" for name in OPTIONS]
    words = ["--project", str(project.root), "backup", "--repo", repository.as_uri(), "--tag", tag]
    command = [sys.executable, "-m", "modelyard", *words, *options, *key]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def contents(project: Project) -> dict[str, str]:
    """Each file but the databases by its SHA-256, each link by where it leads."""
    found = {}
    for place in sorted(project.root.rglob("*")):
        path = place.relative_to(project.root).as_posix()
        if path.startswith((".models/locks", ".models/embedding-cache")) or ".db" in place.name:
            continue
        if place.is_symlink():
            found[path] = str(place.readlink())
        elif place.is_file():
            mode = place.stat().st_mode & 0o777
            found[path] = f"{mode:o} {hashlib.sha256(place.read_bytes()).hexdigest()}"
    return found


if __name__ == "__main__":
    os.umask(0o022)
    make(Path(sys.argv[1]))
