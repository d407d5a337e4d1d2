"""`models schedule`: what is installed where, what is left out, and what is said of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from modelyard.cli.app import GROUPS, app, is_command
from modelyard.core.layout import Project
from modelyard.schedule.jobs import Job, plan_jobs
from modelyard.schedule.overview import plan_schedule
from modelyard.setup.init import init_project
from stand_in_crontab import put_crontab_on_path

Models = Callable[..., int]
JOBS = plan_jobs(Path("/srv/project"), "production", baseline="latest")


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A new project, as the current folder."""
    init_project(tmp_path / "starter")
    monkeypatch.chdir(tmp_path / "starter")
    return Project(tmp_path / "starter")


@pytest.mark.parametrize("job", [job for job in JOBS if is_command(job.command)])
def test_a_job_has_words_that_its_command_takes(job: Job) -> None:
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="models")
    words = list(job.words)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        assert command is not None
        context = typer.Context(command, info_name=name, parent=context)
    command.make_context(context.info_name, words, parent=context.parent)


def test_a_job_without_its_command_is_left_out_and_named(
    starter: Project,
    models_here: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(GROUPS["prices"][1], "check")
    assert models_here("schedule", "show") == 0
    shown = capsys.readouterr()
    assert "models providers check --env development" in shown.out
    assert "prices" not in shown.out
    assert "Left out: prices, since this version has no `models prices check`." in shown.err
    assert models_here("schedule", "show", "--json") == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert "prices" in [job["name"] for job in left_out]
    assert not is_command("prices")
    assert not is_command("index nothing")
    assert is_command("index status")


def test_lines_are_installed_shown_and_removed(
    starter: Project,
    models_here: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = put_crontab_on_path(tmp_path, monkeypatch)
    table.write_bytes(b"0 1 * * * theirs\n")
    assert models_here("schedule", "show", "--crontab") == 0
    lines = capsys.readouterr().out
    count = lines.count("\n")
    assert models_here("schedule", "install", "--crontab", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [f"+ {line}" for line in lines.splitlines()]
    assert table.read_bytes() == b"0 1 * * * theirs\n"

    assert models_here("schedule", "install", "--crontab") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{count} jobs of development installed in the crontab\n"
    assert "gpt4: cron and systemd do not have the variable OPENAI_API_KEY" in shown.err
    assert table.read_text() == "0 1 * * * theirs\n" + lines
    assert models_here("schedule", "install", "--crontab") == 0
    assert capsys.readouterr().out == f"{count} jobs in the crontab: nothing to change\n"
    assert models_here("schedule", "show") == 0
    assert "It is installed in the crontab.\n" in capsys.readouterr().err

    monkeypatch.setenv("HF_HOME", str(tmp_path / "another"))
    assert models_here("schedule", "show") == 0
    assert "in the crontab, and is not what is shown here.\n" in capsys.readouterr().err
    assert models_here("schedule", "remove", "--dry-run") == 0
    assert "would be removed from the crontab" in capsys.readouterr().out
    assert models_here("schedule", "remove") == 0
    assert "removed from the crontab" in capsys.readouterr().out
    assert table.read_bytes() == b"0 1 * * * theirs\n"
    assert models_here("schedule", "remove") == 0
    assert "no job of this project is installed" in capsys.readouterr().out


def test_a_schedule_in_two_places_is_warned_of(
    starter: Project,
    models_here: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_crontab_on_path(tmp_path, monkeypatch)
    (tmp_path / "bin" / "systemctl").symlink_to("/bin/true")
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    assert models_here("schedule", "install", "--crontab") == 0
    capsys.readouterr()
    assert models_here("schedule", "install", "--systemd", "--dry-run") == 0
    assert "+ " in capsys.readouterr().out
    folder = Path.home() / ".config" / "systemd" / "user"
    assert not folder.exists()
    assert models_here("schedule", "install", "--systemd") == 0
    shown = capsys.readouterr()
    assert f"installed in {folder}" in shown.out
    assert "loginctl enable-linger" in shown.err
    assert "each job runs twice; `models schedule remove --crontab`" in shown.err
    assert models_here("schedule", "show", "--json") == 0
    assert json.loads(capsys.readouterr().out)["installed"] == [
        {"keeper": "systemd", "is_current": True},
        {"keeper": "crontab", "is_current": True},
    ]
    assert models_here("schedule", "remove", "--systemd") == 0
    assert list(folder.iterdir()) == []
    capsys.readouterr()
    assert models_here("schedule", "show", "--json") == 0
    (left,) = json.loads(capsys.readouterr().out)["installed"]
    assert left["keeper"] == "crontab"


def test_who_may_have_no_crontab_sees_the_schedule_all_the_same(
    starter: Project,
    models_here: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_crontab_on_path(tmp_path, monkeypatch)
    refusing = "#!/bin/sh\necho 'You are not allowed to use this program' >&2; exit 1\n"
    (tmp_path / "bin" / "crontab").write_text(refusing)
    assert models_here("schedule", "show") == 0
    assert "It is not installed." in capsys.readouterr().err
    assert models_here("schedule", "install", "--crontab") == 1
    assert "You are not allowed to use this program" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_roots_crontab_for_the_project_of_another_is_warned_of(
    starter: Project,
    models_here: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_crontab_on_path(tmp_path, monkeypatch)
    os.chown(starter.root, 54_321, 54_321)
    assert models_here("schedule", "install", "--crontab", "--dry-run") == 0
    shown = capsys.readouterr().err
    assert "runs these jobs as root, and the project belongs to 54321" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("schedule install --systemd --crontab", "do not go together"),
        ("schedule show --json --crontab", "are two forms"),
        ("schedule install --crontab --env nowhere", "nowhere"),
        ("schedule install --crontab", "there is no program 'crontab'"),
        ("schedule install", "neither systemd nor cron"),
    ],
)
def test_what_cannot_be_is_said(
    line: str,
    error: str,
    starter: Project,
    models_here: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for program in ("env", "flock"):
        (tools / program).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tools))
    assert models_here(*line.split()) == 2
    assert error in capsys.readouterr().err


def test_a_link_to_the_project_is_the_same_schedule(starter: Project, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(starter.root)
    one, two = (
        plan_schedule(Project(root), "production", is_command, {}, baseline="7")
        for root in (starter.root, link)
    )
    assert one.lines == two.lines
    assert any("--baseline 7 " in line for line in one.lines)
