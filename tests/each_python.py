"""Run every test that needs no torch under each Python that is found: `make test-pythons`.

Each gets an environment of its own in .venvs/, with the dependencies of pyproject.toml and without
the machine-learning libraries; tests that need those are skipped by name (missing_libraries.py).
Found are `python3.N` in the PATH and the versions of pyenv, one of each minor version that is
supported. Words before `--` name interpreters instead; those after it go to pytest.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "transformers", "peft", "trl", "datasets")
"""What is not installed; this program itself runs without pytest too."""
_OLDEST, _NEWEST = 11, 20
_PYTEST = [
    "--numprocesses",
    "logical",
    "--maxprocesses",
    "4",
    "--dist",
    "worksteal",
]


def requirements() -> list[str]:
    """What is installed: the dependencies and those of development, without the libraries."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [line for line in wanted if re.split(r"[^A-Za-z0-9_-]", line)[0] not in LIBRARIES]


def interpreters(environment: dict[str, str]) -> Iterator[str]:
    """One interpreter of each minor version, those of the PATH first."""
    pyenv = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in range(_OLDEST, _NEWEST + 1):
        found = [shutil.which(f"python3.{minor}", path=environment.get("PATH"))]
        found += sorted(map(str, pyenv.glob(f"versions/3.{minor}.*/bin/python3")), reverse=True)
        # A shim of pyenv is found for versions that are not switched on, and then does not run.
        if usable := next((each for each in found if each and version_of(each)), None):
            yield usable


def version_of(python: str) -> str | None:
    """The minor version of an interpreter that can make environments; None for any other."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else None


def environment_for(python: str, version: str) -> Path:
    """The interpreter of an environment that has what is needed; made when that has changed."""
    folder, wanted = ROOT / ".venvs" / version, requirements()
    own, ready = folder / "bin" / "python", folder / ".ready"
    constraints = ROOT / "constraints.txt"
    state = hashlib.sha256("\n".join((*wanted, constraints.read_text())).encode()).hexdigest()
    if ready.exists() and ready.read_text() == state:
        return own
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--constraint", constraints, *wanted], check=True)
    subprocess.run([*install, "--no-deps", "--editable", ROOT], check=True)
    ready.write_text(state)
    return own


def main(words: Sequence[str]) -> int:
    """Run the tests under each; 0 when all passed everywhere."""
    at = words.index("--") if "--" in words else len(words)
    named, for_pytest = words[:at], words[at + 1 :]
    failed = []
    for python in named or interpreters(dict(os.environ)):
        version = version_of(python)
        if version is None:
            print(f"{python} is no Python with venv", file=sys.stderr)
            failed.append(python)
            continue
        print(f"Python {version}: {python}", flush=True)
        own = environment_for(python, version)
        path = f"{own.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        environment.pop("PYTHONPATH", None)
        cache = f"cache_dir={own.parents[1] / 'pytest-cache'}"
        command = [own, "-m", "pytest", *_PYTEST, "-o", cache, *for_pytest]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(version)
    print(f"failed under {', '.join(failed)}" if failed else "passed under each", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
