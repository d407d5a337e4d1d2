"""The merged export: a model that stands alone and answers as base and adapter do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelyard.adapters.export import Exported
from modelyard.adapters.versions import AdapterVersion
from modelyard.chatdata.tokenizing import TokenRow
from modelyard.core.errors import GateBreached, InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.inference import merge
from modelyard.inference.built_in import BUILT_IN
from modelyard.inference.engine import Engine, LoadedModel
from modelyard.inference.machine import probe_machine
from modelyard.inference.merge import agreement, measure_logit_change
from modelyard.weights.local import LocalBase

Merge = Callable[..., Exported]


@pytest.fixture
def version(adopt: Callable[..., AdapterVersion], saved_adapter: Path) -> AdapterVersion:
    return adopt(saved_adapter)


@pytest.fixture
def merged(
    project: Project, version: AdapterVersion, tiny_base: LocalBase, tmp_path: Path
) -> Merge:
    def run(stored_as: Any = "fp32", conversations: Any = BUILT_IN) -> Exported:
        return merge.export_merged(
            project,
            version,
            tiny_base,
            tmp_path / "out",
            conversations,
            stored_as=stored_as,
            progress=Silent(),
        )

    return run


def logits_of(folder: Path, adapter: Path | None, base: LocalBase) -> torch.Tensor:
    import dataclasses

    where = dataclasses.replace(base, path=folder)
    row = TokenRow(np.arange(3, 40, dtype=np.int32), np.ones(37, dtype=np.bool_), "row")
    model = load(where, adapter, precision="fp32")
    (piece,) = model.engine.label_logits([(model, row)])
    return piece.logits


def load(base: LocalBase, adapter: Path | None, **settings: Any) -> LoadedModel:
    engine = Engine.load(
        base,
        machine=probe_machine(),
        adapters=[adapter] if adapter else [],
        note=pytest.fail,
        **settings,
    )
    return engine.load_adapter(adapter) if adapter else engine.base


def test_a_merged_model_stands_alone_and_answers_like_the_adapter(
    merged: Merge, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = merged()
    print(f"{done.record['parity']:.2%} of {done.record['tokens']} likeliest tokens are equal")
    assert done.record["parity"] >= merge.LEAST_PARITY
    assert done.record["tokens"] > 50
    alone = logits_of(done.folder, None, tiny_base)
    wanted = logits_of(tiny_base.path, version.path, tiny_base)
    assert torch.allclose(alone, wanted, atol=1e-3)
    assert not torch.allclose(alone, logits_of(tiny_base.path, None, tiny_base), atol=1e-1)
    assert not list(done.folder.glob("adapter*"))
    model = AutoModelForCausalLM.from_pretrained(done.folder)
    assert model.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(done.folder).chat_template
    assert not merged().made


def test_the_weights_are_stored_in_the_type_of_the_base_unless_asked_otherwise(
    merged: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    # Two random layers under a large adapter are no model whose answers survive rounding.
    monkeypatch.setattr(merge, "LEAST_PARITY", 0.5)
    done = merged("base")
    assert AutoModelForCausalLM.from_pretrained(done.folder).dtype == torch.bfloat16
    assert done.record["stored_as"] == "bfloat16"
    with pytest.raises(InvalidInput, match="holds an export of demo@1 already"):
        merged("fp32")


def test_a_merged_model_that_answers_otherwise_is_refused_and_leaves_nothing(
    merged: Merge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = merge._write_model

    def spoil(model: Any, dtype: torch.dtype, folder: Path) -> None:
        torch.nn.init.normal_(model.get_input_embeddings().weight)
        write(model, dtype, folder)

    monkeypatch.setattr(merge, "_write_model", spoil)
    with pytest.raises(GateBreached, match=r"agrees with demo@1 on \d+\.\d+% of \d+ tok") as caught:
        merged()
    assert caught.value.exit_code == 4
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".staging-*"))


def test_without_a_conversation_there_is_nothing_to_judge(merged: Merge, tmp_path: Path) -> None:
    with pytest.raises(NoData):
        merged(conversations=())
    assert not (tmp_path / "out").exists()


def test_an_adapter_moves_the_logits_of_its_base_and_an_empty_one_does_not(
    version: AdapterVersion, tiny_base: LocalBase, own_adapter: Path
) -> None:
    from safetensors.torch import load_file, save_file

    assert measure_logit_change(load(tiny_base, version.path)) > 0.1
    path = own_adapter / "adapter_model.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(path).items()}, path)
    assert measure_logit_change(load(tiny_base, own_adapter)) == 0.0


def test_agreement_is_the_share_of_equal_tokens() -> None:
    assert agreement([1, 2, 3, 4], [1, 2, 3, 5]) == 0.75
