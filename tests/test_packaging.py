"""What is installed from a wheel is whole, and what it depends on is written down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

from modelyard.setup.init import load_starter

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
REQUIREMENTS = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
DIRECT = sorted({re.split(r"[<>=\[ ]", requirement)[0].lower() for requirement in REQUIREMENTS})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("modelyard-*.whl")
    return built


def test_the_wheel_holds_every_file_of_a_new_project(wheel: Path) -> None:
    places = {
        "modelyard/setup/starter/": "",
        "modelyard/configs/schemas/": "configs/schemas/",
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {
            place + name.removeprefix(prefix): archive.read(name)
            for name in archive.namelist()
            for prefix, place in places.items()
            if name.startswith(prefix)
        }
    held[".gitignore"] = held.pop("gitignore")
    assert held == load_starter()


def test_the_wheel_holds_no_tests_and_no_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert all(name.startswith(("modelyard/", "modelyard-")) for name in names)
    assert wheel.stat().st_size < 2_000_000


def test_an_installed_wheel_makes_a_project_that_its_commands_work_in(
    wheel: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def models(*words: str, cwd: Path) -> str:
        command = [sys.executable, "-m", "modelyard", *words]
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import modelyard; print(modelyard.__file__)"
    imported = subprocess.check_output([sys.executable, "-c", where], env=environment, text=True)
    assert Path(imported.strip()).is_relative_to(site)
    models("init", "project", cwd=tmp_path)
    assert "smollm2-135m-instruct" in models("base", "list", "--json", cwd=tmp_path / "project")
    models("validate-config", "language_models/gpt4", "--strict", cwd=tmp_path / "project")


@pytest.mark.parametrize("name", DIRECT)
def test_every_direct_dependency_is_pinned_and_explained(name: str) -> None:
    pinned = (REPOSITORY / "constraints.txt").read_text().lower()
    assert re.search(rf"^{re.escape(name)}==", pinned, re.MULTILINE), "not in constraints.txt"
    explained = (REPOSITORY / "docs" / "dependencies.md").read_text().lower()
    assert name in explained or name.startswith("types-"), "not in docs/dependencies.md"
