from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelyard.weights.files import (
    UnreadableWeights,
    fingerprint_weights,
    read_tensor_entries,
    weight_files,
)

A = np.arange(12, dtype=np.float32).reshape(3, 4)
B = np.ones(5, dtype=np.float16)


def _folder(path: Path, **files: dict[str, np.ndarray]) -> Path:
    path.mkdir()
    for name, tensors in files.items():
        save_file(tensors, path / f"{name}.safetensors")
    return path


def test_the_fingerprint_does_not_depend_on_how_tensors_are_spread(tmp_path: Path) -> None:
    one = _folder(tmp_path / "one", model={"a": A, "b": B})
    two = _folder(tmp_path / "two", first={"b": B}, second={"a": A})
    assert fingerprint_weights(one) == fingerprint_weights(two)
    assert fingerprint_weights(one).startswith("sha256:")


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": A, "c": B},
        {"a": A, "b": B.astype(np.float32)},
        {"a": A.reshape(4, 3), "b": B},
        {"a": A + 1, "b": B},
        {"a": A},
    ],
    ids=["name", "type", "shape", "bytes", "missing"],
)
def test_any_change_of_the_weights_changes_the_fingerprint(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    before = fingerprint_weights(_folder(tmp_path / "before", model={"a": A, "b": B}))
    assert fingerprint_weights(_folder(tmp_path / "after", model=tensors)) != before


def test_a_tensor_in_two_files_is_an_error(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "twice", first={"a": A}, second={"a": A})
    with pytest.raises(UnreadableWeights, match="another file holds too"):
        fingerprint_weights(folder)


def test_the_index_names_the_files_and_shards_without_it_are_incomplete(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path / "shards",
        **{"model-00001-of-00002": {"a": A}, "model-00002-of-00002": {"b": B}, "other": {"c": B}},
    )
    index = folder / "model.safetensors.index.json"
    assert weight_files(folder) == [index]
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))
    assert [file.name for file in weight_files(folder)] == sorted(names.values())
    index.write_text("[]")
    with pytest.raises(UnreadableWeights, match="not an index"):
        weight_files(folder)


@pytest.mark.parametrize("keep_bytes", [0, 7, 20, -1])
def test_a_cut_off_file_is_found_by_its_header(tmp_path: Path, keep_bytes: int) -> None:
    path = _folder(tmp_path / "cut", model={"a": A}) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(UnreadableWeights) as caught:
        read_tensor_entries(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("header", [b"not json", b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32"}}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UnreadableWeights):
        read_tensor_entries(path)
