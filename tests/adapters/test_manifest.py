from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from adapter_samples import facts
from modelyard.adapters.manifest import (
    DamagedVersion,
    FileEntry,
    build_manifest,
    list_files,
    load_manifest,
    require_intact,
    write_manifest,
)
from modelyard.core.errors import ModelyardError

FILES = {"adapter_config.json": FileEntry(sha256="00", size_bytes=2)}


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = build_manifest("demo", 3, FILES, facts(parent="demo@2"))
    write_manifest(tmp_path, manifest)
    assert load_manifest(tmp_path) == manifest
    assert manifest.files["adapter_config.json"].size_bytes == 2
    assert manifest.base.name == "tiny"
    assert manifest.parent == "demo@2"


def test_the_order_of_a_manifest_holds_every_field() -> None:
    manifest = build_manifest("demo", 1, FILES, facts())
    assert set(manifest.to_mapping()) == {field.name for field in fields(manifest)}


def test_facts_that_are_missing_or_unknown_are_named_together(tmp_path: Path) -> None:
    values = build_manifest("demo", 1, FILES, facts()).to_mapping()
    del values["base"]["fingerprint"], values["template_hash"]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({**values, "colour": "blue"}))
    with pytest.raises(DamagedVersion) as caught:
        load_manifest(tmp_path)
    assert sorted(problem.message for problem in caught.value.problems) == [
        "'base.fingerprint' is required",
        "'template_hash' is required",
        "unknown key 'colour'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ('{"adapter": ', "is not JSON"),
        ("\x00\xff", "is not JSON"),
        ("[]", "is not a manifest"),
        ("{}", "is not a complete manifest"),
    ],
)
def test_a_damaged_manifest_says_so(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "MANIFEST.json").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedVersion, match=rf"MANIFEST\.json: {message}") as caught:
        load_manifest(tmp_path)
    assert "restore the version from a backup" in str(caught.value.hint)


def test_what_is_wrong_inside_a_manifest_is_named(tmp_path: Path) -> None:
    write_manifest(tmp_path, build_manifest("demo", 1, FILES, facts()))
    values = json.loads((tmp_path / "MANIFEST.json").read_text())
    values["files"]["adapter_config.json"]["size_bytes"] = "2"
    del values["data"]
    (tmp_path / "MANIFEST.json").write_text(json.dumps(values))
    with pytest.raises(DamagedVersion) as caught:
        load_manifest(tmp_path)
    assert [problem.message for problem in caught.value.problems] == [
        "'files.adapter_config.json.size_bytes' must be a whole number, not '2'",
        "'data' is required",
    ]


def test_a_missing_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(DamagedVersion, match=r"MANIFEST\.json: is missing"):
        load_manifest(tmp_path)
    with pytest.raises(DamagedVersion, match="is missing"):
        load_manifest(tmp_path / "nothing")


def test_every_file_but_the_manifest_is_hashed(tmp_path: Path) -> None:
    folder = tmp_path / "version"
    (folder / "inner").mkdir(parents=True)
    (folder / "MANIFEST.json").write_text("{}")
    (folder / "inner" / "a").write_bytes(b"abc")
    entries = list_files(folder)
    assert list(entries) == ["inner/a"]
    assert entries["inner/a"].sha256.startswith("ba7816bf")
    assert entries["inner/a"].size_bytes == 3


def test_a_link_is_no_file_of_a_version(tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(ModelyardError, match="'passwords' is a link"):
        list_files(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "a.txt").unlink(), "a.txt: is missing"),
        (lambda folder: (folder / "b.txt").write_text("more"), "b.txt: is not in the manifest"),
        (lambda folder: (folder / "a.txt").write_text("one!"), "a.txt: holds 4 bytes, and 3"),
        (lambda folder: (folder / "a.txt").write_text("two"), "a.txt: was changed"),
    ],
)
def test_a_file_that_is_not_as_it_was_registered_is_named(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    (tmp_path / "a.txt").write_text("one")
    manifest = build_manifest("demo", 1, list_files(tmp_path), facts())
    write_manifest(tmp_path, manifest)
    require_intact(tmp_path, manifest)
    spoil(tmp_path)
    with pytest.raises(DamagedVersion, match="not as it was registered") as caught:
        require_intact(tmp_path, manifest)
    assert message in str(caught.value.problems[0])
