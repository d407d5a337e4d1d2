"""A cross-encoder: a model that reads query and chunk together, and gives one number.

It is slower than comparing vectors, by a pass through the model for each chunk, and sees what
vectors cannot: which words of the chunk answer which words of the query. Its scores are those of
the model itself, without a scale of ours; more is better.

Source: Nogueira and Cho, Chunk Re-ranking with BERT, 2019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidInput
from modelyard.core.progress import Progress, Silent
from modelyard.encoders.bert_graph import build_scoring_graph
from modelyard.encoders.graphs import open_graph, require_graph
from modelyard.encoders.model_folder import ModelFolder, load_model_folder, read_json
from modelyard.encoders.pairs import PairCutter
from modelyard.encoders.tokens import batches_of_equal_length

if TYPE_CHECKING:
    from onnx import ModelProto

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_TOKENS_AT_ONCE = 2048
_USUAL_LABELS = 2
"""Labels of a config that does not say how many it has."""
_ENDING = "ForSequenceClassification"


class CrossEncoder(Protocol):
    """Says how well chunks answer a query."""

    def score(self, query: str, chunks: Sequence[str]) -> Scores:
        """A number for each chunk, in the order given: float32 [chunks], more is better."""
        ...


ScorePairs = Callable[[Ids, Ids], Scores]
"""Tokens and segments [pairs, length] to scores [pairs]."""


def open_cross_encoder(folder: Path, *, progress: Progress | None = None) -> CrossEncoder:
    """The cross-encoder of a folder; plain BERT without torch, others through torch.

    Raises InvalidInput when the folder holds none, or one that is damaged.
    """
    progress = progress or Silent()
    model = load_model_folder(folder, what="cross-encoder")
    _require_one_label(model)
    cutter = _open_cutter(model)
    if model.is_plain_bert:
        return LocalCrossEncoder(cutter, _open_graph(model, progress))
    from modelyard.encoders.torch_pair_scorer import open_pair_scorer

    progress.warn(
        f"the cross-encoder {folder.name} is no plain BERT ({model.family}): it runs through "
        "torch, and a search with it starts some seconds later"
    )
    return LocalCrossEncoder(cutter, open_pair_scorer(folder))


class LocalCrossEncoder:
    """A CrossEncoder from a model folder."""

    def __init__(self, cutter: PairCutter, score_pairs: ScorePairs) -> None:
        self._cutter, self._score_pairs = cutter, score_pairs

    def score(self, query: str, chunks: Sequence[str]) -> Scores:
        """A number for each chunk, in the order given."""
        if not chunks:
            return np.empty(0, np.float32)
        pairs = self._cutter.cut(query, chunks)
        found = np.empty(len(pairs), np.float32)
        ids = [pair.tokens for pair in pairs]
        for places, tokens in batches_of_equal_length(ids, tokens=_TOKENS_AT_ONCE):
            segments = np.asarray([pairs[place].segments for place in places], np.int64)
            found[places] = self._score_pairs(tokens, segments)
        return found


def _open_graph(model: ModelFolder, progress: Progress) -> ScorePairs:
    def build() -> ModelProto:
        from modelyard.encoders.bert import load_bert_scorer

        return build_scoring_graph(load_bert_scorer(model.folder))

    # The same folder gives another graph as a sentence encoder.
    digest = hashlib.sha256(f"cross-encoder {model.digest}".encode()).hexdigest()
    name = f"the cross-encoder {model.folder.name}"
    session: Any = open_graph(
        require_graph(digest, model.folder, build, name=name, progress=progress)
    )

    def score_pairs(tokens: Ids, segments: Ids) -> Scores:
        scores: Scores = session.run(None, {"tokens": tokens, "segments": segments})[0]
        return scores[:, 0]

    return score_pairs


def _require_one_label(model: ModelFolder) -> None:
    """Raise InvalidInput for a model that is something else, or that sorts into classes."""
    kinds = [str(kind) for kind in model.config.get("architectures") or ()]
    if kinds and not any(kind.endswith(_ENDING) for kind in kinds):
        raise InvalidInput(
            f"is no cross-encoder: it is a {' and '.join(kinds)}, without a classifier",
            where=str(model.folder),
            hint=f"take a model for pairs, such as ms-marco-MiniLM-L6-v2 (a Bert{_ENDING})",
        )
    labels = len(model.config.get("id2label") or ()) or model.config.get("num_labels")
    if labels != 1:
        raise InvalidInput(
            f"gives {labels or _USUAL_LABELS} numbers for a pair, so that there is no one score to "
            "order by",
            where=str(model.folder / "config.json"),
            hint="take a cross-encoder with one label, such as ms-marco-MiniLM-L6-v2",
        )


def _open_cutter(model: ModelFolder) -> PairCutter:
    settings = read_json(model.folder / "tokenizer_config.json")
    if not isinstance(settings, dict):
        settings = {}
    # What the tokenizer says, as far as the model has positions for it.
    longest = settings.get("model_max_length") or model.positions
    inputs = settings.get("model_input_names")
    return PairCutter(
        model.folder,
        max_tokens=min(int(longest), model.positions),
        tells_apart=inputs is None or "token_type_ids" in inputs,
    )
