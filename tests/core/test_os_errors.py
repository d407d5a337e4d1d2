"""What the operating system refuses is an error with a place and a way out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelyard.core.errors import ModelyardError
from modelyard.core.files import disk_errors, exclusive_lock, replace_link


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_what_a_file_system_does_not_know_names_one_that_does(tmp_path: Path, number: int) -> None:
    with pytest.raises(ModelyardError) as refused, disk_errors(tmp_path / "link"):
        raise OSError(number, os.strerror(number))
    assert refused.value.where == str(tmp_path / "link")
    assert os.strerror(number) in refused.value.message
    assert refused.value.hint and "ext4" in refused.value.hint
    assert refused.value.exit_code == 1


def test_a_link_that_cannot_be_made_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "symlink", refused)
    with pytest.raises(ModelyardError, match="Function not implemented"):
        replace_link(tmp_path / "link", tmp_path / "target")
    monkeypatch.setattr("fcntl.flock", refused)
    with (
        pytest.raises(ModelyardError, match="Function not implemented"),
        exclusive_lock(tmp_path / "lock", what="thing"),
    ):
        pass
