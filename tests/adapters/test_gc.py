from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sound_versions import require_agreement

from killed import interruptions
from modelyard.adapters.gc import collect_garbage, load_pins, pin_version, unpin_version
from modelyard.adapters.promote import promote_version
from modelyard.adapters.rollback import roll_back
from modelyard.adapters.versions import (
    AdapterVersion,
    highest_number,
    load_version,
    version_numbers,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project

Register = Callable[..., AdapterVersion]


@pytest.fixture
def six(bare_project: Project, register: Register) -> Project:
    """Six versions, of which 1, then 3, then 2 became active."""
    for number in range(1, 7):
        register(f"run-{number}")
    use(bare_project, 1, 3, 2)
    return bare_project


def use(project: Project, *numbers: int) -> None:
    for number in numbers:
        promote_version(project, load_version(project, "demo", number))


def names_in(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


def test_it_keeps_the_newest_the_active_one_and_the_one_before(six: Project) -> None:
    done = collect_garbage(six, "demo", keep=2)
    assert dict(done.kept) == {
        2: "active",
        3: "active before",
        5: "among the 2 newest",
        6: "among the 2 newest",
    }
    assert list(done.removed) == [1, 4]
    assert version_numbers(six, "demo") == [2, 3, 5, 6]
    assert done.freed_bytes == sum(done.removed.values()) > 0
    assert roll_back(six, "demo").move.to_version == 3


def test_a_pinned_version_stays_until_it_is_unpinned(six: Project) -> None:
    assert pin_version(six, "demo", 1, reason="audited")
    assert not pin_version(six, "demo", 1)
    assert not pin_version(six, "demo", 1, reason="audited")
    assert pin_version(six, "demo", 1, reason="released")
    assert load_pins(six) == {"demo": {1: "released"}}
    assert collect_garbage(six, "demo", keep=1).kept[1] == "pinned"
    assert unpin_version(six, "demo", 1)
    assert not unpin_version(six, "demo", 1)
    assert list(collect_garbage(six, "demo", keep=1).removed) == [1]
    with pytest.raises(InvalidInput, match="there is no demo@1"):
        pin_version(six, "demo", 1)


def test_running_it_again_removes_nothing(six: Project) -> None:
    collect_garbage(six, "demo", keep=1)
    assert not collect_garbage(six, "demo", keep=1).removed


def test_a_dry_run_says_the_same_and_removes_nothing(six: Project) -> None:
    planned = collect_garbage(six, "demo", keep=1, dry_run=True)
    assert version_numbers(six, "demo") == [1, 2, 3, 4, 5, 6]
    assert collect_garbage(six, "demo", keep=1) == planned


def test_the_one_before_is_the_nearest_that_is_still_here(six: Project) -> None:
    shutil.rmtree(six.adapter_version("demo", 3))
    assert collect_garbage(six, "demo", keep=1).kept == {
        1: "active before",
        2: "active",
        6: "the newest",
    }


def test_with_nothing_active_the_newest_stay(bare_project: Project, register: Register) -> None:
    for number in range(1, 6):
        register(f"run-{number}")
    assert list(collect_garbage(bare_project, "demo").removed) == [1, 2]


def test_a_number_is_never_given_again(six: Project, register: Register) -> None:
    for number in (4, 5, 6):
        shutil.rmtree(six.adapter_version("demo", number))
    collect_garbage(six, "demo", keep=1)
    assert highest_number(six, "demo") == 6
    assert register("run-7").number == 7
    shutil.rmtree(six.adapter_version("demo", 7))
    assert register("run-8").number == 8


def test_a_damaged_version_can_go(six: Project) -> None:
    (six.adapter_version("demo", 4) / "MANIFEST.json").unlink()
    collect_garbage(six, "demo", keep=1)
    assert version_numbers(six, "demo") == [2, 3, 6]


def test_it_removes_nothing_while_it_cannot_tell_what_is_active(six: Project) -> None:
    six.trained_link("demo").unlink()
    six.trained_link("demo").symlink_to("../../elsewhere")
    with pytest.raises(ModelyardError, match="is no version of demo"):
        collect_garbage(six, "demo", keep=1)
    assert len(version_numbers(six, "demo")) == 6


def test_a_version_that_is_a_link_stops_it_before_anything_goes(
    six: Project, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    shutil.move(six.adapter_version("demo", 4), outside)
    six.adapter_version("demo", 4).symlink_to(outside)
    with pytest.raises(InvalidInput, match="is a link"):
        collect_garbage(six, "demo", keep=1)
    assert len(version_numbers(six, "demo")) == 6
    assert (outside / "MANIFEST.json").is_file()


def test_links_inside_a_version_are_removed_and_not_followed(six: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (six.adapter_version("demo", 4) / "linked").symlink_to(outside)
    collect_garbage(six, "demo", keep=1)
    assert names_in(outside) == ["precious"]


@pytest.mark.parametrize("name", ["..", "../demo", "/etc", "Demo", "demo@1", ""])
def test_names_that_leave_their_folder_or_differ_in_case_are_refused(
    six: Project, name: str
) -> None:
    with pytest.raises(InvalidInput, match="is not a valid adapter name"):
        collect_garbage(six, name, keep=1)
    with pytest.raises(InvalidInput, match="is not a valid"):
        pin_version(six, name, 1)
    assert len(version_numbers(six, "demo")) == 6


def test_it_waits_for_whoever_works_on_the_adapter(six: Project) -> None:
    with exclusive_lock(six.lock("adapter", "demo"), what="adapter demo"):
        with pytest.raises(LockHeld):
            collect_garbage(six, "demo", keep=1)
        with pytest.raises(LockHeld):
            pin_version(six, "demo", 1)
    assert collect_garbage(six, "demo", keep=1).removed


def restore(project: Project, numbers: Iterable[int], kept: Path) -> None:
    for number in numbers:
        place = project.adapter_version("demo", number)
        if not place.exists():
            shutil.copytree(kept / str(number), place)


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_collection_cut_off_at_any_call_leaves_whole_versions(
    six: Project, how: str, tmp_path: Path
) -> None:
    pin_version(six, "demo", 5)
    home = six.adapter_versions("demo")
    shutil.copytree(home, tmp_path / "kept")
    number = 0
    for number in interruptions(lambda: collect_garbage(six, "demo", keep=1), how):
        require_agreement(six)
        assert {2, 3, 5, 6} <= set(version_numbers(six, "demo")), number
        collect_garbage(six, "demo", keep=1)
        assert names_in(home) == [".highest-number", "2", "3", "5", "6"], number
        assert highest_number(six, "demo") == 6
        assert os.listdir(six.trained) == ["demo"]  # noqa: PTH208
        restore(six, (1, 4), tmp_path / "kept")
    assert number > 25


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_pinning_cut_off_at_any_call_is_done_or_not(six: Project, how: str) -> None:
    number = 0
    for number in interruptions(lambda: pin_version(six, "demo", 4), how):
        assert load_pins(six) in ({}, {"demo": {4: None}}), number
        pin_version(six, "demo", 4)
        assert load_pins(six) == {"demo": {4: None}}
        unpin_version(six, "demo", 4)
    assert number > 3
