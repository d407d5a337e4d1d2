"""Outputs that cannot be written, arguments that are no text, and signals: as a shell sees them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.cli.app import error_boundary, main
from modelyard.cli.render import out, print_lines, print_text
from modelyard.core.layout import Project

MODELS = f"{sys.executable} -m modelyard"
GENERATE = "generate --base-model tiny --max-new-tokens 400 hello"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `models` is this program; ends as the first part of a pipe does."""
    return subprocess.run(
        ["bash", "-c", f'models() {{ {MODELS} "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )


@pytest.mark.parametrize(
    ("command", "code"), [(GENERATE, 0), ("base list", 0), ("base list --json", 0), ("--help", 1)]
)
def test_a_reader_who_leaves_ends_a_command_quietly(
    project: Project, command: str, code: int
) -> None:
    done = shell(f"models {command} | true")
    assert done.returncode == code
    assert done.stderr.replace("fingerprint", "").count("\n") <= 1
    assert "error" not in done.stderr and "exception" not in done.stderr.lower()


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        (GENERATE, ""),  # each piece is flushed anyhow
        *(
            (command, unbuffered)
            for command in ("base list", "base list --json", "--help", "--version")
            for unbuffered in ("", "1")
        ),
    ],
)
def test_a_full_disk_behind_stdout_is_an_error_that_says_so(
    project: Project, command: str, unbuffered: str
) -> None:
    done = shell(f"PYTHONUNBUFFERED={unbuffered} models {command} >/dev/full")
    assert done.returncode == 1, done.stderr
    assert re.search("stdout: cannot write.*: No space left on device", done.stderr)
    assert "exception" not in done.stderr.lower()


def test_a_closed_stdout_is_an_error_that_says_so(project: Project) -> None:
    done = shell("models base list >&-")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: stdout is closed")


def test_closed_stdin_and_stderr_are_empty_ones(project: Project) -> None:
    assert "tiny" in shell("models base list <&- 2>&-").stdout
    done = shell("models generate --base-model tiny - <&-")
    assert (done.returncode, "the question is empty" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "line", [r"models generate --base-model tiny $'\xff'", r"models init $'a\xff'"]
)
def test_an_argument_that_is_not_utf8_is_wrong_usage(project: Project, line: str) -> None:
    done = shell(line)
    assert done.returncode == 2, done.stderr
    assert r"xff' is not UTF-8 text" in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_prompt_on_stdin_that_is_not_utf8_is_wrong_usage(project: Project, locale: str) -> None:
    done = shell(rf"LC_ALL={locale} models generate --base-model tiny - <<<$'\xff'")
    assert done.returncode == 2, done.stderr
    assert "stdin: the question is not UTF-8 text" in done.stderr


def write_rows(path: Path, count: int) -> None:
    rows = (f'{{"prompt": "Question {n}?", "completion": "Answer {n}."}}\n' for n in range(count))
    path.write_text("".join(rows))


def test_an_interrupt_while_the_commands_are_loaded_prints_no_traceback() -> None:
    program = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "modelyard.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from modelyard.cli.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_with_130_and_one_line(
    project: Project, number: signal.Signals
) -> None:
    write_rows(project.root / "rows.jsonl", 30_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard", "prepare-data", "rows.jsonl", "--out", "rows"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "rows.jsonl" in process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert (stdout, stderr.splitlines()[-1]) == ("", "interrupted")
    assert "Traceback" not in stderr
    assert not (project.root / "datasets" / "rows" / "train.jsonl").exists()


def test_the_traceback_of_a_bug_outside_a_project_lies_in_the_cache(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("as a bug would")

    monkeypatch.setattr("modelyard.setup.init.init_project", broken)
    monkeypatch.setattr("sys.argv", ["models", "init", "new"])
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 3
    (log,) = (own_home / "models-cache" / "logs").iterdir()
    assert "as a bug would" in log.read_text()
    assert str(log) in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_an_interrupt_while_a_class_is_created_is_an_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Interrupting:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    @error_boundary
    def command() -> None:
        type("Created", (), {"attribute": Interrupting()})  # RuntimeError in Python 3.11

    with pytest.raises(SystemExit) as ended:
        command()
    assert (ended.value.code, capsys.readouterr().err) == (130, "interrupted\n")


@pytest.mark.parametrize("print_result", [print_text, lambda text: print_lines([text])])
@pytest.mark.parametrize(("changes", "code"), [(False, 0), (True, 1)])
def test_a_reader_that_goes_early_ends_what_only_reads_well(
    print_result: Callable[[str], None],
    changes: bool,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def command() -> None:
        for _ in range(3):
            print_result("x" * 10_000)
        raise AssertionError("nobody reads it")

    out.cache_clear()
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as closed, pytest.raises(SystemExit) as ended:
        monkeypatch.setattr("sys.stdout", closed)
        error_boundary(command, changes=changes)()
    assert ended.value.code == code
    out.cache_clear()


def test_a_current_folder_that_was_deleted_is_named(
    tmp_path: Path, models_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("doctor", "base list", "validate-config x.yaml", "search x"):
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert models_here(*command.split()) == 2
        said = capsys.readouterr().err
        assert "error: the current folder does not exist any more" in said
