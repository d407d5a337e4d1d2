"""A model's folder: its config, its shape, and what identifies it.

Read here without transformers and sentence-transformers. Cross-encoders use the transformer's
part; a sentence encoder also says how token vectors become one (mean or first token) and which
texts go before queries and chunks. A folder with further layers (Dense, CLIP, routers) is refused:
without them the vectors would be wrong.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from modelyard.core import json_reading
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import sha256_file, write_json
from modelyard.core.json_reading import InvalidJson
from modelyard.core.layout import cache_folder

Pooling = Literal["mean", "cls"]

_SETTLED_NS = 2_000_000_000
"""A file younger than this could change again without a new modification time."""
_LARGEST_GRAPH_BYTES = 1_900_000_000
"""An ONNX file is one protobuf message, which holds 2 GB."""
_OFFSET_FAMILIES = ("roberta", "xlm-roberta", "mpnet", "camembert")
"""These count positions from the padding token's number on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """The folder of a transformer of any kind."""

    folder: Path
    """Where it is."""
    config: dict[str, Any]
    """Its config.json."""
    family: str
    """The transformer's model_type, such as `bert`."""
    positions: int
    """The longest text that it takes, in tokens, special tokens included."""
    is_plain_bert: bool
    """Whether encoders/bert.py describes it exactly, so that it runs without torch."""
    digest: str
    """SHA-256 over everything that decides what it computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModel(ModelFolder):
    """The folder of a sentence encoder."""

    dimensions: int
    """Numbers in a vector."""
    pooling: Pooling
    """How the tokens' vectors become one."""
    lower_case: bool
    """Whether texts are lowercased before they are tokenized."""
    query_prompt: str
    """Text that the model expects before a query."""
    document_prompt: str
    """Text that the model expects before a chunk."""


def load_model_folder(folder: Path, *, what: str) -> ModelFolder:
    """Read and check a folder. Raises InvalidInput when it does not hold a model.

    what: the kind of model that it should hold, for messages.
    No weights are loaded; they are hashed the first time that they are seen.
    """
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", hint=f"give the {what}'s real folder")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not (folder / "tokenizer.json").is_file():
        raise InvalidInput(
            f"has no config.json with tokenizer.json beside it, so it is no {what}'s folder",
            where=str(folder),
            hint="`AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes tokenizer.json",
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InvalidInput("has no *.safetensors", where=str(folder))
    family = str(config.get("model_type", ""))
    offset = int(config.get("pad_token_id") or 0) + 1 if family in _OFFSET_FAMILIES else 0
    return ModelFolder(
        folder=folder,
        config=config,
        family=family,
        positions=int(config.get("max_position_embeddings") or 512) - offset,
        is_plain_bert=_is_plain_bert(config, weights),
        digest=_digest(folder, weights),
    )


def load_sentence_model(folder: Path) -> SentenceModel:
    """Read and check a folder. Raises InvalidInput when it is no encoder that can be run here."""
    model = load_model_folder(folder, what="encoder")
    sentence = read_json(folder / "sentence_bert_config.json") or {}
    texts = read_json(folder / "config_sentence_transformers.json") or {}
    prompts = texts.get("prompts") or {}
    default = prompts.get(texts.get("default_prompt_name") or "", "")
    return SentenceModel(
        **{part.name: getattr(model, part.name) for part in fields(model)},
        dimensions=int(model.config.get("hidden_size") or model.config.get("dim") or 0),
        pooling=_pooling(folder),
        lower_case=bool(sentence.get("do_lower_case")),
        query_prompt=prompts.get("query", default),
        document_prompt=prompts.get("document", prompts.get("passage", default)),
    )


def read_json(path: Path) -> Any:
    """The JSON of a file, or None when there is no such file."""
    return json_reading.read_json(path) if path.exists() else None


def _pooling(folder: Path) -> Pooling:
    """What modules.json says; a bare transformer is pooled by the mean."""
    pooling: Pooling = "mean"
    for module in read_json(folder / "modules.json") or []:
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind == "Pooling":
            pooling = _pooling_mode(folder / str(module.get("path", "")) / "config.json")
        elif kind not in ("Transformer", "Normalize"):
            raise InvalidInput(
                f"has a {kind} module, which is not run here",
                where=str(folder / "modules.json"),
                hint="take an encoder of a transformer, mean or cls pooling, and Normalize; or "
                "serve this one and use `source: endpoint`",
            )
    return pooling


def _pooling_mode(path: Path) -> Pooling:
    config = read_json(path) or {}
    chosen = [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    ] or [str(config.get("pooling_mode", "mean"))]
    if chosen not in (["mean"], ["cls"]):
        raise InvalidInput(
            f"pools by {' and '.join(chosen)}, and only mean and cls are run here", where=str(path)
        )
    return "cls" if chosen == ["cls"] else "mean"


def _is_plain_bert(config: dict[str, Any], weights: list[Path]) -> bool:
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and [path.name for path in weights] == ["model.safetensors"]
        and weights[0].stat().st_size < _LARGEST_GRAPH_BYTES
    )


def _digest(folder: Path, weights: list[Path]) -> str:
    names = ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json")
    more = [folder / "config_sentence_transformers.json", *sorted(folder.glob("*/config.json"))]
    digest = hashlib.sha256()
    for path in (*(folder / name for name in names), *more):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{sha256_file(path)}\n".encode())
    for path in weights:
        digest.update(f"{path.name}\0{remembered_sha256(path)}\n".encode())
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """The SHA-256 of a large file, kept in the cache for as long as its size and time stay."""
    seen = path.stat()
    identity = [seen.st_size, seen.st_mtime_ns, seen.st_ino]
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    kept = cache_folder() / "encoders" / "hashes" / f"{key}.json"
    with suppress(InvalidJson, KeyError, TypeError):
        note = json_reading.read_json(kept)
        if note["identity"] == identity:
            return str(note["sha256"])
    sha256 = sha256_file(path)
    if time.time_ns() - seen.st_mtime_ns > _SETTLED_NS:
        with suppress(OSError, ModelyardError):  # a cache that cannot be written only costs time
            write_json(kept, {"identity": identity, "sha256": sha256})
    return sha256
