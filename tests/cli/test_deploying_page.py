"""docs/deploying.md, run as it is written in a new project: every output shown there is real."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelyard.cli import render
from modelyard.setup.init import init_project

PAGE = Path(__file__).parents[2] / "docs" / "deploying.md"
ANY_LINES = "..."
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
_SETTINGS = re.compile(r"new, \d+ settings")


@pytest.fixture(autouse=True)
def console_of_the_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The console is made once; the tables of the page have a width of their own."""
    monkeypatch.setenv("COLUMNS", "110")
    render.out.cache_clear()
    yield
    render.out.cache_clear()


def steps() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page, and the lines that it prints there."""
    for block in _BLOCK.findall(PAGE.read_text()):
        command, shown = "", []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line.removeprefix("$ "), []
            elif line.startswith("> "):
                command += f"\n{line.removeprefix('> ')}"
            else:
                shown.append(line)
        yield command, shown


def plain(lines: list[str]) -> list[str]:
    """Lines without what differs between two runs, or with each new key: times, and counts."""
    texts = (re.sub(r"[\s─]+", " ", line).strip() for line in lines)
    return [_SETTINGS.sub("new", _TIME.sub("TIME", text)) for text in texts if text]


def fits(shown: list[str], printed: list[str]) -> bool:
    """Whether these lines were printed, `...` standing for any others."""
    parts = "\n".join(map(re.escape, shown)).split(re.escape(ANY_LINES))
    return re.fullmatch(r"(?s:.*)".join(parts), "\n".join(printed)) is not None


def test_every_output_of_the_page_is_what_the_command_prints(
    models_here: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    init_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="root"))
    code = 0
    ran = 0
    for command, shown in steps():
        ran += 1
        if command == "echo $?":
            assert shown == [str(code)]
            continue
        done = subprocess.run(
            ["bash", "-c", f'models() {{ printf "%s\\0" "$@"; }}\n{command}'],
            capture_output=True,
            text=True,
            check=True,
        )
        if not command.startswith("models "):
            assert plain(done.stdout.splitlines()) == plain(shown), command
            continue
        capsys.readouterr()
        code = models_here(*done.stdout.split("\0")[:-1])
        printed = "".join(capsys.readouterr()).splitlines()
        assert fits(plain(shown), plain(printed)), f"$ {command}\n" + "\n".join(printed)
    assert ran > 20
