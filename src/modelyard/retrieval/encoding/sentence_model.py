"""A sentence-transformers folder: what it says of itself, and what it is made of.

Read here, without sentence-transformers: the transformer's shape, how token vectors become one
(mean or first token), the longest text, and the texts put before queries and passages. A folder
with further layers (Dense, CLIP, routers) is refused: leaving them out would give wrong vectors.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import sha256_file, write_json
from modelyard.core.layout import cache_folder

Pooling = Literal["mean", "cls"]

_SETTLED_NS = 2_000_000_000
"""A file younger than this could change again without its time showing it."""
_LARGEST_GRAPH_BYTES = 1_900_000_000
"""An ONNX file is one protobuf message, which holds 2 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModel:
    """One model folder, understood."""

    folder: Path
    """Where it lies."""
    family: str
    """The transformer's model_type, such as `bert`."""
    dimensions: int
    """Numbers in a vector."""
    positions: int
    """Longest text that the transformer can see, in tokens, its marks included."""
    pooling: Pooling
    """How the tokens' vectors become one."""
    lower_case: bool
    """Whether texts are put in lower case before they are cut into tokens."""
    query_prompt: str
    """Text that the model wants before a query."""
    document_prompt: str
    """Text that the model wants before a passage."""
    is_plain_bert: bool
    """Whether bert.py describes it exactly, so that it runs without torch."""
    digest: str
    """SHA-256 over everything that decides its vectors."""


def load_sentence_model(folder: Path) -> SentenceModel:
    """Read and check a folder. Raises InvalidInput when it is no encoder that can be run here."""
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", hint="give the encoder's real folder")
    config = _read(folder / "config.json")
    if not isinstance(config, dict) or not (folder / "tokenizer.json").is_file():
        raise InvalidInput(
            "has no config.json with tokenizer.json beside it, so it is no encoder's folder",
            where=str(folder),
            hint="`AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes tokenizer.json",
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InvalidInput("has no *.safetensors", where=str(folder))
    sentence = _read(folder / "sentence_bert_config.json") or {}
    texts = _read(folder / "config_sentence_transformers.json") or {}
    prompts = texts.get("prompts") or {}
    usual = prompts.get(texts.get("default_prompt_name") or "", "")
    family = str(config.get("model_type", ""))
    return SentenceModel(
        folder=folder,
        family=family,
        dimensions=int(config.get("hidden_size") or config.get("dim") or 0),
        positions=_positions(config, family),
        pooling=_pooling(folder),
        lower_case=bool(sentence.get("do_lower_case")),
        query_prompt=prompts.get("query", usual),
        document_prompt=prompts.get("document", prompts.get("passage", usual)),
        is_plain_bert=_is_plain_bert(config, weights),
        digest=_digest(folder, weights),
    )


def _read(path: Path) -> Any:
    """The JSON of a file, or None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot be read as JSON: {error}", where=str(path)) from error


def _positions(config: dict[str, Any], family: str) -> int:
    positions = int(config.get("max_position_embeddings") or 512)
    # These count positions from the padding token's number on.
    offset = int(config.get("pad_token_id") or 0) + 1
    return positions - (offset if family in ("roberta", "xlm-roberta", "mpnet", "camembert") else 0)


def _pooling(folder: Path) -> Pooling:
    """What modules.json says; a bare transformer is pooled by the mean, as its users do."""
    pooling: Pooling = "mean"
    for module in _read(folder / "modules.json") or []:
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
    config = _read(path) or {}
    chosen = [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    ] or [str(config.get("pooling_mode", "mean"))]
    match chosen:
        case ["mean"]:
            return "mean"
        case ["cls"]:
            return "cls"
        case _:
            raise InvalidInput(
                f"pools by {' and '.join(chosen)}, and only mean and cls are run here",
                where=str(path),
            )


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
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(kept.read_text())
        if note["identity"] == identity:
            return str(note["sha256"])
    sha256 = sha256_file(path)
    if time.time_ns() - seen.st_mtime_ns > _SETTLED_NS:
        with suppress(OSError, ModelyardError):  # a cache that cannot be written only costs time
            write_json(kept, {"identity": identity, "sha256": sha256})
    return sha256
