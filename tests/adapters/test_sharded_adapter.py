"""An adapter whose weights lie in several files is imported as one file of the same tensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from modelyard.adapters.import_ import import_adapter, plan_import, require_importable
from modelyard.adapters.lora import AdapterMismatch, load_lora_config
from modelyard.adapters.shards import INDEX_NAME, with_whole_weights
from modelyard.adapters.verify import verify_version
from modelyard.core.layout import Project
from modelyard.weights.local import LocalBase

WHOLE = "adapter_model.safetensors"
SHARD = "adapter_model-0000{}-of-00002.safetensors"


@pytest.fixture
def sharded(own_adapter: Path) -> Path:
    tensors = load_file(own_adapter / WHOLE)
    names = sorted(tensors)
    shard_of = {name: SHARD.format(1 + place % 2) for place, name in enumerate(names)}
    for shard in set(shard_of.values()):
        inside = {name: tensors[name] for name in names if shard_of[name] == shard}
        save_file(inside, own_adapter / shard)
    (own_adapter / f"{WHOLE}.index.json").write_text(json.dumps({"weight_map": shard_of}))
    (own_adapter / WHOLE).unlink()
    return own_adapter


def test_shards_are_merged(
    project: Project, sharded: Path, saved_adapter: Path, tiny_base: LocalBase
) -> None:
    require_importable(sharded)
    with with_whole_weights(sharded) as folder:
        version = import_adapter(project, "demo", plan_import(folder, tiny_base))
        again = plan_import(folder, tiny_base).run_key
    assert not folder.exists() and again == version.manifest.run_key
    assert verify_version(project, version, tiny_base) == []
    merged, wanted = (load_file(place / WHOLE) for place in (version.path, saved_adapter))
    assert merged.keys() == wanted.keys()
    assert all(bool((merged[name] == wanted[name]).all()) for name in wanted)


def drop_shard(folder: Path) -> None:
    (folder / SHARD.format(2)).unlink()


def link_shard(folder: Path) -> None:
    shutil.move(folder / SHARD.format(2), folder / "elsewhere")
    (folder / SHARD.format(2)).symlink_to(folder / "elsewhere")


def point_outside(folder: Path) -> None:
    index = folder / f"{WHOLE}.index.json"
    index.write_text(index.read_text().replace(SHARD.format(2), "../" + SHARD.format(2)))


def name_another(folder: Path) -> None:
    index = folder / f"{WHOLE}.index.json"
    index.write_text(index.read_text().replace("lora_A", "lora_C", 1))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop_shard, "is missing, and the index names it"),
        (link_shard, "is a link"),
        (point_outside, "is missing, and the index names it"),
        (name_another, "which does not hold it"),
        (lambda folder: (folder / f"{WHOLE}.index.json").write_text("{}"), "has no weight_map"),
        (lambda folder: (folder / f"{WHOLE}.index.json").write_text("[]"), "no.* a JSON object"),
        (lambda folder: (folder / f"{WHOLE}.index.json").write_text("{"), "JSON"),
    ],
)
def test_shards_that_are_not_whole_are_named(
    sharded: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(sharded)
    with pytest.raises(AdapterMismatch, match=said), with_whole_weights(sharded):
        raise AssertionError


def test_errors_name_the_folder_that_was_given(sharded: Path, tiny_base: LocalBase) -> None:
    config = json.loads((sharded / "adapter_config.json").read_text())
    (sharded / "adapter_config.json").write_text(json.dumps({**config, "r": 5}))
    with pytest.raises(AdapterMismatch) as raised, with_whole_weights(sharded) as folder:
        plan_import(folder, tiny_base)
    assert raised.value.where == str(sharded)


def test_what_an_import_lacks_is_said_with_its_place(sharded: Path) -> None:
    (sharded / INDEX_NAME).unlink()
    with pytest.raises(AdapterMismatch, match=r"2 shards, .* and no adapter_model.*index\.json"):
        require_importable(sharded)
    (sharded / "adapter_config.json").write_text('{\n "r": 8,,\n}')
    with pytest.raises(AdapterMismatch, match="in line 2, column"):
        load_lora_config(sharded / "adapter_config.json")


def test_what_is_more_than_lora_is_refused_with_a_way_out(
    own_adapter: Path, tiny_base: LocalBase
) -> None:
    config = json.loads((own_adapter / "adapter_config.json").read_text())
    text = json.dumps({**config, "trainable_token_indices": [1]})
    (own_adapter / "adapter_config.json").write_text(text)
    with pytest.raises(AdapterMismatch, match="uses trainable_token_indices") as raised:
        plan_import(own_adapter, tiny_base)
    assert "merge_and_unload" in str(raised.value.hint)
