"""What a project needs of a file system is found out by trying it, and nothing is left."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from file_systems import refuse
from modelyard.core.file_system import CAPABILITIES, probe_file_system
from modelyard.core.files import STAGING_PREFIX
from small_disk import mounted_disk, remount


def test_everything_works_here_and_nothing_is_left(tmp_path: Path) -> None:
    found = probe_file_system(tmp_path / "not" / "there")
    assert [each.name for each in found.capabilities] == list(CAPABILITIES)
    assert found.lacking == ()
    assert found.folder == tmp_path
    assert os.listdir(tmp_path) == ["home"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("call", "lacking"),
    [
        ("symlink", "symbolic links"),
        ("replace", "renames over an existing name"),
    ],
)
def test_what_the_system_does_not_know_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, lacking: str
) -> None:
    refuse(monkeypatch, call, errno.EOPNOTSUPP)
    found = probe_file_system(tmp_path)
    assert [(each.name, each.refusal) for each in found.lacking] == [
        (lacking, os.strerror(errno.EOPNOTSUPP))
    ]


def test_without_shared_memory_sqlite_has_no_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a mount without mmap: a folder stands where the shared memory would be."""
    mkdir = Path.mkdir

    def with_one_in_the_way(self: Path, *arguments: int) -> None:
        mkdir(self, *arguments)
        if "WAL" in self.name:
            mkdir(self / "state.db-shm")

    monkeypatch.setattr(Path, "mkdir", with_one_in_the_way)
    assert [each.name for each in probe_file_system(tmp_path).lacking] == ["SQLite's WAL"]


def test_where_nothing_can_be_written_nothing_is_known(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "1m") as disk:
        (disk / "filling").write_bytes(b"x" * (1 << 20))
        assert probe_file_system(disk).capabilities == ()
        assert os.listdir(disk) == ["filling"]  # noqa: PTH208
        (disk / "filling").unlink()
        remount(disk, "ro")
        found = probe_file_system(disk)
    assert (found.capabilities, found.lacking) == ((), ())
    assert found.kind == "tmpfs"


def test_a_probe_that_was_killed_is_removed_an_hour_later(tmp_path: Path) -> None:
    left = tmp_path / f"{STAGING_PREFIX}0123abcd-probe"
    left.mkdir()
    probe_file_system(tmp_path)
    assert left.exists()
    an_hour_ago = tmp_path.stat().st_mtime - 3700
    os.utime(left, (an_hour_ago, an_hour_ago))
    probe_file_system(tmp_path)
    assert not left.exists()
    assert shutil.disk_usage(tmp_path)
