"""Lines of a crontab: whose they are, what cron and the shell make of them, and what is kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from killed import fork, interruptions
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.schedule.crontab import (
    change_crontab,
    crontab_lines,
    lines_of,
    read_crontab,
    with_lines,
)
from modelyard.schedule.failures import ScheduleFailed
from modelyard.schedule.jobs import plan_jobs
from modelyard.schedule.surroundings import Surroundings, find_surroundings
from stand_in_crontab import put_crontab_on_path

OTHERS = [
    b"",
    b"MAILTO=ops@example.com\n0 1 * * * backup\n",
    b"# no end",
    b"0 1 * * * a\n5 5 * * * last line without an end",
    b"0 1 * * * a\r\n0 2 * * * b\r\n",
    b"0 1 * * * a\r\n\r\nlast\r",
    b"nul \x00 here\n\xff\xfe not utf-8\n\n\n",
    b"\n",
    b"0 1 * * * x # /elsewhere: models schedule 00000000\n",
]
AWKWARD = ["plain", "with space", "100% of it", 'a"b', "it's", "$HOME `id` $(id)", "a;b&c|d", "é ü"]


def around(root: Path, program: str = "/venv/bin/models") -> Surroundings:
    root.mkdir(parents=True, exist_ok=True)
    found = find_surroundings(Project(root), {"HF_HOME": f"{root}/hub %"})
    return Surroundings(project=found.project, program=(program,), variables=found.variables)


def lines(place: Surroundings) -> list[str]:
    return crontab_lines(plan_jobs(place.project.root, "production", baseline="latest"), place)


@pytest.mark.parametrize("others", OTHERS)
def test_what_others_have_is_kept_byte_for_byte(others: bytes, tmp_path: Path) -> None:
    place = around(tmp_path / "project")
    installed = with_lines(others, lines(place), place.project)
    assert lines_of(installed, place.project) == lines(place)
    assert with_lines(installed, lines(place), place.project) == installed
    assert with_lines(installed, [], place.project) == others


@pytest.mark.parametrize("others", OTHERS)
def test_two_projects_do_not_disturb_each_other(others: bytes, tmp_path: Path) -> None:
    one, two = around(tmp_path / "project"), around(tmp_path / "project2")
    with_one = with_lines(others, lines(one), one.project)
    with_both = with_lines(with_one, lines(two), two.project)
    assert with_lines(with_both, [], two.project) == with_one
    alone = with_lines(others, lines(two), two.project)
    assert with_lines(with_both, [], one.project) == alone


def test_a_path_that_ends_like_the_mark_of_another_project_is_its_own(tmp_path: Path) -> None:
    one = around(tmp_path / "project")
    two = around(tmp_path / f"x {one.mark.replace('/', '')}")
    both = with_lines(with_lines(b"", lines(one), one.project), lines(two), two.project)
    assert lines_of(both, one.project) == lines(one)
    assert lines_of(both, two.project) == lines(two)


def test_a_line_that_somebody_put_between_ours_stays(tmp_path: Path) -> None:
    place = around(tmp_path / "project")
    table = with_lines(b"", lines(place), place.project).splitlines(keepends=True)
    table.insert(2, b"0 1 * * * theirs\n")
    again = with_lines(b"".join(table), lines(place)[:2], place.project)
    assert again.splitlines()[-1] == b"0 1 * * * theirs"
    assert with_lines(again, [], place.project) == b"0 1 * * * theirs\n"


def as_cron_reads_it(line: str) -> tuple[str, str]:
    """The fields of the time, and the command that cron gives to the shell: crontab(5)."""
    *times, command = line.split(" ", 5)
    assert len(times) == 5
    assert "%" not in command.replace("\\%", ""), "cron would end the command there"
    return " ".join(times), command.replace("\\%", "%")


@pytest.mark.parametrize("name", AWKWARD)
def test_the_shell_starts_the_command_with_what_it_needs(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    program = folder / "bin=1 models"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
        "sys.exit(4 if 'prices' in sys.argv else 0)\n"
    )
    program.chmod(0o755)
    place = around(folder / "project", str(program))
    project = place.project
    project.logs.mkdir(parents=True)
    project.lock("schedule", "any").parent.mkdir()
    jobs = plan_jobs(project.root, "production", baseline="latest")
    for job, line in zip(jobs, lines(place), strict=True):
        times, command = as_cron_reads_it(line)
        assert times == job.times.in_crontab()
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd="/", env={}, capture_output=True, text=True
        )
        fails = job.name == "prices"
        assert (done.returncode, done.stderr) == (0, "")
        # Cron sends what is printed: of a job that speaks when needed all, else what failed.
        assert bool(done.stdout) == (job.is_read or fails)
        said = done.stdout or project.schedule_log(job.name).read_text()
        words, variables = json.loads(said)
        assert words == list(job.words)
        assert variables["MODELS_PROJECT"] == str(project.root)
        assert variables["HF_HOME"] == f"{project.root}/hub %"


def test_a_job_that_still_runs_does_not_start_again_and_is_no_failure(tmp_path: Path) -> None:
    place = around(tmp_path / "project", "/bin/false")
    lock = place.project.lock("schedule", "prices")
    lock.parent.mkdir(parents=True)
    place.project.logs.mkdir()
    flock = shutil.which("flock")
    assert flock
    (line,) = [line for line in lines(place) if " prices check" in line]
    command = as_cron_reads_it(line)[1]
    assert subprocess.run(["/bin/sh", "-c", command], env={}).returncode == 0  # cat: it did start
    place.project.schedule_log("prices").unlink()
    held = subprocess.run([flock, str(lock), "/bin/sh", "-c", command], capture_output=True, env={})
    assert (held.returncode, held.stdout, held.stderr) == (0, b"", b"")


@pytest.mark.parametrize("name", ["two\nlines", "back\\slash", "bell\x07", "left \u202e right"])
def test_a_path_that_no_line_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be in a"):
        lines(around(tmp_path / name))


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not one line of text"):
        around(tmp_path / "caf\udce9")


def test_installing_and_removing_by_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_crontab_on_path(tmp_path, monkeypatch)
    place = around(tmp_path / "project")
    assert read_crontab() == b""
    assert change_crontab(lines(place), place.project)
    assert not change_crontab(lines(place), place.project)
    assert lines_of(table.read_bytes(), place.project) == lines(place)
    assert change_crontab([], place.project)
    assert not table.exists(), "nobody had a crontab before"
    table.write_bytes(b"")
    assert not change_crontab([], place.project)


def test_what_crontab_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = put_crontab_on_path(tmp_path, monkeypatch)
    program = tmp_path / "bin" / "crontab"
    program.write_text("#!/bin/sh\necho 'You are not allowed to use this program' >&2; exit 1\n")
    place = around(tmp_path / "project")
    with pytest.raises(ScheduleFailed, match="You are not allowed to use this program"):
        change_crontab(lines(place), place.project)
    assert not table.exists()
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(InvalidInput, match="no program 'crontab'"):
        read_crontab()


def test_a_crontab_that_another_program_replaces_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_crontab_on_path(tmp_path, monkeypatch)
    program = tmp_path / "bin" / "crontab"
    program.write_text(program.read_text().replace("&& mv", f"&& echo theirs >'{table}'; true"))
    place = around(tmp_path / "project")
    with pytest.raises(ScheduleFailed, match="another program changed it"):
        change_crontab(lines(place), place.project)


def test_projects_that_install_at_once_lose_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_crontab_on_path(tmp_path, monkeypatch)
    table.write_bytes(b"0 1 * * * theirs\n")
    places = [around(tmp_path / f"project{number}") for number in range(6)]
    wanted = [lines(place) for place in places]

    def install(number: int) -> Callable[[], object]:
        return lambda: change_crontab(wanted[number], places[number].project)

    children = [fork(install(number)) for number in range(len(places))]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(places)
    found = table.read_bytes()
    assert found.startswith(b"0 1 * * * theirs\n")
    assert [lines_of(found, place.project) for place in places] == wanted


def test_killed_at_any_call_the_crontab_is_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_crontab_on_path(tmp_path, monkeypatch)
    place = around(tmp_path / "project")
    wanted = lines(place)
    old = b"0 1 * * * a\n" * 20_000  # more than a pipe holds
    new = with_lines(old, wanted, place.project)
    table.write_bytes(old)
    states = set()
    for _ in interruptions(lambda: change_crontab(wanted, place.project), "kill"):
        while list(tmp_path.glob("crontab-of-somebody.*")):
            pass  # the stand-in ends what it began
        found = table.read_bytes()
        assert found in (old, new)
        states.add(found)
        table.write_bytes(old)
    assert states == {old, new}
