"""Keys that configs refer to: read at each use, and never repeated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from modelyard.secrets.references import NoUsableKey, read_key

KEY = "test-key-0123456789"


def test_a_key_comes_from_a_variable_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read_key("env:SOME_KEY", Project(tmp_path), of="it") == KEY
    assert read_key("file:key", Project(tmp_path), of="it") == KEY
    assert read_key(f"file:{tmp_path}/key", Project(tmp_path / "elsewhere"), of="it") == KEY


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two\nlines", "kéy".encode(), b"\xff\xfe", b"bell\x07", None]
)
def test_what_is_no_key_is_named_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(NoUsableKey) as caught:
        read_key("file:key", Project(tmp_path), of="the model gpt4")
    assert "the model gpt4" in str(caught.value) and caught.value.where == "file:key"
    assert "lines" not in str(caught.value) and caught.value.__cause__ is None


def test_a_pipe_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(NoUsableKey, match="cannot be read"):
        read_key("file:key", Project(tmp_path), of="it")


def test_where_a_key_file_was_looked_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoUsableKey, match=f"from {tmp_path}/key: No such file") as caught:
        read_key("file:key", Project(tmp_path), of="it")
    assert "starts at the project" in str(caught.value.hint)
