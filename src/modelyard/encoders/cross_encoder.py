"""A cross-encoder: a model that reads query and chunk together, and gives one score.

It is slower than comparing vectors, by a pass through the model for each chunk, and it takes into
account which words of the chunk answer which words of the query. Its scores are those of the model
itself, on the model's own scale; higher is better.

Source: Nogueira and Cho, Passage Re-ranking with BERT, 2019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import InvalidInput
from modelyard.core.progress import Progress, Silent
from modelyard.encoders.bert_graph import build_scoring_graph
from modelyard.encoders.model_folder import ModelFolder, load_model_folder
from modelyard.encoders.onnx_graphs import open_graph, require_graph
from modelyard.encoders.tokens import Ids, PairTokenizer, batches_of_equal_length

if TYPE_CHECKING:
    from onnx import ModelProto

Scores = npt.NDArray[np.float32]

_TOKENS_AT_ONCE = 2048
_USUAL_LABELS = 2
"""Labels of a config that does not say how many it has."""
_ENDING = "ForSequenceClassification"


ScorePairs = Callable[[Ids, Ids], Scores]
"""Tokens and segments [pairs, length] to scores [pairs]."""


def open_cross_encoder(folder: Path, *, progress: Progress | None = None) -> CrossEncoder:
    """The cross-encoder of a folder; plain BERT without torch, others through torch.

    Raises InvalidInput when the folder holds none, or one that is damaged.
    """
    progress = progress or Silent()
    model = load_model_folder(folder, what="cross-encoder")
    _require_one_label(model)
    tokenizer = PairTokenizer(model)
    if model.is_plain_bert:
        return CrossEncoder(folder, tokenizer, _open_graph(model, progress))
    from modelyard.encoders.torch_engines import open_pair_scorer

    progress.warn(
        f"the cross-encoder {folder.name} is no plain BERT ({model.family}): it runs through "
        "torch, and a search with it starts some seconds later"
    )
    return CrossEncoder(folder, tokenizer, open_pair_scorer(folder))


class CrossEncoder:
    """Scores how well chunks answer a query."""

    def __init__(self, folder: Path, tokenizer: PairTokenizer, score_pairs: ScorePairs) -> None:
        self._folder, self._tokenizer, self._score_pairs = folder, tokenizer, score_pairs

    def score(self, query: str, chunks: Sequence[str]) -> Scores:
        """A number for each chunk, in the order given: float32 [chunks], higher is better.

        Raises InvalidInput when one is not finite.
        """
        if not chunks:
            return np.empty(0, np.float32)
        ids, segments = self._tokenizer.tokenize(query, chunks)
        found = np.empty(len(ids), np.float32)
        for places, tokens in batches_of_equal_length(ids, tokens=_TOKENS_AT_ONCE):
            chosen = np.asarray([segments[place] for place in places], np.int64)
            found[places] = self._score_pairs(tokens, chosen)
        if not np.all(np.isfinite(found)):
            raise InvalidInput(
                "the cross-encoder gives a score that is not a finite number",
                where=str(self._folder),
                hint="its weights are damaged: fetch it again, or name another",
            )
        return found


def _open_graph(model: ModelFolder, progress: Progress) -> ScorePairs:
    def build() -> ModelProto:
        from modelyard.encoders.bert import load_bert_scorer

        return build_scoring_graph(load_bert_scorer(model.folder))

    # As a sentence encoder the same folder has another graph.
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
    """Raise InvalidInput for a model that is no cross-encoder, or that has several classes."""
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
            f"gives {labels or _USUAL_LABELS} numbers for a pair, so there is no one score to "
            "order by",
            where=str(model.folder / "config.json"),
            hint="take a cross-encoder with one label, such as ms-marco-MiniLM-L6-v2",
        )
