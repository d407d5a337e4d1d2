from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_samples import facts, fill_with
from killed import interruptions
from modelyard.adapters.manifest import DamagedVersion, Manifest, list_files
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import (
    AdapterVersion,
    active_number,
    list_adapters,
    list_versions,
    register_version,
    resolve_version,
    version_numbers,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project

Register = Callable[..., AdapterVersion]


def test_a_version_holds_its_files_and_their_hashes(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    assert version.name == "demo@1"
    assert version.path == bare_project.root / "models" / "versions" / "demo" / "1"
    assert version.manifest.files == list_files(version.path)
    assert sorted(version.manifest.files) == [
        "TRAINING_INFO.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert version.manifest.created_at.endswith("Z")
    assert list_versions(bare_project, "demo") == [version]


def test_a_version_is_read_only_and_closed_to_others(register: Register) -> None:
    version = register("run-1")
    for path in version.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400, path
    assert stat.S_IMODE(version.path.stat().st_mode) == 0o700


def test_versions_are_numbered_one_after_the_other(
    bare_project: Project, register: Register
) -> None:
    assert [register(f"run-{n}").number for n in range(11)] == list(range(1, 12))
    assert version_numbers(bare_project, "demo") == list(range(1, 12))
    shutil.rmtree(bare_project.adapter_version("demo", 3))
    assert register("run-x").number == 12
    shutil.rmtree(bare_project.adapter_version("demo", 12))
    assert register("run-x").number == 13
    assert register("run-1", adapter="other").number == 1
    assert list_adapters(bare_project) == ["demo", "other"]


def test_a_broken_record_of_numbers_gives_out_none(
    bare_project: Project, register: Register
) -> None:
    register("run-1")
    for text in ("", "two", "-1", "9" * 5000, "२"):
        bare_project.highest_number("demo").write_text(text)
        with pytest.raises(DamagedVersion, match="the highest number a version ever had"):
            register("run-2")
    assert version_numbers(bare_project, "demo") == [1]
    bare_project.highest_number("demo").unlink()
    assert register("run-2").number == 2


def test_fill_is_told_the_number_and_writes_out_of_sight(bare_project: Project) -> None:
    seen = []

    def fill(staged: Path, manifest: Manifest) -> None:
        fill_with()(staged, manifest)
        seen.append(
            (manifest.version, staged.name.startswith(".staging-"), list_adapters(bare_project))
        )

    register_version(bare_project, "demo", fill=fill, provenance=facts())
    assert seen == [(1, True, [])]


def test_the_same_run_registered_again_gives_the_same_version(
    bare_project: Project, register: Register
) -> None:
    first = register("run-1")
    register("run-2")

    def never(staged: Path, manifest: Manifest) -> None:
        raise AssertionError

    again = register_version(bare_project, "demo", fill=never, provenance=facts("run-1"))
    assert again == first
    assert version_numbers(bare_project, "demo") == [1, 2]


def test_a_fill_that_fails_leaves_nothing(bare_project: Project, register: Register) -> None:
    def fill(staged: Path, manifest: Manifest) -> None:
        fill_with()(staged, manifest)
        raise ModelyardError("the adapter is equal to its start")

    with pytest.raises(ModelyardError, match="equal to its start"):
        register_version(bare_project, "demo", fill=fill, provenance=facts())
    assert list(bare_project.adapter_versions("demo").iterdir()) == []
    assert register("run-1").number == 1


def test_a_version_without_its_card_is_a_bug(bare_project: Project) -> None:
    def fill(staged: Path, manifest: Manifest) -> None:
        (staged / "file").touch()

    with pytest.raises(ValueError, match=r"TRAINING_INFO\.md"):
        register_version(bare_project, "demo", fill=fill, provenance=facts())


def test_a_link_among_the_files_is_refused(bare_project: Project) -> None:
    def fill(staged: Path, manifest: Manifest) -> None:
        fill_with()(staged, manifest)
        (staged / "tokenizer.json").symlink_to("/etc/passwd")

    with pytest.raises(ModelyardError, match=r"'tokenizer\.json' is a link"):
        register_version(bare_project, "demo", fill=fill, provenance=facts())
    assert version_numbers(bare_project, "demo") == []


def test_what_a_killed_registration_left_is_swept(
    bare_project: Project, register: Register
) -> None:
    home = bare_project.adapter_versions("demo")
    (home / ".staging-0123abcd-1" / "inner").mkdir(parents=True)
    assert register("run-1").number == 1
    assert sorted(place.name for place in home.iterdir()) == [".highest-number", "1"]


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "A", "demo/1", ""])
def test_names_that_could_leave_their_folder_are_refused(bare_project: Project, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a valid adapter name"):
        register_version(bare_project, name, fill=fill_with(), provenance=facts())
    with pytest.raises(InvalidInput, match=r"is not a valid adapter name|names a base model"):
        resolve_version(bare_project, name)


@pytest.mark.parametrize("place", ["versions", "versions/demo"])
def test_a_link_out_of_the_project_is_refused(
    bare_project: Project, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = bare_project.models / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(InvalidInput, match="leaves the project"):
        register_version(bare_project, "demo", fill=fill_with(), provenance=facts())
    with pytest.raises(InvalidInput, match="leaves the project"):
        resolve_version(bare_project, "demo@1")
    assert list(outside.iterdir()) == []


def test_a_version_that_is_a_link_or_another_version_is_damaged(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    (version.path.parent / "2").symlink_to("1")
    with pytest.raises(DamagedVersion, match="is a link"):
        resolve_version(bare_project, "demo@2")
    shutil.copytree(version.path, version.path.parent / "3")
    with pytest.raises(DamagedVersion, match="holds demo@1, not demo@3"):
        resolve_version(bare_project, "demo@3")


def test_a_damaged_version_does_not_stop_the_next(
    bare_project: Project, register: Register
) -> None:
    (register("run-1").path / "MANIFEST.json").unlink()
    assert register("run-1").number == 2
    with pytest.raises(DamagedVersion):
        list_versions(bare_project, "demo")


def test_a_version_is_found_by_number_or_as_the_active_one(
    bare_project: Project, register: Register
) -> None:
    first, second = register("run-1"), register("run-2")
    assert resolve_version(bare_project, "demo@2") == second
    assert active_number(bare_project, "demo") is None
    promote_version(bare_project, first)
    assert active_number(bare_project, "demo") == 1
    assert resolve_version(bare_project, "demo") == first


def test_an_unknown_version_says_what_there_is(bare_project: Project, register: Register) -> None:
    with pytest.raises(InvalidInput, match="there is no adapter 'demo'") as caught:
        resolve_version(bare_project, "demo")
    assert caught.value.hint == "`models fine-tune` makes one"
    register("run-1")
    register("run-2")
    with pytest.raises(InvalidInput, match=r"'dmo' \(did you mean 'demo'\?\)") as caught:
        resolve_version(bare_project, "dmo@1")
    assert caught.value.hint == "there are: demo"
    with pytest.raises(InvalidInput, match="'demo@latest' names no version"):
        resolve_version(bare_project, "demo@latest")
    for reference in ("demo@3", "adapter:demo@3"):
        with pytest.raises(InvalidInput, match="there is no demo@3") as caught:
            resolve_version(bare_project, reference)
        assert caught.value.hint == "there are: demo@1, demo@2"
    with pytest.raises(InvalidInput, match="no version of demo is active yet") as caught:
        resolve_version(bare_project, "demo")
    assert caught.value.hint == "name one of: demo@1, demo@2"


def test_an_active_version_whose_files_are_gone_is_an_error(
    bare_project: Project, register: Register
) -> None:
    register("run-1")
    promote_version(bare_project, register("run-2"))
    shutil.rmtree(bare_project.adapter_version("demo", 2))
    with pytest.raises(ModelyardError, match="demo@2 is not here"):
        resolve_version(bare_project, "demo")


@pytest.mark.parametrize(
    "target", ["/etc", "../../..", "../versions/other/1", "../versions/demo", "../versions/demo/x"]
)
def test_a_link_that_leads_elsewhere_is_no_active_version(
    bare_project: Project, register: Register, target: str
) -> None:
    register("run-1")
    bare_project.trained.mkdir()
    bare_project.trained_link("demo").symlink_to(target)
    with pytest.raises(ModelyardError, match="which is no version of demo"):
        active_number(bare_project, "demo")


def test_a_folder_in_the_place_of_the_link_is_an_error(bare_project: Project) -> None:
    bare_project.trained_link("demo").mkdir(parents=True)
    with pytest.raises(ModelyardError, match="where a link to a version belongs"):
        active_number(bare_project, "demo")


def test_stray_files_among_the_versions_are_no_versions(
    bare_project: Project, register: Register
) -> None:
    version = register("run-1")
    for name in ("notes", "01", "-1", "1.5", "२"):
        (version.path.parent / name).mkdir()
    (bare_project.versions / "README.md").touch()
    (bare_project.versions / "Not-A-Name" / "1").mkdir(parents=True)
    (bare_project.versions / "empty").mkdir()
    assert version_numbers(bare_project, "demo") == [1]
    assert list_adapters(bare_project) == ["demo"]


def test_many_processes_that_register_at_once_get_a_number_each(bare_project: Project) -> None:
    script = """
import sys
from pathlib import Path
from adapter_samples import facts, fill_with
from modelyard.adapters.versions import register_version
from modelyard.core.layout import Project
for n in range(3):
    register_version(Project(Path(sys.argv[1])), "demo", fill=fill_with(),
                     provenance=facts(f"run-{int(sys.argv[2]) % 3}-{n}"))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(bare_project.root), str(index)], env=environment
        )
        for index in range(6)
    ]
    assert [process.wait() for process in processes] == [0] * 6
    versions = list_versions(bare_project, "demo")
    assert [version.number for version in versions] == list(range(1, 10))
    assert len({version.manifest.run_key for version in versions}) == 9


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_registration_cut_off_at_any_call_is_there_whole_or_not_at_all(
    bare_project: Project, register: Register, how: str
) -> None:
    register("run-1")
    home = bare_project.adapter_versions("demo")
    number = 0
    for number in interruptions(lambda: register("run-2"), how):
        for version in list_versions(bare_project, "demo"):
            assert version.manifest.files == list_files(version.path), number
        again = register("run-2")
        assert again.number == 2
        found = sorted(place.name for place in home.iterdir())
        assert found == [".highest-number", "1", "2"], number
        shutil.rmtree(again.path)
        bare_project.highest_number("demo").write_text("1\n")
    assert number > 20
