"""An adapter whose weights lie in several safetensors files, as one: some tools save it so.

    adapter_model.safetensors.index.json            which file holds each tensor
    adapter_model-00001-of-00002.safetensors ...    the files

The tensors' bytes are copied as they are, in the order of their names. Needs no torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from modelyard.adapters.lora import CONFIG_NAME, WEIGHTS_NAME, AdapterMismatch
from modelyard.adapters.tokenizer import TOKENIZER_FILES
from modelyard.core.errors import ModelyardError
from modelyard.core.json_reading import InvalidJson, read_json_object
from modelyard.weights.files import TensorEntry, read_tensor_entries

INDEX_NAME = f"{WEIGHTS_NAME}.index.json"


@contextmanager
def with_whole_weights(source: Path) -> Iterator[Path]:
    """The folder itself, or, where its weights are in shards, a copy of it with one file of them.

    The copy lasts as long as the block; errors in it name the folder. Raises AdapterMismatch when a
    shard is missing, is a link, or does not hold what the index says.
    """
    if (source / WEIGHTS_NAME).exists() or not (source / INDEX_NAME).is_file():
        yield source
        return
    with TemporaryDirectory() as place:
        whole = Path(place, source.name or "adapter")
        whole.mkdir()
        for name in (CONFIG_NAME, *TOKENIZER_FILES):
            if (source / name).exists():
                shutil.copyfile(source / name, whole / name, follow_symlinks=False)
        _merge(source, whole / WEIGHTS_NAME)
        try:
            yield whole
        except ModelyardError as error:
            error.where = error.where and error.where.replace(str(whole), str(source))
            raise


def list_shards(source: Path) -> list[Path]:
    """The shards in a folder, as they are named, whether an index is beside them or not."""
    stem = WEIGHTS_NAME.removesuffix(".safetensors")
    return sorted(source.glob(f"{stem}-*-of-*.safetensors"))


def is_sharded(source: Path) -> bool:
    """Whether the weights of an adapter are in shards."""
    return not (source / WEIGHTS_NAME).exists() and (source / INDEX_NAME).is_file()


def _merge(source: Path, target: Path) -> None:
    """Write one safetensors file of all shards."""
    shard_of = _weight_map(source / INDEX_NAME)
    entries: dict[str, tuple[Path, TensorEntry]] = {}
    for shard in sorted(set(shard_of.values())):
        path = source / shard
        if Path(shard).name != shard or path.is_symlink() or not path.is_file():
            raise AdapterMismatch(
                "is a link" if path.is_symlink() else "is missing, and the index names it",
                where=str(path),
            )
        entries |= {
            entry.name: (path, entry)
            for entry in read_tensor_entries(path)
            if shard_of.get(entry.name) == shard
        }
    if lacking := sorted(shard_of.keys() - entries.keys()):
        raise AdapterMismatch(
            f"names {lacking[0]} in {shard_of[lacking[0]]}, which does not hold it",
            where=str(source / INDEX_NAME),
        )
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in sorted(entries):
        entry = entries[name][1]
        size = entry.end - entry.start
        header[name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    with target.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(entries):
            path, entry = entries[name]
            with path.open("rb") as shard_stream:
                shard_stream.seek(entry.start)
                stream.write(shard_stream.read(entry.end - entry.start))


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        found = read_json_object(index).get("weight_map")
    except InvalidJson as error:
        raise AdapterMismatch(error.message, where=str(index)) from error
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(shard, str) for shard in found.values())
    ):
        raise AdapterMismatch("has no weight_map", where=str(index))
    return found
