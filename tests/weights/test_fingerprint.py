from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
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


def _with_header(path: Path, change: Callable[[dict[str, Any]], None], data: bytes = b"") -> Path:
    """The file of `a` and `b` with a changed header; `data` is put before its tensors."""
    whole = (_folder(path / "made", model={"a": A, "b": B}) / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    change(header)
    text = json.dumps(header).encode()
    changed = path / "model.safetensors"
    changed.write_bytes(len(text).to_bytes(8, "little") + text + data + whole[end:])
    return changed


def _put(name: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].__setitem__(key, value)


def _move_all(header: dict[str, Any]) -> None:
    for facts in header.values():
        facts["data_offsets"] = [offset + 4 for offset in facts["data_offsets"]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_put("a", "shape", [3.0, 4.0]), "no dtype and shape"),
        (_put("a", "shape", [-3, -4]), "no dtype and shape"),
        (_put("a", "shape", "ab"), "no dtype and shape"),
        (_put("a", "shape", [True, 12]), "no dtype and shape"),
        (_put("a", "shape", [3, 5]), "not as long as its shape"),
        (_put("a", "dtype", [1]), "no dtype and shape"),
        (_put("a", "data_offsets", [-48, 0]), "no data_offsets"),
        (_put("a", "data_offsets", [0.0, 48.0]), "no data_offsets"),
        (_put("a", "data_offsets", [48, 0]), "no data_offsets"),
        (_put("a", "data_offsets", [0, 48, 58]), "no data_offsets"),
        (_put("a", "data_offsets", [10, 58]), "does not begin where"),
        (lambda header: header.pop("a"), "does not begin where"),
        (lambda header: header.pop("b"), "not as long as its header"),
        (lambda header: header.update(a=5), "lacks"),
        (lambda header: header.update(__metadata__=5), "__metadata__"),
        (lambda header: header.update(__metadata__={"format": 1}), "__metadata__"),
    ],
)
def test_a_header_that_safetensors_refuses_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    path = _with_header(tmp_path, change)
    with pytest.raises(UnreadableWeights, match=reason):
        read_tensor_entries(path)
    with pytest.raises((SafetensorError, OverflowError)), safe_open(path, "numpy"):
        pass


def test_a_gap_before_the_tensors_is_refused(tmp_path: Path) -> None:
    path = _with_header(tmp_path, _move_all, data=bytes(4))
    with pytest.raises(UnreadableWeights, match="does not begin where"):
        read_tensor_entries(path)


def test_tensors_without_bytes_and_metadata_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"a": A, "empty": np.zeros((0, 4), np.float32), "one": A[:1, 0]}
    save_file(tensors, path, {"format": "pt"})
    assert {entry.name: entry.shape for entry in read_tensor_entries(path)} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
