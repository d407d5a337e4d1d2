"""A project is refused where its file system lacks something, before anything is left there.

The commands that change something are found in `cli/access.py`: a new one fails here until there is
a line that runs it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
from test_reading_commands import function_of, run

from file_systems import mounted_exfat, refuse, without_links
from modelyard.cli.access import CHANGES
from modelyard.setup.init import init_project

LINES = """
ab stop --keep a
adapters export demo@1 --to OUTSIDE
adapters gc
adapters import OUTSIDE --name demo --base-model tiny
adapters pin demo@1
adapters promote demo@1
adapters pull demo REMOTE
adapters push demo REMOTE
adapters registry delete demo@1 REMOTE
adapters registry prune REMOTE
adapters registry tag demo@1 best REMOTE
adapters registry untag demo best REMOTE
adapters rollback demo
adapters unpin demo@1
backup
backup copy --to REMOTE
backup drill
backup prune --keep-last 1
base pull smollm2-135m-instruct
config import OUTSIDE
config remove gpt4 --env test
deploy-config language_models/gpt4 --env test --yes
feedback add --prompt Q --answer A --rating good
feedback withdraw 1
fine-tune --dataset example --adapter demo
init another
keys create --org acme
keys revoke 0123456789ab
keys rotate 0123456789ab
org forget acme
prepare-data OUTSIDE --out datasets/new
project sharing group
restore latest --to OUTSIDE
schedule install
schedule remove
serve
switch-config --profile high_accuracy --domain code_analysis
update-embeddings
""".strip().splitlines()


def test_every_command_that_changes_something_is_run_here() -> None:
    assert {function_of(line) for line in LINES} == CHANGES


def refused(line: str, outside: Path) -> str:
    """What a line says that ends with 1."""
    line = line.replace("OUTSIDE", str(outside)).replace("REMOTE", outside.as_uri())
    code, shown, told = run(line)
    assert (code, shown) == (1, ""), (line, told)
    return told


def tree(folder: Path) -> dict[str, str]:
    """Every path, and the bytes of the files; a probe changes the time of the folder it was in."""
    return {
        str(path): path.read_bytes().hex() if path.is_file() else "" for path in folder.rglob("*")
    }


def check_every_line(root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    before = tree(root)
    for line in LINES:
        told = refused(line, outside)
        assert "it lacks symbolic links (Function not implemented)" in told, line
        assert "ext4" in told
        assert not outside.exists(), line
        assert tree(root) == before, line


def test_commands_that_change_something_leave_nothing_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_project(tmp_path / "project")
    without_links(monkeypatch)
    check_every_line(tmp_path / "project", tmp_path / "outside", monkeypatch)


def test_commands_that_change_something_leave_nothing_on_exfat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_project(tmp_path / "made")
    with mounted_exfat(tmp_path / "disk") as disk:
        shutil.copytree(tmp_path / "made", disk / "project")
        check_every_line(disk / "project", tmp_path / "outside", monkeypatch)
        assert [code for code, *_ in (run("config show gpt4"), run("ask hello"))] == [0, 0]
        monkeypatch.chdir(tmp_path)
        refused(f"init {disk / 'new' / 'deep'}", tmp_path / "outside")
        assert os.listdir(disk) == ["project"]  # noqa: PTH208


def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


def test_locks_that_lock_nobody_out_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: None)
    assert "it lacks locks (a second one was given)" in refused("init new", tmp_path / "outside")
    no_locks(monkeypatch)
    assert "it lacks locks (No locks available)" in refused("init new", tmp_path / "outside")
    assert not (tmp_path / "new").exists()


def test_what_lacks_on_the_file_system_of_the_links_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`models/` may be a mount of its own, as in a container."""
    init_project(tmp_path / "project")
    with mounted_exfat(tmp_path / "disk") as disk:
        shutil.move(tmp_path / "project" / "models", disk / "models")
        (tmp_path / "project" / "models").symlink_to(disk / "models")
        monkeypatch.chdir(tmp_path / "project")
        told = refused("adapters gc", tmp_path / "outside")
    assert "symbolic links" in told


def test_doctor_names_each_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelyard.cli.doctor import doctor

    init_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    without_links(monkeypatch)
    no_locks(monkeypatch)
    doctor()
    shown = " ".join(capsys.readouterr().out.split())
    assert "symbolic links (Function not implemented)" in shown
    assert "locks (No locks available)" in shown
    assert "renames over an existing name" in shown
    assert "needed for every command that changes the project" in shown


def test_a_restore_with_links_is_refused_and_one_of_files_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    for line in ("feedback add --prompt Q --answer A --rating good", "backup"):
        assert run(line)[0] == 0
    repository = (tmp_path / "project" / ".models" / "backups").as_uri()
    monkeypatch.chdir(tmp_path)
    refuse(monkeypatch, "symlink", errno.ENOSYS)
    whole = f"restore latest --repo {repository} --to {tmp_path / 'whole'}"
    assert "symbolic links" in refused(whole, tmp_path / "outside")
    part = f"restore latest --repo {repository} --to {tmp_path / 'part'} --only configs"
    assert run(part)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == [
        "part",
        "project",
    ]
