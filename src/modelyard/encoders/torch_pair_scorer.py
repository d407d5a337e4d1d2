"""Scores of pairs of texts through torch, for cross-encoders that are no plain BERT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from modelyard.core.errors import InvalidInput
from modelyard.inference.machine import usable_threads

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
ScorePairs = Callable[[Ids, Ids], Scores]


def open_pair_scorer(folder: Path) -> ScorePairs:
    """Tokens and segments [pairs, length] to scores [pairs], in fp32, on a GPU where there is one.

    Raises InvalidInput when transformers cannot load the folder, or its weights have no classifier.
    """
    torch.set_num_threads(usable_threads())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _load(folder).to(device).eval()
    has_segments = getattr(model.config, "type_vocab_size", 0) > 1

    def score_pairs(tokens: Ids, segments: Ids) -> Scores:
        ids = torch.from_numpy(tokens).to(device)
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if has_segments:
            given["token_type_ids"] = torch.from_numpy(segments).to(device)
        with torch.inference_mode():
            scores: Scores = model(**given).logits[:, 0].float().cpu().numpy()
        return scores

    return score_pairs


def _load(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    from modelyard.inference.weights import quiet_libraries

    quiet_libraries()
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers, safetensors and tokenizers have classes of their own
        raise InvalidInput(
            f"transformers cannot load it: {next(iter(str(error).splitlines()), '')}",
            where=str(folder),
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:  # they were drawn by chance, and so would be the order of the results
        raise InvalidInput(f"has no {', '.join(missing[:3])}", where=str(folder))
    return model
