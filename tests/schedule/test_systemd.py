"""Units of systemd: what systemd says of them, whose they are, and what it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from killed import interruptions
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.schedule.failures import ScheduleFailed
from modelyard.schedule.jobs import plan_jobs
from modelyard.schedule.surroundings import Surroundings, find_surroundings
from modelyard.schedule.systemd import Systemd, find_systemd
from modelyard.schedule.units import render_units

ANALYZE = shutil.which("systemd-analyze")
AWKWARD = ["plain", "with space", "100% of %h it", "$HOME $$ ${HOME}", "a;b&c|d", "é ü", "-dash"]
IN_ARGUMENTS = ['a"b', "it's", "back\\slash \\n"]


def around(root: Path, program: Path | None = None) -> Surroundings:
    root.mkdir(parents=True, exist_ok=True)
    found = find_surroundings(Project(root), {"HF_HOME": f"{root}/hub"})
    return Surroundings(
        project=found.project,
        program=(str(program or sys.executable),),
        variables=found.variables,
    )


def units(place: Surroundings, *, for_user: bool = True, count: int = 99) -> dict[str, str]:
    jobs = plan_jobs(place.project.root, "production", baseline="latest")[:count]
    return render_units(jobs, place, for_user=for_user)


def verify(folder: Path, texts: dict[str, str], tmp_path: Path) -> str:
    """What `systemd-analyze verify` finds wrong, which is nothing for good units."""
    if ANALYZE is None:
        pytest.skip("systemd-analyze is missing; it is in the Debian package systemd")
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    runtime = tmp_path / "run"
    runtime.mkdir(exist_ok=True)
    done = subprocess.run(
        [ANALYZE, "verify", "--user", *(str(folder / name) for name in texts)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
    )
    return done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("name", [*AWKWARD, *IN_ARGUMENTS])
def test_systemd_finds_nothing_wrong_with_the_units(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "plain" if name in IN_ARGUMENTS else tmp_path / name
    folder.mkdir()
    program = folder / "models"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    place = around(tmp_path / name / "project", program)
    for kind, for_user in (("user", True), ("system", False)):
        written = units(place, for_user=for_user)
        assert verify(tmp_path / f"units-{kind}", written, tmp_path) == ""


def test_verify_would_find_a_wrong_path_and_a_wrong_time(tmp_path: Path) -> None:
    good = units(around(tmp_path / "project"), count=1)
    for old, new in ((sys.executable, "/nowhere/models"), (":00\n", ":99\n"), ("[Timer]", "[Time")):
        bad = {name: text.replace(old, new) for name, text in good.items()}
        assert bad != good
        assert verify(tmp_path / f"units{len(new)}", bad, tmp_path) != ""


def test_variables_are_quoted_as_systemd_reads_them(tmp_path: Path) -> None:
    place = around(tmp_path / 'a"b \\n 50%')
    (service, _) = units(place, count=1).values()
    escaped = str(place.project.root).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    assert f'Environment="MODELS_PROJECT={escaped}"\n' in service


@pytest.mark.parametrize("name", ['a"b', "it's", "back\\slash"])
def test_a_program_that_systemd_would_not_start_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="systemd starts no program"):
        units(around(tmp_path / "project", tmp_path / name / "models"))


def test_the_machines_systemd_runs_jobs_as_the_owner_of_the_project(tmp_path: Path) -> None:
    place = around(tmp_path / "project")
    owned = [text for name, text in units(place, for_user=False).items() if ".service" in name]
    assert all(f"\nUser={place.project.root.owner()}\n" in text for text in owned)
    assert not any("User=" in text for text in units(place).values())
    if os.geteuid() == 0:
        os.chown(place.project.root, 54_321, 54_321)  # of nobody on this machine
        assert "\nUser=54321\n" in next(iter(units(place, for_user=False).values()))


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A user's systemd, with a stand-in for `systemctl` that writes down what it is told."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ -e "{tmp_path}/down" ] && {{ echo "no bus" >&2; exit 1; }}\n'
        f'echo "$*" >>"{tmp_path}/told"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return Systemd(for_user=True, folder=tmp_path / "systemd" / "user")


def told(tmp_path: Path) -> list[str]:
    """What systemctl was told since this was asked last."""
    lines = (tmp_path / "told").read_text().splitlines()
    (tmp_path / "told").write_text("")
    return lines


def test_installing_changing_and_removing(tmp_path: Path, systemd: Systemd) -> None:
    place = around(tmp_path / "project")
    project, wanted = place.project, units(place)
    systemd.folder.mkdir(parents=True)
    (systemd.folder / "modelyard-project-other.timer").write_text("theirs")
    assert systemd.install(project, wanted)
    timers = [name for name in wanted if name.endswith(".timer")]
    assert told(tmp_path) == [
        "--user --quiet daemon-reload",
        f"--user --quiet enable --now {' '.join(timers)}",
    ]
    assert systemd.installed(project) == wanted
    files = {path: path.stat().st_ino for path in systemd.folder.iterdir()}
    assert not systemd.install(project, wanted)
    assert files == {path: path.stat().st_ino for path in systemd.folder.iterdir()}
    told(tmp_path)
    fewer = units(place, count=2)
    assert systemd.install(project, fewer)
    assert told(tmp_path)[0] == f"--user --quiet disable --now {' '.join(sorted(timers[2:]))}"
    assert systemd.installed(project) == fewer
    assert systemd.remove(project)
    assert not systemd.remove(project)
    assert [path.name for path in systemd.folder.iterdir()] == ["modelyard-project-other.timer"]


def test_two_projects_of_one_name_do_not_disturb_each_other(
    tmp_path: Path, systemd: Systemd
) -> None:
    one, two = around(tmp_path / "a" / "project"), around(tmp_path / "b" / "project")
    systemd.install(one.project, units(one))
    systemd.install(two.project, units(two))
    assert systemd.remove(one.project)
    assert systemd.installed(one.project) == {}
    assert systemd.installed(two.project) == units(two)


def test_without_a_running_systemd_files_are_written_and_taken_out_and_it_is_said(
    tmp_path: Path, systemd: Systemd
) -> None:
    place = around(tmp_path / "project")
    (tmp_path / "down").touch()
    with pytest.raises(ScheduleFailed, match="`systemctl daemon-reload` failed: no bus"):
        systemd.install(place.project, units(place))
    assert systemd.installed(place.project) == units(place)
    with pytest.raises(ScheduleFailed, match="`systemctl disable` failed: no bus"):
        systemd.remove(place.project)
    assert systemd.installed(place.project) == {}


def test_killed_at_any_call_each_unit_is_the_old_or_the_new_and_the_next_call_completes(
    tmp_path: Path, systemd: Systemd
) -> None:
    old_place, place = around(tmp_path / "project"), around(tmp_path / "project", tmp_path)
    old, new = units(old_place, count=3), units(place, count=2)
    systemd.install(place.project, old)
    for _ in interruptions(lambda: systemd.install(place.project, new), "kill"):
        for name, text in systemd.installed(place.project).items():
            assert text in (old.get(name), new.get(name))
        systemd.install(place.project, new)
        assert systemd.installed(place.project) == new
        assert {path.name for path in systemd.folder.iterdir()} == set(new)
        systemd.install(place.project, old)


def test_root_has_the_machines_and_others_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_systemd() == Systemd(for_user=False, folder=Path("/etc/systemd/system"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_systemd().folder == Path.home() / ".config" / "systemd" / "user"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert find_systemd() == Systemd(for_user=True, folder=tmp_path / "config" / "systemd" / "user")
