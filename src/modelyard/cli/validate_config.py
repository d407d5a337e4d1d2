"""`models validate-config`: every error of every config, before anything uses it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from modelyard.cli.options import Json, complete_environment, work_in_project_of
from modelyard.cli.render import (
    excerpt_width,
    flush_results,
    print_document,
    print_finding,
    print_json,
    print_lines,
    print_note,
    print_title,
)
from modelyard.cli.stdin import read_piped
from modelyard.configs.checking.report import (
    CheckReport,
    check_result,
    finding_line,
    join_reports,
    report_seen_from,
    secret_lines,
    verdict,
)
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.core.seen_from import repository_around

_STDIN = "-"
_MOST_BYTES = 1_000_001
"""One more than the largest config has."""
Format = Literal["text", "json", "sarif", "junit", "github"]


def validate_config(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG|DIR",
            help="Files, folders, KIND/NAME or names; `-` is a config on stdin. Default: every "
            "config of the project.",
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            metavar="ENV",
            autocompletion=complete_environment,
            help="Check this environment only. Default: all that are declared.",
        ),
    ] = None,
    stdin_filename: Annotated[
        str | None,
        typer.Option(
            "--stdin-filename",
            metavar="FILE",
            help="With `-`: the file that stdin is the content of, so that its kind is known.",
        ),
    ] = None,
    output: Annotated[
        Format, typer.Option("--format", help="The form of the report, on stdout.")
    ] = "text",
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Warnings count as errors, and the published schema is asked as well."
        ),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Check every file again, and keep no verdict."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find every error in configs, each with its line.

    YAML, keys, types, units and bounds; then the meaning: what a config names exists, fallbacks end
    and have no cycle, prices are known, limits fit together, in each environment; and no secret
    stands in a file. What `env:` and `file:` refer to is listed, with whether it is set: it is
    never read. Nothing is executed, and no config is changed.

    Of 50 files or more the verdicts are kept in .models/cache: the next time only those are checked
    again that changed, or that name what changed. The findings are the same without it.

    Text is one line for each finding, `FILE:LINE:COL: MESSAGE`; on a terminal the line of the file
    stands below it. The number of findings goes to stderr. Exit code 2 when there is an error.
    A file outside any project can only name what is given beside it; files of several projects are
    each checked in their own.

    Paths are those of the current folder in text, of the project in JSON, and in the other forms of
    $GITHUB_WORKSPACE or the git repository, as code hosts count them.

    \b
    models validate-config configs/language_models/gpt4_config.yaml
    models validate-config --env production --strict
    models validate-config configs/ --format sarif > configs.sarif
    git show HEAD:configs/integration.yaml | models validate-config -

    \b
    json:   the findings for a program; `--json` is the same
    sarif:  SARIF 2.1.0, for code hosts and editors
    junit:  JUnit XML, a test for each file
    github: workflow commands, which GitHub shows beside the lines of a pull request
    """
    from modelyard.configs.checking.check import check_named
    from modelyard.configs.reading.catalogue import by_project

    if as_json and output not in ("text", "json"):
        raise InvalidInput(f"--json and --format {output} do not go together")

    files = [word for word in words or () if word != _STDIN]
    from_stdin = len(files) < len(words or ())
    if stdin_filename is not None and not from_stdin:
        raise InvalidInput("--stdin-filename says what `-` is, which is not named", hint="add `-`")
    projects = by_project(files)
    if from_stdin and len(projects) > 1:
        raise InvalidInput("configs of several projects are named, and `-` belongs to one")
    if len(projects) == 1:
        work_in_project_of([*files, stdin_filename])
    report = join_reports(
        [
            check_named(
                words_of_one,
                stdin=read_piped("a config", _MOST_BYTES) if from_stdin else None,
                stdin_file=stdin_filename,
                environment=environment,
                strict=strict,
                find_live=_find_live,
                processes=len(os.sched_getaffinity(0)),
                keep=not no_cache,
            )
            for words_of_one in projects
        ]
    )
    _print(report, "json" if as_json else output, strict, with_lines=not from_stdin)
    if not report.in_project:
        print_note("no project is around these files, so they can only name each other")
    print_note(verdict(report))
    if not report.valid or (strict and report.findings):
        flush_results()
        sys.exit(2)


def _find_live(project: Project) -> list[str]:
    """The environments in which something is live; a damaged state.db stops no check of configs."""
    if not project.state_db.exists():
        return []
    from modelyard.deployments.revisions import live_environments

    try:
        return live_environments(project)
    except ModelyardError as error:
        print_note(f"whether every live environment is declared was not checked: {error}")
        return []


def _print(report: CheckReport, output: Format, strict: bool, *, with_lines: bool) -> None:
    if output == "json":
        print_json(check_result(report, strict=strict))
        return
    reader = Path.cwd() if output == "text" else repository_around(report.start)
    report = report_seen_from(reader, report)
    if output == "sarif":
        from modelyard.configs.checking.formats import build_sarif

        print_document(build_sarif(report))
    elif output == "junit":
        from modelyard.configs.checking.formats import render_junit

        print_lines(render_junit(report, strict=strict).splitlines())
    elif output == "github":
        from modelyard.configs.checking.formats import github_lines

        print_lines(github_lines(report))
    elif with_lines and sys.stdout.isatty():
        draw_report(report)
    else:
        print_lines(map(finding_line, report.findings))
        print_lines(secret_lines(report))


def draw_report(report: CheckReport) -> None:
    """The findings with the lines that they are about, for a terminal."""
    from modelyard.configs.checking.excerpt import findings_with_excerpts

    for finding, shown in findings_with_excerpts(report, widest=excerpt_width()):
        print_finding(finding, shown)
    if secrets := list(secret_lines(report)):
        print_title("Secrets that these configs refer to")
        print_lines(f"  {line}" for line in secrets)
