"""The files of `deploy/` are well formed, and start the service as they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.access.keys import check_key, create_key
from modelyard.core.layout import Project
from modelyard.settings.yaml_files import load_yaml
from served import serving

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
PINNED = re.compile(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*")
"""An image with all parts of its version."""


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its words, in order."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    joined = "\n".join(lines).replace("\\\n", " ")
    parted = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, words.strip()) for name, _, words in parted]


def words_of(name: str) -> list[str]:
    return [words for found, words in instructions() if found == name]


def program_of(words: str) -> list[str]:
    """The program of an instruction in its form as JSON."""
    program: list[str] = json.loads(words[words.index("[") :])
    return program


def linted(program: str, *arguments: str) -> None:
    """Run a linter, or skip the test by its name where it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is missing")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_pinned_and_runs_as_nobody_in_particular() -> None:
    names = [name for name, _ in instructions()]
    for image in words_of("FROM"):
        assert PINNED.fullmatch(image.split()[0])
    assert words_of("USER") == ["10001"]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "COPY")
    assert words_of("EXPOSE") == ["8091"]
    for copied in words_of("COPY"):
        if not copied.startswith("--from"):
            for source in copied.split()[:-1]:
                assert (REPOSITORY / source).exists()


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    linted("hadolint", str(DEPLOY / "Dockerfile"))


def test_the_image_starts_a_service_that_could_run(
    talking: Project, models_here: Callable[..., int]
) -> None:
    create_key(talking, check_key("acme"))
    program = program_of(words_of("ENTRYPOINT")[0]) + program_of(words_of("CMD")[0])
    assert program[:2] == ["models", "serve"]
    options = program[2:]
    options[options.index("--env") + 1] = "development"
    options[options.index("--port") + 1] = "0"
    assert models_here("serve", "--check", *options) == 0


def test_the_health_check_of_the_image_tells_a_ready_service(talking: Project) -> None:
    program = program_of(words_of("HEALTHCHECK")[0])
    with serving(talking) as service:
        there = [word.replace("http://127.0.0.1:8091", service.url) for word in program]
        assert there != program
        check = [sys.executable, *there[1:]]
        assert subprocess.run(check, capture_output=True).returncode != 0
        service.service.loaded.set()
        assert subprocess.run(check, capture_output=True).returncode == 0


def test_compose_mounts_the_models_read_only_and_listens_on_this_machine() -> None:
    services: dict[str, Any] = load_yaml(DEPLOY / "docker-compose.yml").value
    assert set(services) == {"services"}
    service = services["services"]["models"]
    assert "./models:/app/models:ro" in service["volumes"]
    assert service["ports"] == ["127.0.0.1:8091:8091"]
    assert service["build"]["dockerfile"] == "deploy/Dockerfile"
    places = [volume.rsplit(":", 1)[0] for volume in service["volumes"] if volume.endswith(":ro")]
    assert [place.split(":")[-1] for place in places] == ["/app/models", "/app/configs"]


def test_systemd_finds_nothing_wrong_with_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "models"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "modelyard.service"
    text = (DEPLOY / unit.name).read_text()
    unit.write_text(text.replace("/opt/models/bin/models", str(program)))
    drain = re.search(r"--drain (\d+)", text)
    stop = re.search(r"TimeoutStopSec=(\d+)", text)
    assert drain and stop and int(stop[1]) > int(drain[1])
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    linted("systemd-analyze", "verify", str(unit))


def test_the_proxy_holds_no_piece_back() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    assert "proxy_buffering off;" in text
    assert text.count("{") == text.count("}")
    lines = [line.strip() for line in text.splitlines() if line.strip()[:1] not in ("#", "")]
    assert [line for line in lines if line[-1] not in ";{}"] == []
