from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from killed import interruptions
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import (
    STAGING_PREFIX,
    append_line,
    disk_errors,
    folder_size_bytes,
    make_folder,
    replace_link,
    require_free_space,
    sha256_file,
    staged_folder,
    sweep_staging,
    write_atomic,
    write_json,
)
from modelyard.core.os_errors import NoSpace


def left_overs(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{STAGING_PREFIX}*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomic(path, "a long first text")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert left_overs(tmp_path) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert left_overs(tmp_path) == []


def test_the_mode_asked_for_is_the_mode_of_the_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "secret", "x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_write_cut_off_at_any_call_leaves_the_old_or_the_new_file(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    for number in interruptions(lambda: write_atomic(path, "new"), how):
        assert path.read_text() in ("old", "new"), number
        if how == "fail":
            assert left_overs(tmp_path) == []
        write_atomic(path, "old")
    assert number > 4


def test_json_is_written_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Zoë", "count": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "name": "Zoë",\n  "count": 1\n}\n'


def test_lines_are_appended_one_by_one(tmp_path: Path) -> None:
    for line in ("one", "zwei ü"):
        append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_text() == "one\nzwei ü\n"


def test_a_full_disk_is_named_and_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "file"
    write_atomic(path, "old")
    with pytest.raises(NoSpace, match="no space left"):
        write_atomic(path, b"x" * 2_000_000)
    assert path.read_text() == "old"
    assert left_overs(small_disk) == []


def test_a_full_disk_leaves_no_half_line(small_disk: Path) -> None:
    path = small_disk / "log"
    append_line(path, "first")
    with pytest.raises(NoSpace):
        append_line(path, "x" * 2_000_000)
    assert path.read_text() == "first\n"


def test_a_full_disk_leaves_no_half_folder(small_disk: Path) -> None:
    with pytest.raises(NoSpace), staged_folder(small_disk / "1") as staged:
        (staged / "big").write_bytes(b"x" * 2_000_000)
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_recognised_when_safetensors_meets_it(small_disk: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    with pytest.raises(NoSpace), staged_folder(small_disk / "1") as staged:
        save_file({"big": np.zeros(2_000_000, np.uint8)}, staged / "big.safetensors")


def test_disk_errors_name_the_file_that_has_no_access(tmp_path: Path) -> None:
    said = "other: no access: Permission denied"
    with pytest.raises(ModelyardError, match=said), disk_errors(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "other"))
    said = "file: no access: Read-only file system"
    with pytest.raises(ModelyardError, match=said), disk_errors(tmp_path / "file"):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path / "file"):
        raise FileNotFoundError


def test_room_on_the_disk_is_asked_for_before_the_folder_exists(tmp_path: Path) -> None:
    require_free_space(tmp_path / "not" / "yet", 1, "training")
    with pytest.raises(NoSpace, match="training needs"):
        require_free_space(tmp_path / "not" / "yet", 10**18, "training")


def test_a_staged_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "versions" / "1"
    with staged_folder(final) as staged:
        (staged / "inner").mkdir()
        (staged / "inner" / "file").write_text("x")
        assert not final.exists()
    assert (final / "inner" / "file").read_text() == "x"
    assert left_overs(tmp_path) == []


def test_a_staged_folder_whose_block_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), staged_folder(tmp_path / "new" / "1") as staged:
        (staged / "file").write_text("x")
        raise KeyError
    assert list((tmp_path / "new").iterdir()) == []


def test_a_staged_folder_never_replaces_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(FileExistsError), staged_folder(tmp_path / "1"):
        pass
    (tmp_path / "2").symlink_to("nowhere")
    with pytest.raises(FileExistsError), staged_folder(tmp_path / "2"):
        pass
    with pytest.raises(FileExistsError), staged_folder(tmp_path / "3") as staged:
        (staged / "file").write_text("mine")
        (tmp_path / "3").mkdir()
        (tmp_path / "3" / "file").write_text("theirs")
    assert (tmp_path / "3" / "file").read_text() == "theirs"
    assert left_overs(tmp_path) == []


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_staged_folder_cut_off_at_any_call_is_there_whole_or_not_at_all(
    tmp_path: Path, how: str
) -> None:
    final = tmp_path / "versions" / "1"

    def stage() -> None:
        with staged_folder(final) as staged:
            for name in ("a", "b"):
                (staged / name).write_text(name)

    for number in interruptions(stage, how):
        if final.exists():
            assert sorted(place.name for place in final.iterdir()) == ["a", "b"], number
        sweep_staging(final.parent)
        assert left_overs(tmp_path) == []
        shutil.rmtree(tmp_path / "versions", ignore_errors=True)
    assert number > 8


def test_sweeping_one_name_leaves_the_others(tmp_path: Path) -> None:
    for name in ("0a1b2c3d-demo", "0a1b2c3d-other-demo", "0a1b2c3d-demo2", "0a1b2c3d-demo.x"):
        (tmp_path / f"{STAGING_PREFIX}{name}").mkdir()
    (tmp_path / f"{STAGING_PREFIX}ffffffff-demo").symlink_to("nowhere")
    sweep_staging(tmp_path, "demo")
    assert len(left_overs(tmp_path)) == 3
    sweep_staging(tmp_path)
    assert left_overs(tmp_path) == []
    sweep_staging(tmp_path / "missing")


def test_sweeping_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / f"{STAGING_PREFIX}00000000-x").symlink_to("real")
    sweep_staging(tmp_path)
    assert left_overs(tmp_path) == []
    assert (tmp_path / "real").is_dir()


def test_a_link_is_relative_and_moves_in_one_rename(tmp_path: Path) -> None:
    link = tmp_path / "trained" / "demo"
    for number in ("1", "2"):
        (tmp_path / "versions" / number).mkdir(parents=True)
        replace_link(link, tmp_path / "versions" / number)
        assert os.readlink(link) == f"../versions/{number}"  # noqa: PTH115
    assert left_overs(tmp_path) == []


def test_a_real_folder_is_never_replaced_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    with pytest.raises(ModelyardError, match="of its own, where a link"):
        replace_link(tmp_path / "demo", tmp_path / "target")


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_link_cut_off_at_any_call_points_to_the_old_or_the_new(tmp_path: Path, how: str) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    replace_link(link, tmp_path / "old")
    for number in interruptions(lambda: replace_link(link, tmp_path / "new"), how):
        assert link.readlink() in (Path("old"), Path("new")), number
        sweep_staging(tmp_path, "link")
        assert left_overs(tmp_path) == []
        replace_link(link, tmp_path / "old")


def test_a_folder_is_made_with_its_parents_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_file(tmp_path / "file").startswith("ba7816bf")


def test_links_are_not_counted_in_a_size(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_bytes(b"12345")
    (folder / "link").symlink_to("inner/file")
    assert folder_size_bytes(folder) == 5
    assert folder_size_bytes(tmp_path / "missing") == 0


def test_where_no_folder_can_be_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/below")):
        with pytest.raises(InvalidInput):
            write_atomic(place / "x", "")
