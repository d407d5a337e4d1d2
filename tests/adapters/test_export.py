from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killed import interruptions
from modelyard.adapters.export import Exported, ExportFormat, export_version, find_export
from modelyard.adapters.llama_cpp import write_gguf_lora
from modelyard.adapters.lora import AdapterMismatch, open_lora
from modelyard.adapters.manifest import list_files
from modelyard.adapters.promote import promote_version
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.installing import install_command
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

Adopt = Callable[..., AdapterVersion]
Export = Callable[..., Exported]
# PEFT 0.21 uses a name that transformers 5.23 has deprecated.
peft_warns = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture
def version(adopt: Adopt, saved_adapter: Path) -> AdapterVersion:
    return adopt(saved_adapter)


@pytest.fixture
def export(
    project: Project, version: AdapterVersion, tiny_base: LocalBase, tmp_path: Path
) -> Export:
    """Export `demo@1` (or another version) into the folder `out`."""

    def run(
        form: ExportFormat, *, of: AdapterVersion = version, to: Path = tmp_path / "out"
    ) -> Exported:
        return export_version(
            project,
            of,
            tiny_base,
            to,
            form,
            render=lambda turns: "".join(f"<{role}>{text}</>" for role, text in turns) + "<answer>",
            stops=["<|im_end|>"],
        )

    return run


def load_with_peft(folder: Path, base: LocalBase) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    return PeftModel.from_pretrained(model, folder)


def same_adapter(one: Any, other: Any) -> bool:
    import torch
    from peft import get_peft_model_state_dict

    # Otherwise PEFT asks the hub what the base's embeddings are.
    mine, theirs = (
        get_peft_model_state_dict(model, save_embedding_layers=False) for model in (one, other)
    )
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@peft_warns
def test_plain_peft_and_transformers_load_the_active_link_as_it_stands(
    project: Project, version: AdapterVersion, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    from transformers import AutoTokenizer

    promote_version(project, version)
    link = "models/trained/demo"
    assert same_adapter(
        load_with_peft(Path(link), tiny_base), load_with_peft(saved_adapter, tiny_base)
    )
    tokenizer = AutoTokenizer.from_pretrained(link)
    wanted = AutoTokenizer.from_pretrained(tiny_base.path)
    talk = [{"role": "user", "content": "What is the colour of the sky?"}]
    assert tokenizer.apply_chat_template(talk) == wanted.apply_chat_template(talk)


@peft_warns
def test_a_peft_export_is_the_versions_files_and_loads(
    export: Export, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    done = export("peft")
    assert done.made
    exported = list_files(done.folder)
    del exported["EXPORT.json"]
    config = "adapter_config.json"
    assert exported.keys() == version.manifest.files.keys()
    assert {name for name in exported if exported[name] != version.manifest.files[name]} == {config}
    read = [json.loads((folder / config).read_text()) for folder in (done.folder, version.path)]
    assert read[0] == {**read[1], "base_model_name_or_path": str(tiny_base.path)}
    assert same_adapter(
        load_with_peft(done.folder, tiny_base), load_with_peft(version.path, tiny_base)
    )


@pytest.mark.parametrize("form", ["peft", "vllm", "ollama", "gguf-lora"])
def test_the_same_export_again_is_a_no_op(export: Export, form: ExportFormat) -> None:
    first = export(form)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = export(form)
    assert (first.made, again.made) == (True, False)
    assert again.record == first.record
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parity", "x"),
        ("parity", float("nan")),
        ("parity", 2),
        ("tokens", [1]),
        ("tokens", 0),
        ("command", {"a": 1}),
    ],
)
def test_a_record_that_somebody_edited_is_refused_by_its_key(
    export: Export, key: str, value: Any
) -> None:
    record = export("vllm").folder / "EXPORT.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {key: value}))
    with pytest.raises(InvalidInput, match="what it says of the export cannot be read") as refused:
        export("vllm")
    [problem] = refused.value.problems
    assert (problem.where, refused.value.where) == (str(record), str(record))
    assert f"'{key}' must be" in problem.message
    assert refused.value.hint == "name another folder, or remove that one"


def test_nothing_else_is_ever_overwritten(
    export: Export, adopt: Adopt, save_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export("peft")
    with pytest.raises(InvalidInput, match="holds an export of demo@1 already"):
        export("vllm")
    with pytest.raises(InvalidInput, match="holds an export of demo@1 already"):
        export("peft", of=adopt(save_adapter(r=4)))
    (out / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidInput, match="files of it were changed since"):
        export("peft")
    shutil.rmtree(out)
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(InvalidInput, match="exists already"):
        export("peft")
    shutil.rmtree(out)
    out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="exists already"):
        export("peft")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", ["versions/demo/7", "trained/x", "new"])
def test_an_export_into_the_projects_own_models_is_refused(
    export: Export, project: Project, place: str
) -> None:
    with pytest.raises(InvalidInput, match="is inside the project's models/"):
        export("peft", to=project.models / place)


def test_vllm_gets_the_line_that_serves_base_and_adapter(
    export: Export, tiny_base: LocalBase
) -> None:
    done = export("vllm")
    assert shlex.split(done.record["command"]) == [
        "vllm",
        "serve",
        str(tiny_base.path),
        "--served-model-name",
        "tiny",
        "--enable-lora",
        "--max-lora-rank",
        "8",
        "--lora-modules",
        f"demo={done.folder}",
        "--chat-template",
        f"{done.folder}/chat_template.jinja",
    ]
    script = (done.folder / "serve.sh").read_text()
    assert script == f"#!/bin/sh\nexec {done.record['command']}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "is a DoRA, which vLLM does not load"),
        ({"rank_pattern": {"q_proj": 2}}, "is of several ranks or alphas"),
    ],
)
def test_vllm_is_refused_what_it_would_load_wrongly(
    export: Export, adopt: Adopt, save_adapter: Callable[..., Path], options: Any, message: str
) -> None:
    with pytest.raises(AdapterMismatch, match=message) as caught:
        export("vllm", of=adopt(save_adapter(**options)))
    assert "--format merged" in str(caught.value.hint)


def test_ollama_gets_a_modelfile_beside_the_adapter(export: Export, tiny_base: LocalBase) -> None:
    done = export("ollama")
    text = (done.folder / "Modelfile").read_text()
    assert f"\nFROM {tiny_base.path}\nADAPTER ./adapter.gguf\n" in text
    assert '{{ if eq .Role "user" }}<user>{{ .Content }}</>{{ end }}' in text
    assert (done.folder / "adapter.gguf").read_bytes()[:4] == b"GGUF"
    assert done.record["command"] == "ollama create demo -f Modelfile"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True, "lora_alpha": 4},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 3}},
        {"target_modules": ["q_proj", "k_proj"]},
    ],
)
def test_gguf_holds_the_same_change_in_the_order_of_llama_cpp(
    adopt: Adopt,
    save_adapter: Callable[..., Path],
    tiny_base: LocalBase,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    """What its loader adds, alpha/r·B·A, is our change, after the way back from GGUF's order."""
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    version = adopt(save_adapter(**options))
    path = tmp_path / "adapter.gguf"
    write_gguf_lora(version.path, tiny_base.path, path, name=version.name)
    reader = GGUFReader(path)
    written = {name: reader.get_field(name).contents() for name in reader.fields if "." in name}
    assert (written["general.type"], written["adapter.type"]) == ("adapter", "lora")
    assert written["general.architecture"] == "llama"
    alpha = written["adapter.lora.alpha"]
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    processor = LlamaTensorProcessor({"num_attention_heads": 4, "num_key_value_heads": 2})
    modules = open_lora(version.path)
    assert len(tensors) == 2 * len(modules)
    for path, module in modules.items():
        _, _, layer, part = path.split(".", 3)
        name = f"blk.{layer}.{parts[part]}.weight"
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        added = alpha / b.shape[1] * (b @ a)
        back = processor.process(added, name).weights
        wanted = module.scale * (module.b @ module.a)
        np.testing.assert_allclose(back, wanted, rtol=1e-4, atol=1e-5)


def test_gguf_is_refused_for_models_whose_tensors_it_names_otherwise(
    version: AdapterVersion, tiny_base: LocalBase, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base.path, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "model_type": "phi9"}))
    with pytest.raises(ModelyardError, match="an adapter of a phi9 model") as caught:
        write_gguf_lora(version.path, base, tmp_path / "x.gguf", name="x")
    assert "--format merged" in str(caught.value.hint)


def test_a_missing_tool_says_what_to_install(
    export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelyardError, match="needs the package gguf") as caught:
        export("gguf-lora")
    assert caught.value.exit_code == 1
    assert caught.value.hint == f"install it with `{install_command('gguf')}`"
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".staging-*"))


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_an_export_cut_off_at_any_call_is_there_whole_or_not_at_all(
    export: Export, tmp_path: Path, how: Any
) -> None:
    number = 0
    for number in interruptions(lambda: export("peft"), how):
        out = tmp_path / "out"
        if out.exists():
            assert not export("peft").made, number
        else:
            assert export("peft").made, number
        assert not list(tmp_path.glob(".staging-*")), number
        shutil.rmtree(out)
    assert number > 30


def test_a_dry_look_finds_nothing_where_nothing_is(tmp_path: Path) -> None:
    assert find_export(tmp_path / "out", {}) is None


def test_a_place_where_no_folder_can_be_is_an_error_that_names_it(
    export: Export, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file" / "out", tmp_path / ("a" * 300)):
        with pytest.raises(InvalidInput, match=r"not a folder|too long") as caught:
            export("peft", to=target)
        assert caught.value.where == str(target)
