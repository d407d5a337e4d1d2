"""Refusals of the system in words, and paths that a person gave for writing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidInput
from modelyard.core.given_paths import require_file_place, require_folder_place, write_given_file
from modelyard.core.os_errors import explain_os_error


def refusal(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EISDIR])
def test_a_path_that_is_wrong_anywhere_is_wrong_input(tmp_path: Path, number: int) -> None:
    explained = explain_os_error(refusal(number, tmp_path), None)
    assert isinstance(explained, InvalidInput)
    assert explained.where == str(tmp_path) and explained.hint


def test_a_disk_that_is_mounted_read_only_is_not_a_matter_of_owners(tmp_path: Path) -> None:
    explained = explain_os_error(refusal(errno.EROFS, tmp_path), None)
    assert explained is not None and "mounted read-only" in (explained.hint or "")


def test_a_file_that_is_gone_is_not_explained_away(tmp_path: Path) -> None:
    assert explain_os_error(refusal(errno.ENOENT, tmp_path), None) is None
    assert explain_os_error(OSError(errno.EPIPE, "Broken pipe"), None) is None


def test_a_place_for_a_file_follows_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    assert require_file_place(tmp_path / "link") == tmp_path / "file"
    write_given_file(tmp_path / "link", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_place_for_a_folder_follows_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert require_folder_place(tmp_path / "link") == tmp_path
    assert require_folder_place(tmp_path / "new" / "er") == tmp_path / "new" / "er"
