"""Backups that an older version made are read by this one; make_stored_backups.py says how.

The archive is what the version of November 2026 wrote, and is never made again.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from make_stored_backups import contents

from modelyard.core.layout import Project

ARCHIVE = Path(__file__).with_name("backups-2026-11.tar.xz")

Models = Callable[..., int]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backups")
    with tarfile.open(ARCHIVE) as archive:
        # Python 3.11.2 has no filters; where they are, one must be named.
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("name", ["plain", "encrypted"])
def test_they_are_listed_verified_restored_and_continued(
    models_here: Models,
    stored: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    key = ("--key", f"file:{stored}/key") if name == "encrypted" else ()
    where = ("--repo", (stored / name).as_uri(), *key)
    assert models_here("init", "mine") == 0
    here = ("--project", "mine", "backup")
    capsys.readouterr()
    assert models_here(*here, "list", "--json", *where) == 0
    listed = json.loads(capsys.readouterr().out)["snapshots"]
    assert [one["tag"] for one in listed[:2]] == ["first", "second"]
    assert models_here(*here, "verify", "--all", *where) == 0
    second = listed[1]["snapshot"]
    assert models_here("--project", "mine", "restore", second, "--to", "back", *where) == 0
    back = Project(tmp_path / "back")
    assert contents(back) == json.loads((stored / "expected.json").read_text())
    with closing(sqlite3.connect(back.state_db)) as state:
        assert state.execute("SELECT prompt, answer FROM feedback").fetchall() == [("Who?", "Ann")]
        assert state.execute("SELECT adapter, version FROM pins").fetchall() == [("demo", 1)]
    assert models_here("--project", "mine", "backup", *where) == 0
    assert models_here(*here, "verify", "--all", *where) == 0
