"""The command that is printed for a missing package installs it where the program runs."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys

import pytest

from modelyard.core import installing
from modelyard.core.installing import install_command


def test_it_names_this_interpreter_and_the_versions_that_work() -> None:
    interpreter, *_, wanted = shlex.split(install_command("tensorboard"))
    assert interpreter == sys.executable
    assert wanted.startswith("tensorboard>=")
    assert shlex.split(install_command("something-else"))[-1] == "something-else"


def test_no_package_is_named_that_is_not_published() -> None:
    for package in ("tensorboard", "bitsandbytes", "gguf"):
        assert "modelyard" not in shlex.split(install_command(package))[-1]


def test_without_pip_the_environment_is_named_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "find_spec", lambda _: None)
    assert shlex.split(install_command("tensorboard"))[:5] == [
        "uv",
        "pip",
        "install",
        "--python",
        sys.executable,
    ]


def test_it_needs_no_installed_modelyard(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installing, "requires", missing)
    assert install_command("tensorboard").endswith(" tensorboard")
