"""`models schedule`: what runs at fixed times, by cron or by systemd."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli.options import DryRun, Environment, Json, chosen_environment
from modelyard.cli.render import (
    flush_results,
    print_json,
    print_lines,
    print_note,
    print_table,
    print_text,
    print_warning,
)
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, find_project
from modelyard.core.wording import counted

if TYPE_CHECKING:
    from modelyard.schedule.overview import Keeper, Schedule

_LATEST = "latest"
InSystemd = Annotated[
    bool, typer.Option("--systemd", help="Timers of systemd: the user's; for root the machine's.")
]
Baseline = Annotated[
    str,
    typer.Option(
        "--baseline",
        metavar="RUN",
        help="The run that the weekly test is compared with: `latest`, which is last week's, or "
        "the number of one that stays.",
    ),
]
InCrontab = Annotated[bool, typer.Option("--crontab", help="Lines in the user's crontab.")]


def show(
    systemd: InSystemd = False,
    crontab: InCrontab = False,
    baseline: Baseline = _LATEST,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Show what runs at fixed times, and where.

    With --crontab or --systemd it is printed as `models schedule install` would write it. Nothing
    is changed.

    \b
    models schedule show --env production
    models schedule show --crontab
    """
    keeper = _named_keeper(systemd, crontab)
    if as_json and keeper is not None:
        raise InvalidInput(f"--json and --{keeper} are two forms", hint="leave one out")
    project = find_project()
    schedule = _plan(project, chosen_environment(project, environment), baseline)
    if as_json:
        print_json(schedule.show())
    elif keeper == "crontab":
        print_lines(schedule.lines)
    elif keeper == "systemd":
        _print_units(schedule)
    else:
        print_table(
            ("job", "when", "command"),
            [(job.name, job.times, " ".join(job.command)) for job in schedule.show().jobs],
        )
        flush_results()
        _name_left_out(schedule)
        installed = schedule.find_installed()
        for found in installed:
            differs = "" if found.is_current else ", and is not what is shown here"
            print_note(f"It is installed in {_place(found.keeper)}{differs}.")
        if not installed:
            print_note("It is not installed.")


def install(
    systemd: InSystemd = False,
    crontab: InCrontab = False,
    baseline: Baseline = _LATEST,
    environment: Environment = None,
    dry_run: DryRun = False,
) -> None:
    """Have the jobs of this project run at their times.

    Without --systemd or --crontab: by systemd where it runs this machine, else by cron. What is
    installed of this project is replaced, also for another environment; what others have there,
    other projects too, stays as it is. Installing again changes nothing.

    A job has the project, this Python environment and the folders of weights by absolute paths, and
    does not start while it still runs. A job whose command this version does not have is left out
    and named. Variables of this shell are not there for a job, and keys are never written down:
    `api_key: file:PATH` is read by a job.

    \b
    models schedule install --env production
    models schedule install --crontab --dry-run
    """
    project = find_project()
    asked = chosen_environment(project, environment)
    keeper = _named_keeper(systemd, crontab) or _default_keeper()
    schedule = _plan(project, asked, baseline)
    _warn_of_keys(project, asked)
    changed = (_install_lines if keeper == "crontab" else _install_units)(schedule, dry_run)
    jobs = counted(len(schedule.jobs), "job")
    if not changed:
        print_text(f"{jobs} in {_place(keeper)}: nothing to change")
    elif not dry_run:
        print_text(f"{jobs} of {asked} installed in {_place(keeper)}")
    flush_results()
    _name_left_out(schedule)
    for other in schedule.find_installed():
        if other.keeper != keeper:
            print_warning(
                f"this project is installed in {_place(other.keeper)} too, and each job runs "
                f"twice; `models schedule remove --{other.keeper}` takes those out"
            )


def remove(systemd: InSystemd = False, crontab: InCrontab = False, dry_run: DryRun = False) -> None:
    """Take the jobs of this project out, and nothing else.

    Without --systemd or --crontab: wherever they are installed.

    \b
    models schedule remove
    models schedule remove --crontab --dry-run
    """
    from modelyard.schedule.crontab import change_crontab
    from modelyard.schedule.overview import find_keepers
    from modelyard.schedule.surroundings import resolved
    from modelyard.schedule.systemd import find_systemd

    project = resolved(find_project())
    only = _named_keeper(systemd, crontab)
    found = [keeper for keeper in find_keepers(project) if only in (None, keeper)]
    for keeper in found:
        if not dry_run and keeper == "crontab":
            change_crontab([], project)
        elif not dry_run:
            find_systemd().remove(project)
        would = "would be " if dry_run else ""
        print_text(f"the jobs of this project {would}removed from {_place(keeper)}")
    if not found:
        print_text("no job of this project is installed")


def _named_keeper(systemd: bool, crontab: bool) -> Keeper | None:
    if systemd and crontab:
        raise InvalidInput("--systemd and --crontab do not go together")
    return "systemd" if systemd else "crontab" if crontab else None


def _default_keeper() -> Keeper:
    from modelyard.schedule.crontab import has_crontab
    from modelyard.schedule.systemd import runs_systemd

    if runs_systemd():
        return "systemd"
    if has_crontab():
        return "crontab"
    raise InvalidInput(
        "neither systemd nor cron runs on this machine",
        hint="install cron; or copy what `models schedule show --crontab` prints",
    )


def _place(keeper: Keeper) -> str:
    from modelyard.schedule.systemd import find_systemd

    return "the crontab" if keeper == "crontab" else str(find_systemd().folder)


def _plan(project: Project, environment: str, baseline: str) -> Schedule:
    from modelyard.cli.app import is_command
    from modelyard.schedule.overview import plan_schedule

    return plan_schedule(project, environment, is_command, os.environ, baseline=baseline)


def _print_units(schedule: Schedule) -> None:
    from modelyard.schedule.systemd import find_systemd

    systemd = find_systemd()
    for name, text in schedule.units(systemd).items():
        print_lines([f"# {systemd.folder / name}", *text.splitlines(), ""])


def _install_lines(schedule: Schedule, dry_run: bool) -> bool:
    from modelyard.schedule.crontab import change_crontab, lines_of, make_job_files, read_crontab
    from modelyard.schedule.surroundings import owner_of

    project = schedule.around.project
    if os.geteuid() == 0 and (owner := owner_of(project)) != "root":
        print_warning(
            f"root's crontab runs these jobs as root, and the project belongs to {owner}: what "
            f"they write would be root's; install them as {owner}, or with --systemd"
        )
    if not dry_run:
        make_job_files(schedule.jobs, project)
        return change_crontab(schedule.lines, project)
    before = lines_of(read_crontab(), project)
    return _print_changes(
        [line for line in before if line not in schedule.lines],
        [line for line in schedule.lines if line not in before],
    )


def _install_units(schedule: Schedule, dry_run: bool) -> bool:
    from modelyard.schedule.systemd import find_systemd, lingers

    systemd = find_systemd()
    project, units = schedule.around.project, schedule.units(find_systemd())
    if dry_run:
        before = systemd.installed(project)
        return _print_changes(
            [str(systemd.folder / name) for name in before if name not in units],
            [str(systemd.folder / name) for name in units if before.get(name) != units[name]],
        )
    changed = systemd.install(project, units)
    if systemd.for_user and not lingers():
        print_note("They run while you are logged in; always after `loginctl enable-linger`.")
    return changed


def _print_changes(taken_out: Iterable[str], put_in: Iterable[str]) -> bool:
    """Print what would change, a line each; returns whether anything would."""
    changes = [*(f"- {line}" for line in taken_out), *(f"+ {line}" for line in put_in)]
    print_lines(changes)
    return bool(changes)


def _name_left_out(schedule: Schedule) -> None:
    for job in schedule.left_out:
        print_note(f"Left out: {job.name}, since this version has no `models {job.command}`.")


def _warn_of_keys(project: Project, environment: str) -> None:
    """Warn of keys that a job would not find: it has no variables of this shell."""
    from modelyard.deployments.running import running_settings

    models = running_settings(project, environment, "language_models")
    for name, model in models.items():
        if model.api_key is not None and model.api_key.startswith("env:"):
            print_warning(
                f"{name}: cron and systemd do not have the variable {model.api_key[4:]}; a key in "
                "a file is found: `api_key: file:PATH`"
            )
