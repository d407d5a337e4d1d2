from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project, cache_folder
from modelyard.core.progress import Silent
from modelyard.hub.client import hub_cache_folder
from modelyard.weights.encoders import fetch_encoder_folder
from modelyard.weights.files import fingerprint_weights
from modelyard.weights.local import base_cache, locate_base
from modelyard.weights.pull import BaseUnavailable, pull_base, require_base

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PULL = (
    "from modelyard.weights.pull import pull_base\n"
    "from modelyard.core.layout import find_project\n"
    "from modelyard.core.progress import Silent\n"
    "print(pull_base(find_project(), 'hubbed', progress=Silent()).fingerprint)\n"
)


@pytest.fixture
def hub_project(project: Project, write_base_card: Callable[..., Path]) -> Project:
    """The project, with the base `hubbed` from the hub on loopback, pinned to its commit."""
    write_base_card("hubbed", {"kind": "hub", "repo": "acme/tiny", "revision": COMMIT})
    return project


CHUNK_BYTES = 10 * 1024 * 1024
"""The hub client writes this much at a time, so this is what a broken download keeps."""


@pytest.fixture
def large_weights(hub: Any) -> None:
    """Weights of a bit more than two chunks, which break off in the middle of the second."""
    import numpy as np
    from safetensors.numpy import save

    hub.files["model.safetensors"] = save({"weight": np.zeros(22 * 1024 * 1024, np.uint8)})
    hub.cut_after_bytes = CHUNK_BYTES * 3 // 2


def _start_pull() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _reasons(error: BaseUnavailable) -> str:
    return "\n".join(f"{problem} | {problem.hint}" for problem in error.problems)


def test_a_base_is_downloaded_into_the_hubs_own_cache(
    hub_project: Project, hub: Any, said: Any, tiny_base_folder: Path
) -> None:
    base = pull_base(hub_project, "hubbed", progress=said)
    assert base.path.parent.parent == hub_cache_folder() / "models--acme--tiny"
    assert base.fingerprint == fingerprint_weights(tiny_base_folder)
    assert base.source == "hub acme/tiny@0123456789ab"
    assert locate_base(hub_project, "hubbed") == base
    assert said.stages[0] == "download: acme/tiny from the hub"
    assert not list(cache_folder().rglob("*.safetensors"))


def test_only_what_a_base_needs_is_downloaded(hub_project: Project, hub: Any) -> None:
    base = pull_base(hub_project, "hubbed", progress=Silent())
    assert {file.name for file in base.path.iterdir()} == set(base.files)
    assert "pytorch_model.bin" not in base.files
    assert not any("onnx" in path or "pytorch" in path for _, path, _ in hub.asked)


def test_a_pulled_base_needs_no_network_again(hub_project: Project, hub: Any) -> None:
    first = pull_base(hub_project, "hubbed", progress=Silent())
    hub.asked.clear()
    assert require_base(hub_project, "hubbed", progress=Silent()) == first
    assert pull_base(hub_project, "hubbed", progress=Silent()) == first
    assert hub.asked == []


def test_a_branch_is_resolved_to_the_commit_it_stands_for(
    project: Project, hub: Any, write_base_card: Callable[..., Path]
) -> None:
    write_base_card("hubbed", {"kind": "hub", "repo": "acme/tiny", "revision": "main"})
    base = pull_base(project, "hubbed", progress=Silent())
    assert base.path.name == COMMIT
    assert base.source == "hub acme/tiny@main"


def test_a_snapshot_that_another_program_downloaded_is_used(hub_project: Project, hub: Any) -> None:
    from huggingface_hub import snapshot_download

    path = snapshot_download(
        "acme/tiny", revision=COMMIT, endpoint=hub.endpoint, cache_dir=hub_cache_folder()
    )
    hub.asked.clear()
    base = locate_base(hub_project, "hubbed")
    assert base is not None and base.path == Path(path)
    assert hub.asked == []


@pytest.mark.usefixtures("large_weights")
def test_a_download_goes_on_where_the_connection_broke(hub_project: Project, hub: Any) -> None:
    base = pull_base(hub_project, "hubbed", progress=Silent())
    assert hub.ranges_of("model.safetensors") == [None, f"bytes={CHUNK_BYTES}-"]
    assert (base.path / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


@pytest.mark.usefixtures("large_weights")
def test_a_killed_download_goes_on_in_the_next_process(hub_project: Project, hub: Any) -> None:
    hub.hold = threading.Event()
    process = _start_pull()
    blobs = hub_cache_folder() / "models--acme--tiny" / "blobs"
    give_up_at = time.monotonic() + 60
    while not any(file.stat().st_size == CHUNK_BYTES for file in blobs.glob("*.incomplete")):
        assert process.poll() is None and time.monotonic() < give_up_at
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert locate_base(hub_project, "hubbed") is None

    hub.cut_after_bytes = None
    hub.hold.set()
    base = pull_base(hub_project, "hubbed", progress=Silent())
    assert hub.ranges_of("model.safetensors") == [None, f"bytes={CHUNK_BYTES}-"]
    assert (base.path / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


@pytest.mark.usefixtures("large_weights")
def test_an_encoder_is_fetched_and_continued_like_a_base(project: Project, hub: Any) -> None:
    folder = fetch_encoder_folder(project, "hub", "acme/tiny", progress=Silent())
    assert hub.ranges_of("model.safetensors") == [None, f"bytes={CHUNK_BYTES}-"]
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert not (folder / "onnx").exists() and not (folder / "pytorch_model.bin").exists()
    hub.asked.clear()
    assert fetch_encoder_folder(project, "hub", "acme/tiny", progress=Silent()) == folder
    assert hub.asked == []


def test_two_pulls_at_once_download_once(hub_project: Project, hub: Any) -> None:
    processes = [_start_pull(), _start_pull()]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    assert hub.ranges_of("model.safetensors") == [None]


def test_the_second_pull_says_whom_it_waits_for(hub_project: Project, hub: Any, said: Any) -> None:
    waiting = threading.Thread(
        target=pull_base, args=(hub_project, "hubbed"), kwargs={"progress": said}
    )
    with exclusive_lock(base_cache("hubbed") / "pull.lock", what="base 'hubbed'"):
        waiting.start()
        while not said.stages and waiting.is_alive():
            time.sleep(0.02)
        assert hub.ranges_of("model.safetensors") == []
    waiting.join()
    assert said.stages[0].startswith(f"wait: the base 'hubbed' is in use by process {os.getpid()}")
    assert locate_base(hub_project, "hubbed") is not None


def test_force_fetches_only_what_differs_from_the_hubs_hashes(
    hub_project: Project, hub: Any
) -> None:
    base = pull_base(hub_project, "hubbed", progress=Silent())
    for name in ("model.safetensors", "tokenizer_config.json"):
        blob = (base.path / name).resolve()
        blob.write_bytes(b"x" * blob.stat().st_size)
    hub.asked.clear()
    assert pull_base(hub_project, "hubbed", progress=Silent(), force=True).files.keys()
    fetched = {path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET"}
    assert fetched - {COMMIT} == {"model.safetensors", "tokenizer_config.json"}
    for name in base.files:
        assert (base.path / name).read_bytes() == hub.files[name]


def test_weights_that_arrive_garbled_are_not_kept(hub_project: Project, hub: Any) -> None:
    weights = hub.files["model.safetensors"]
    hub.garbled["model.safetensors"] = weights[:-1] + bytes([weights[-1] ^ 1])
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(hub_project, "hubbed", progress=Silent())
    assert "model.safetensors arrived with another SHA-256" in _reasons(caught.value)
    hub.garbled.clear()
    base = pull_base(hub_project, "hubbed", progress=Silent())
    assert (base.path / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_where_to_accept_its_terms(
    hub_project: Project, hub: Any, status: int
) -> None:
    hub.refusal = (status, "GatedRepo")
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(hub_project, "hubbed", progress=Silent())
    reasons = _reasons(caught.value)
    assert "hub acme/tiny@0123456789ab: is gated, and this login has no access" in reasons
    assert f"accept its terms at {hub.endpoint}/acme/tiny" in reasons
    assert "HF_TOKEN" in reasons


def test_a_repository_that_does_not_exist_is_named(
    project: Project, hub: Any, write_base_card: Callable[..., Path]
) -> None:
    write_base_card("hubbed", {"kind": "hub", "repo": "acme/none", "revision": "main"})
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(project, "hubbed", progress=Silent())
    assert f"{hub.endpoint}/acme/none does not exist, or needs a login" in _reasons(caught.value)


def test_a_hub_that_fails_is_reported_with_its_status(hub_project: Project, hub: Any) -> None:
    hub.refusal = (418, "Teapot")
    with pytest.raises(BaseUnavailable, match="cannot be had") as caught:
        pull_base(hub_project, "hubbed", progress=Silent())
    assert "HTTP 418" in _reasons(caught.value)


def test_a_repository_without_a_tokenizer_is_no_base(hub_project: Project, hub: Any) -> None:
    del hub.files["tokenizer.json"]
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(hub_project, "hubbed", progress=Silent())
    assert "the repository has no tokenizer.json" in _reasons(caught.value)


@pytest.mark.parametrize("by", ["flag", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_asks_nobody_and_says_what_to_do(
    hub_project: Project, hub: Any, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by != "flag":
        monkeypatch.setenv(by, "1")
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(hub_project, "hubbed", progress=Silent(), offline=by == "flag")
    assert hub.asked == []
    assert "and this run is offline" in _reasons(caught.value)
    assert f"hf download acme/tiny --revision {COMMIT}" in _reasons(caught.value)
    assert "with a network, run `models base pull hubbed`" in (caught.value.hint or "")
    assert "kind: path" in (caught.value.hint or "")


def test_an_unreachable_hub_is_a_reason_and_the_next_source_is_tried(
    project: Project,
    tiny_base_folder: Path,
    write_base_card: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub_source = {"kind": "hub", "repo": "acme/tiny", "revision": "main"}
    write_base_card("hubbed", hub_source, {"kind": "path", "path": "missing"})
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(project, "hubbed", progress=Silent())
    reasons = _reasons(caught.value)
    assert "http://127.0.0.1:9 could not be reached" in reasons and "refused" in reasons
    assert f"path missing: there is no folder {project.root / 'missing'}" in reasons
    assert len(caught.value.problems) == 2

    write_base_card("hubbed", hub_source, {"kind": "path", "path": str(tiny_base_folder)})
    assert pull_base(project, "hubbed", progress=Silent()).path == tiny_base_folder
