"""`models serve` says what hinders it before it starts, and `--check` says all of it at once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.access.keys import check_key, create_key
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project

Models = Callable[..., int]


def state_of(project: Project) -> dict[Path, bytes | None]:
    """Every path below a project, and what its files hold, but for what SQLite has for readers."""
    of_readers = ("-wal", "-shm")
    paths = [path for path in project.root.rglob("*") if not path.name.endswith(of_readers)]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def test_check_says_whom_it_would_serve_what_and_leaves_nothing_behind(
    talking: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    create_key(talking, check_key("acme"))
    before = state_of(talking)
    assert models_here("serve", "--check", "--port", "0") == 0
    said = capsys.readouterr()
    assert "acme" in said.out
    assert "staff, talking" in said.out
    assert "nothing hinders the service of development" in said.err
    assert state_of(talking) == before


@pytest.mark.parametrize(
    ("most", "options", "of_staff", "of_all", "why"),
    [
        (None, (), 16, 16, "by default"),
        (3, (), 3, 16, "by default"),
        (16, (), 16, 16, "by default"),
        (40, (), 40, 40, "batching.max_requests of the profile of staff"),
        (40, ("--max-batch", "5"), 5, 5, "--max-batch"),
    ],
)
def test_check_says_how_many_answers_are_computed_at_once(
    talking: Project,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    most: int | None,
    options: tuple[str, ...],
    of_staff: int,
    of_all: int,
    why: str,
) -> None:
    if most is not None:
        profile = talking.configs / "performance_profiles" / "plain.yaml"
        profile.write_text(f"{profile.read_text()}batching: {{max_requests: {most}}}\n")
    create_key(talking, check_key("acme"))
    assert models_here("serve", "--check", "--port", "0", *options) == 0
    said = capsys.readouterr()
    assert ["staff", "plain", str(of_staff)] in [line.split() for line in said.out.splitlines()]
    assert f"at most {of_all} answers of each base are computed at once: {why}" in said.err


def test_check_says_all_that_would_hinder_it(
    talking: Project, models_here: Models, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text("no certificate")
    lock = talking.lock("serve", "development")
    with socket.socket() as other, exclusive_lock(lock, what="service of development"):
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        line = ("serve", "--check", "--port", port, "--certificate", str(chain))
        assert models_here(*line, "--base-model", "qwen-3b-instruct") == 1
    said = capsys.readouterr().err
    assert "an environment has one service" in said
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "chain.pem" in said
    assert "qwen-3b-instruct" in said
    assert "no key works" in said
    assert "models keys create" in said


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--insecure-local", "--host", "0.0.0.0"), 2, "--insecure-local is for a loopback"),
        (("--base-model", "qwen-3b-instruct", "--port", "0"), 2, "qwen-3b-instruct"),
        (("--certificate-key", "key.pem"), 2, "a key without a certificate"),
        (("--certificate", "chain.pem", "--certificate-key", "configs"), 2, "configs: is a folder"),
        (("--adapter-memory", "much"), 2, "--adapter-memory"),
        (("--env", "production", "--port", "0"), 1, "production"),
    ],
)
def test_it_does_not_start_with_what_cannot_be(
    talking: Project,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    assert models_here("serve", *options) == code
    assert told in capsys.readouterr().err


def test_no_keys_of_one_organisation_are_not_no_keys(
    talking: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    create_key(talking, check_key("acme"))
    assert models_here("keys", "list", "--org", "nobody") == 0
    assert "There is no key of nobody: " in capsys.readouterr().out


def test_a_second_service_of_an_environment_is_refused(
    talking: Project, models_here: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = talking.lock("serve", "development")
    with exclusive_lock(lock, what="service of development"):
        assert models_here("serve", "--port", "0") == 1
    said = capsys.readouterr().err
    assert "the service of development is in use by" in said
    assert "--env" in said
