"""A sentence-transformers folder: what it says of itself, and what it is made of.

Read here, without sentence-transformers: the transformer's shape, how token vectors become one
(mean or first token), the longest text, and the texts put before queries and chunks. A folder
with further layers (Dense, CLIP, routers) is refused: leaving them out would give wrong vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.core.errors import InvalidInput
from modelyard.encoders.model_folder import load_model_folder, read_json

Pooling = Literal["mean", "cls"]


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
    """Text that the model wants before a chunk."""
    is_plain_bert: bool
    """Whether bert.py describes it exactly, so that it runs without torch."""
    digest: str
    """SHA-256 over everything that decides its vectors."""


def load_sentence_model(folder: Path) -> SentenceModel:
    """Read and check a folder. Raises InvalidInput when it is no encoder that can be run here."""
    shared = load_model_folder(folder, what="encoder")
    config = shared.config
    sentence = read_json(folder / "sentence_bert_config.json") or {}
    texts = read_json(folder / "config_sentence_transformers.json") or {}
    prompts = texts.get("prompts") or {}
    usual = prompts.get(texts.get("default_prompt_name") or "", "")
    return SentenceModel(
        folder=folder,
        family=shared.family,
        dimensions=int(config.get("hidden_size") or config.get("dim") or 0),
        positions=shared.positions,
        pooling=_pooling(folder),
        lower_case=bool(sentence.get("do_lower_case")),
        query_prompt=prompts.get("query", usual),
        document_prompt=prompts.get("document", prompts.get("passage", usual)),
        is_plain_bert=shared.is_plain_bert,
        digest=shared.digest,
    )


def _pooling(folder: Path) -> Pooling:
    """What modules.json says; a bare transformer is pooled by the mean, as its users do."""
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
