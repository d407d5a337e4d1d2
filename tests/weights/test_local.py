from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from damage import flip_last_bit
from modelyard.core.layout import Project, cache_folder
from modelyard.core.progress import Silent
from modelyard.weights.files import UnreadableWeights, fingerprint_weights
from modelyard.weights.local import BaseDamaged, LocalBase, locate_base, verify_base
from modelyard.weights.pull import require_base


@pytest.fixture
def own_folder(
    project: Project, tiny_base_folder: Path, write_base_card: Callable[..., Path]
) -> Path:
    """A copy of the tiny base that a test may harm, as the base `own`."""
    folder = project.root / "weights"
    shutil.copytree(tiny_base_folder, folder)
    write_base_card("own", {"kind": "path", "path": "weights"})
    return folder


@pytest.fixture
def pulled(project: Project, hub: Any, write_base_card: Callable[..., Path]) -> LocalBase:
    """A base whose files are not the user's own, so that a change is damage."""
    write_base_card("kept", {"kind": "hub", "repo": "acme/tiny", "revision": "main"})
    return require_base(project, "kept", progress=Silent())


def _flip_last_byte(path: Path, *, keep_time: bool) -> None:
    before = path.stat()
    flip_last_bit(path)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_folder_of_ones_own_is_used_where_it_lies(
    project: Project, tiny_base_folder: Path
) -> None:
    base = locate_base(project, "tiny")
    assert base is not None
    assert base.path == tiny_base_folder
    assert base.fingerprint == fingerprint_weights(tiny_base_folder)
    assert base.source == f"path {tiny_base_folder}"
    assert not list(cache_folder().rglob("*.safetensors"))


def test_a_known_folder_is_read_only_once(project: Project, own_folder: Path, said: Any) -> None:
    first = locate_base(project, "own", progress=said)
    second = locate_base(project, "own", progress=said)
    assert first == second
    assert len(said.stages) == 1


def test_a_changed_folder_of_ones_own_has_a_new_fingerprint(
    project: Project, own_folder: Path
) -> None:
    before = locate_base(project, "own")
    _flip_last_byte(own_folder / "model.safetensors", keep_time=False)
    after = locate_base(project, "own")
    assert before is not None and after is not None
    assert before.fingerprint != after.fingerprint


def test_a_file_added_to_a_folder_of_ones_own_is_noticed(
    project: Project, own_folder: Path
) -> None:
    locate_base(project, "own")
    (own_folder / "special_tokens_map.json").write_text("{}")
    after = locate_base(project, "own")
    assert after is not None and "special_tokens_map.json" in after.files


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_without_a_needed_file_is_no_base(
    project: Project, own_folder: Path, name: str
) -> None:
    (own_folder / name).unlink()
    assert locate_base(project, "own") is None


def test_weights_of_ones_own_that_are_cut_off_name_the_file(
    project: Project, own_folder: Path
) -> None:
    weights = own_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UnreadableWeights) as caught:
        locate_base(project, "own")
    assert caught.value.where == str(weights)


def test_verify_finds_a_flipped_bit_that_the_quick_look_cannot(
    project: Project, pulled: LocalBase
) -> None:
    verify_base(pulled)
    _flip_last_byte((pulled.path / "model.safetensors").resolve(), keep_time=True)
    found = locate_base(project, "kept")
    assert found is not None
    with pytest.raises(BaseDamaged) as caught:
        verify_base(found)
    assert "model.safetensors: has other bytes than were recorded" in str(caught.value.problems[0])


def test_a_damaged_cache_names_its_files_and_the_command_that_mends_it(
    project: Project, pulled: LocalBase
) -> None:
    weights = (pulled.path / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1])
    (pulled.path / "tokenizer.json").unlink()
    with pytest.raises(BaseDamaged) as caught:
        require_base(project, "kept", progress=Silent())
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 2
    assert "model.safetensors: has " in said[0] and "were recorded" in said[0]
    assert "tokenizer.json: cannot read: No such file" in said[1]
    assert "models base pull kept --force" in (caught.value.hint or "")
    assert caught.value.exit_code == 1


def test_force_mends_a_damaged_cache(project: Project, pulled: LocalBase) -> None:
    from modelyard.weights.pull import pull_base

    (pulled.path / "tokenizer.json").resolve().write_text("{}")
    with pytest.raises(BaseDamaged):
        pull_base(project, "kept", progress=Silent())
    repaired = pull_base(project, "kept", progress=Silent(), force=True)
    verify_base(repaired)
    assert repaired.fingerprint == pulled.fingerprint


def test_new_times_and_the_same_bytes_are_no_damage(project: Project, pulled: LocalBase) -> None:
    for file in pulled.path.iterdir():
        os.utime(file, (0, 0))
    found = locate_base(project, "kept")
    assert found is not None and found.fingerprint == pulled.fingerprint
    assert {facts.mtime_ns for facts in found.files.values()} == {0}
    assert locate_base(project, "kept") == found


def test_a_damaged_record_is_damage(project: Project, pulled: LocalBase) -> None:
    (record,) = cache_folder().glob("bases/kept/*/BASE.json")
    record.write_text(record.read_text()[:40])
    with pytest.raises(BaseDamaged) as caught:
        locate_base(project, "kept")
    assert f"{record}: is not a readable record" in str(caught.value.problems[0])


def test_a_cache_that_cannot_be_written_serves_a_folder_of_ones_own(
    project: Project, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = own_home / "not-a-folder"
    occupied.write_text("")
    monkeypatch.setenv("MODELS_CACHE", str(occupied))
    assert locate_base(project, "tiny") is not None
