"""Every test runs in a home of its own, without a network, on small real things."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard.inference  # noqa: F401 (before torch: it bounds the kernels that are kept)
from modelyard.cli import render
from modelyard.cli.app import main
from modelyard.core.layout import Project
from modelyard.weights.files import fingerprint_weights
from modelyard.weights.local import LocalBase
from printed_results import check_printed, printing_command

# Before torch is imported, and for the processes that tests start: threads that spin while they
# wait make several test processes on the same cores ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["missing_libraries"]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog. What is the colour of the sky? It is blue.",
    "Question and answer: who leads the team? The team is led by a person with a name.",
    "0123456789 one two three four five six seven eight nine ten yes no true false",
]


# A shell's background job ignores ^C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Home, caches and the current folder all lie in the test's own folder."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("HF_", "MODELS_", "XDG_", "TRANSFORMERS_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist's workers have 80
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MODELS_CACHE", str(home / "models-cache"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.chdir(tmp_path)
    yield home


@pytest.fixture(autouse=True, scope="session")
def rules_compiled_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiling the rules for secrets takes seconds: not once for each home."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("secret-rules")
    folder.chmod(0o700)  # in any other the rules are not kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KF_RULE_CACHE_DIR", str(folder))
        yield


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the loopback address can be reached from inside a test process."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def printed_json(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `--json` prints in this process is what the command's result classes say.

    Gives the functions of the commands that printed.
    """
    printed: list[str] = []
    to_json = render.to_json

    def checked(result: Any) -> Any:
        document = to_json(result)
        if function := printing_command():
            check_printed(function, json.loads(json.dumps(document)))
            printed.append(function)
        return document

    monkeypatch.setattr(render, "to_json", checked)
    return printed


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with random weights and a real byte-level BPE tokenizer, in bf16."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-base")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tiny_base_folder: Path) -> LocalBase:
    return LocalBase(
        name="tiny",
        path=tiny_base_folder,
        fingerprint=fingerprint_weights(tiny_base_folder),
        size_bytes=0,
        source="a test",
    )


@pytest.fixture(scope="session")
def save_adapter(
    tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Save an adapter on the tiny base with plain PEFT, its B filled with random numbers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def save(**options: Any) -> Path:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=torch.bfloat16)
        settings = {"r": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
        with warnings.catch_warnings():
            # PEFT 0.21 uses a name that transformers 5.23 has deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            model = get_peft_model(base, LoraConfig(**settings))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        folder = tmp_path_factory.mktemp("adapter")
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_base_folder).save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def project(tmp_path: Path, tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose only base is `tiny`, found through its path; the current folder is in it."""
    root = tmp_path / "project"
    card = root / "models" / "base" / "tiny" / "MODEL_INFO.md"
    card.parent.mkdir(parents=True)
    (root / "configs").mkdir()
    card.write_text(
        "---\n"
        "name: tiny\n"
        "summary: Two random layers, for tests.\n"
        "parameters: 99000\n"
        "licence: Apache-2.0\n"
        "context_length: 512\n"
        "sources:\n"
        f"  - kind: path\n    path: {tiny_base_folder}\n"
        "---\n\n# tiny\n"
    )
    monkeypatch.chdir(root)
    return Project(root)


@pytest.fixture
def models_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `models` with these words, in this process and its folder; returns the exit code."""

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["models", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return code if isinstance(code, int) else int(code is not None)

    return run


@pytest.fixture
def write_jsonl() -> Callable[[Path, list[Any]], Path]:
    """Write rows (or raw lines, when a row is a string) as a jsonl file."""

    def write(path: Path, rows: list[Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(line + "\n" for line in lines))
        return path

    return write
