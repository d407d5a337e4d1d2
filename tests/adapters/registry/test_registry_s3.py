"""The registry in a real S3-speaking server on loopback, through the commands themselves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_samples import add_version, whole_versions

from modelyard.adapters.promote import promote_version
from modelyard.adapters.registry.blobs import blob_key
from modelyard.core.layout import Project
from s3_server import BUCKET, KEY_ID, SECRET, S3Server, serving_guarded_s3, serving_s3


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[S3Server]:
    with serving_guarded_s3(tmp_path / "s3") as server:
        yield server


@pytest.fixture
def unguarded(tmp_path: Path) -> Iterator[S3Server]:
    with serving_s3(tmp_path / "s3") as server:
        yield server


def models(
    project: Project, server: S3Server, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "modelyard",
        "--project",
        str(project.root),
        "adapters",
        *words,
    ]
    environment = {**os.environ, **server.environment, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def stored(server: S3Server, key: str) -> Path:
    return server.folder / BUCKET / "team" / "adapters" / key


def test_a_version_goes_through_s3_and_arrives_whole(
    here: Project, there: Project, guarded: S3Server
) -> None:
    version = add_version(here, "run-1", size_bytes=20_000_000)
    promote_version(here, version)
    done = models(here, guarded, "push", "demo", guarded.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tags"] == {"latest": 1, "in-use": 1}
    sent = stored(guarded, blob_key(version.manifest.files["adapter_model.safetensors"].sha256))
    assert sent.stat().st_size > 20_000_000
    assert "already in" in models(here, guarded, "push", "demo", guarded.url).stdout
    done = models(there, guarded, "pull", "demo", guarded.url)
    assert done.returncode == 0, done.stderr
    assert whole_versions(there) == [1]
    assert "already here" in models(there, guarded, "pull", "demo", guarded.url).stdout


def test_a_pull_goes_on_although_the_server_gives_no_parts(
    here: Project, there: Project, unguarded: S3Server
) -> None:
    """rclone 1.75 answers a request for a part in a way that obstore refuses."""
    version = add_version(here, "run-1", size_bytes=3_000_000)
    models(here, unguarded, "push", "demo@1", unguarded.url, "--single-writer")
    entry = version.manifest.files["adapter_model.safetensors"]
    there.incoming("demo").mkdir(parents=True)
    left = (version.path / "adapter_model.safetensors").read_bytes()[:1_000_000]
    (there.incoming("demo") / f"{entry.sha256}.part").write_bytes(left)
    done = models(there, unguarded, "pull", "demo", unguarded.url)
    assert done.returncode == 0, done.stderr
    assert whole_versions(there) == [1]


def test_a_store_that_overwrites_is_refused_unless_nobody_else_writes(
    here: Project, there: Project, unguarded: S3Server
) -> None:
    add_version(here, "run-1")
    add_version(there, "run-1")
    done = models(here, unguarded, "push", "demo@1", unguarded.url)
    assert done.returncode == 1
    assert "overwrites" in done.stderr and "--single-writer" in done.stderr
    assert not stored(unguarded, "adapters").exists()
    alone = ("push", "demo@1", unguarded.url, "--single-writer")
    assert models(here, unguarded, *alone).returncode == 0
    record = stored(unguarded, "adapters/demo/versions/1.json").read_bytes()
    done = models(there, unguarded, *alone)
    assert done.returncode == 1 and "is another version there" in done.stderr
    assert stored(unguarded, "adapters/demo/versions/1.json").read_bytes() == record


def test_wrong_keys_a_wrong_bucket_and_no_server_are_said_plainly(
    here: Project, guarded: S3Server
) -> None:
    add_version(here, "run-1")
    wrong = "wrong-secret-never-shown"
    for words, variables in (
        (("push", "demo@1", guarded.url), {"AWS_SECRET_ACCESS_KEY": wrong}),
        (("pull", "demo", guarded.url), {"AWS_SECRET_ACCESS_KEY": wrong}),
        (("push", "demo@1", "s3://nowhere/x"), {}),
        (("push", "demo@1", guarded.url), {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
    ):
        done = models(here, guarded, *words, **variables)
        assert done.returncode == 1, done.stderr
        assert "hint: " in done.stderr
        assert wrong not in done.stderr and KEY_ID not in done.stderr
    done = models(here, guarded, "push", "demo@1", guarded.url, AWS_ALLOW_HTTP="")
    assert done.returncode == 2 and "AWS_ALLOW_HTTP=true" in done.stderr
    assert models(here, guarded, "pull", "demo", guarded.url).returncode == 2


def test_a_bit_flipped_in_the_bucket_is_refused_and_mended_by_force(
    here: Project, there: Project, guarded: S3Server
) -> None:
    version = add_version(here, "run-1")
    models(here, guarded, "push", "demo@1", guarded.url)
    blob = stored(guarded, blob_key(version.manifest.files["tokenizer.json"].sha256))
    spoiled = bytearray(blob.read_bytes())
    spoiled[3] ^= 16
    blob.write_bytes(spoiled)
    done = models(there, guarded, "pull", "demo", guarded.url)
    assert done.returncode == 1 and "SHA-256 differs from its name" in done.stderr
    assert whole_versions(there) == []
    assert models(here, guarded, "push", "demo@1", guarded.url, "--force").returncode == 0
    assert models(there, guarded, "pull", "demo", guarded.url).returncode == 0
    assert whole_versions(there) == [1]


def test_an_interrupt_ends_a_push_to_a_silent_server_at_once(here: Project) -> None:
    add_version(here, "run-1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = S3Server(f"http://127.0.0.1:{silent.getsockname()[1]}", here.root)
        words = ("--project", str(here.root), "adapters", "push", "demo@1", server.url)
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", *words],
            env={**os.environ, **server.environment},
            stderr=subprocess.DEVNULL,
        )
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=5) == -signal.SIGINT
