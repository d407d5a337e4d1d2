"""`models restore`, `backup verify` and `backup drill` as a person and as a program see them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyrage.x25519 import Identity

from modelyard.backup import swap
from modelyard.core.layout import Project

Models = Callable[..., int]

CONFIG = "configs/language_models/end.yaml"
BUILTIN = """\
description: The end of every chain
provider: builtin
model: none
context_tokens: 2k
max_output_tokens: 512
"""


@pytest.fixture
def saved(models: Models, project: Project, capsys: pytest.CaptureFixture[str]) -> Project:
    """The project of `models`, with a config and one backup."""
    (project.root / CONFIG).parent.mkdir()
    (project.root / CONFIG).write_text(BUILTIN)
    models("feedback", "add", "--prompt", "Who?", "--answer", "Ann.", "--rating", "good")
    assert models("backup") == 0
    capsys.readouterr()
    return project


def test_a_snapshot_is_restored_into_a_new_folder(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    new = saved.root.parent / "new"
    assert models("restore", "latest", "--to", str(new)) == 0
    captured = capsys.readouterr()
    assert f"to {new}." in captured.out
    assert f"models --project {new} adapters verify --all" in captured.err
    assert (new / CONFIG).exists()
    assert models("restore", "latest", "--to", str(new)) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_folder_is_named_after_the_snapshot(models: Models, saved: Project) -> None:
    del saved
    assert models("restore", "latest", "--only", "configs") == 0
    [folder] = Path.cwd().glob("restored-*")
    assert [place.name for place in folder.iterdir()] == ["configs"]


def test_a_restore_over_the_project_is_shown_undone_and_discarded(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    config = saved.root / CONFIG
    whole = config.read_text()
    config.write_text("broken")
    assert models("restore", "latest", "--in-place", "--dry-run") == 0
    assert "would be as in the snapshot" in capsys.readouterr().out
    assert config.read_text() == "broken"
    assert models("restore", "latest", "--in-place") == 0
    captured = capsys.readouterr()
    assert CONFIG in captured.out
    assert "models restore --undo" in captured.err
    assert config.read_text() == whole
    assert models("restore", "--undo") == 0
    assert config.read_text() == "broken"
    assert models("restore", "--discard-replaced") == 0
    capsys.readouterr()
    assert models("restore", "--undo") == 5
    assert "keeps what it replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 2, "which snapshot?"),
        (("2019",), 2, "there is no snapshot '2019'"),
        (("latest", "--to", "x", "--in-place"), 2, "--to and --in-place are different things"),
        (("latest", "--undo"), 2, "--undo takes no snapshot"),
        (("latest", "--only", "config"), 2, "the snapshot holds no 'config' (did you mean"),
        (("latest", "--models", "nobody"), 2, "the snapshot holds no adapter 'nobody'"),
        (("latest", "--repo", "file:///nowhere/at/all"), 5, "there is no backup repository here"),
        (("latest", "--repo", "backups"), 2, "is no object store"),
        (("latest", "--key", "env:NO_SUCH_KEY"), 2, "NO_SUCH_KEY"),
    ],
)
def test_what_is_wrong_is_said(
    models: Models,
    saved: Project,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    text: str,
) -> None:
    del saved
    assert models("restore", *words) == code
    assert text in capsys.readouterr().err


def test_a_wrong_key_and_a_newer_format_are_named(
    models: Models,
    saved: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = (saved.root.parent / "encrypted").as_uri()
    monkeypatch.setenv("RIGHT_KEY", str(Identity.generate()))
    monkeypatch.setenv("WRONG_KEY", str(Identity.generate()))
    assert models("backup", "--repo", url, "--key", "env:RIGHT_KEY") == 0
    capsys.readouterr()
    restore = ("restore", "latest", "--repo", url, "--to", "there")
    assert models(*restore, "--key", "env:WRONG_KEY") in (1, 2)
    assert "key" in capsys.readouterr().err
    assert models(*restore) == 2
    assert "is encrypted" in capsys.readouterr().err
    assert models(*restore, "--key", "env:RIGHT_KEY") == 0
    capsys.readouterr()
    marker = saved.backups / "format.json"
    values = json.loads(marker.read_text())
    marker.write_text(json.dumps({**values, "version": 2}))
    assert models("restore", "latest", "--to", "newer") == 1
    assert "the repository has format 2" in capsys.readouterr().err


def test_a_restore_that_was_killed_is_completed_by_the_next_command(
    models: Models,
    saved: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = saved.root / CONFIG
    whole = config.read_text()
    config.write_text("broken")

    class Killed(BaseException):
        pass

    def die(*given: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(swap, "_put_in_place", die)
        with pytest.raises(Killed):
            models("restore", "latest", "--in-place")
    assert saved.restoring.is_symlink()
    assert config.read_text() == "broken"
    capsys.readouterr()
    assert models("config", "show", "end") == 0
    assert "completed the restore of" in capsys.readouterr().err
    assert config.read_text() == whole
    assert not saved.restoring.is_symlink()


def test_damage_ends_with_1_and_names_what_it_touches(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("backup", "verify", "--all") == 0
    capsys.readouterr()
    [pack] = (saved.backups / "packs").glob("*/*")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert models("backup", "verify") == 0
    assert models("backup", "verify", "--all") == 1
    captured = capsys.readouterr()
    assert f"packs/{pack.parent.name}/{pack.name}: was changed" in captured.out
    assert "cannot bring back" in captured.out
    assert models("backup", "verify", "--all", "--json") == 1
    capsys.readouterr()
    assert models("backup", "verify", "--sample", "0%") == 2
    assert "is no share" in capsys.readouterr().err


def test_a_snapshot_that_is_missing_is_not_passed_over_in_silence(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (saved.root / CONFIG).write_text(BUILTIN + "# later\n")
    assert models("backup") == 0
    earlier, later = sorted((saved.backups / "snapshots").iterdir())
    whole = later.read_bytes()
    later.write_bytes(b"nothing")
    capsys.readouterr()
    assert models("restore", "latest", "--to", "unread") == 1
    assert "`models backup list`" in capsys.readouterr().err
    later.unlink()
    assert models("restore", "latest", "--to", "new") == 0
    captured = capsys.readouterr()
    assert earlier.name in captured.out
    assert f"{later.name}: a later snapshot was made, and is missing" in captured.err
    later.write_bytes(whole)
    assert models("restore", earlier.name, "--to", "chosen") == 0
    assert "is missing" not in capsys.readouterr().err
    earlier.unlink()
    later.unlink()
    assert models("restore", "latest", "--to", "none") == 5
    assert "`models backup list`" in capsys.readouterr().err


def test_a_damaged_index_that_nothing_needs_stops_no_restore(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    names_only = min((saved.backups / "indexes").iterdir(), key=lambda file: file.stat().st_size)
    names_only.write_bytes(b"nothing")
    capsys.readouterr()
    assert models("restore", "latest", "--to", "new") == 0
    assert f"index {names_only.name[:16]}" in capsys.readouterr().err
    assert Path("new", CONFIG).read_text() == BUILTIN


def test_a_damaged_state_db_is_said_to_be_damaged(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.state_db.write_bytes(b"garbage " * 1_000)
    (saved.root / "configs" / "added.yaml").write_text(BUILTIN)
    assert models("restore", "latest", "--in-place", "--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ".models/state.db moved away: it is damaged" in said
    assert "configs/added.yaml moved away: it is not in the snapshot" in said


def test_the_command_that_checks_a_restore_can_be_pasted(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    del saved
    assert models("restore", "latest", "--to", "a b") == 0
    assert "/a b' adapters verify --all`" in " ".join(capsys.readouterr().err.split())


def test_little_is_counted_in_units_that_show_it(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    del saved
    assert models("backup", "verify", "--all") == 0
    said = capsys.readouterr().err
    assert "0/0" not in said and " kB" in said
    assert "what 1 snapshot needs" in said


def test_a_repository_that_lost_its_mark_gets_no_other_key(
    models: Models,
    saved: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = (saved.root.parent / "encrypted").as_uri()
    monkeypatch.setenv("THE_KEY", str(Identity.generate()))
    assert models("backup", "--repo", url, "--key", "env:THE_KEY") == 0
    mark = saved.root.parent / "encrypted" / "format.json"
    held = mark.read_bytes()
    mark.unlink()
    capsys.readouterr()
    for words in (("backup", "--key", "env:THE_KEY"), ("backup",), ("backup", "verify")):
        assert models(*words, "--repo", url) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert "format.json: is missing, and encrypted snapshots are there" in said
    mark.write_bytes(held)
    assert models("backup", "verify", "--repo", url, "--key", "env:THE_KEY") == 0
    (saved.backups / "format.json").unlink()
    assert models("backup", "verify") == 5
    assert "`models backup` without a key writes it again" in " ".join(
        capsys.readouterr().err.split()
    )
    assert models("backup") == 0
    assert models("backup", "verify", "--all") == 0


def test_a_name_of_two_lines_is_shown_in_one(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (saved.root / "configs" / "two\nlines.md").write_text("x")
    assert models("backup") == 0
    capsys.readouterr()
    assert models("backup", "show", "latest", "--files") == 0
    assert "configs/two\\nlines.md" in capsys.readouterr().out


def test_a_drill_is_recorded_and_monitored(
    models: Models, saved: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("backup", "drill", "--scratch", str(saved.root.parent)) == 0
    assert "passed" in capsys.readouterr().out
    models("monitor", "--metrics", "backups")
    printed = capsys.readouterr().out
    assert "backup_age" in printed
    assert "drill_age" in printed


def test_without_a_project_a_named_repository_is_enough(
    models: Models,
    saved: Project,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(saved.backups, tmp_path / "kept")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MODELS_PROJECT", raising=False)
    repo = ("--repo", (tmp_path / "kept").as_uri())
    assert models("restore", "latest", *repo, "--to", "back") == 0
    assert (tmp_path / "elsewhere" / "back" / "configs").is_dir()
    assert models("backup", "verify", *repo) == 0
    capsys.readouterr()
    assert models("restore", "latest", "--to", "again") == 2
    assert "--repo" in capsys.readouterr().err
