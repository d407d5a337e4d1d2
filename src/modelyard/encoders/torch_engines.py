"""Engines on torch: for many texts at once, and for models that are no plain BERT.

Sentence encoders turn token ids into unit vectors in fp32, cross-encoders into scores. In bf16 only
the matrix products are computed: the stream between layers and every LayerNorm stay fp32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from modelyard.core.errors import InvalidInput
from modelyard.encoders.bert import BertWeights, Linear, Norm, load_bert
from modelyard.encoders.cross_encoder import ScorePairs, Scores
from modelyard.encoders.encoder import OnProgress, Vectors
from modelyard.encoders.model_folder import Pooling
from modelyard.encoders.tokens import Batch, EncodedBatch, Ids, TokenIds, collect_vectors
from modelyard.inference.machine import measure_matmul_gflops, usable_threads
from modelyard.inference.waiting import share_cores

PackedBatch = tuple[Ids, "list[Run]"]
"""The places of texts that are packed end to end, and their runs."""

_TOKENS_ON_CPU, _TOKENS_ON_CUDA = 8192, 131_072
_BF16_PAYS_FROM = 1.5
"""How many times faster a bf16 product must be than an fp32 one."""


@dataclass(frozen=True, slots=True)
class Run:
    """Texts of one length, end to end in a packed batch."""

    tokens: slice
    """The place of its tokens in the batch."""
    texts: int
    """How many texts."""
    length: int
    """Tokens of each."""


def open_fastest(
    folder: Path, *, is_plain_bert: bool, pooling: Pooling, precision: str
) -> PackedBert | AnyTransformer | None:
    """The engine on torch that encodes many texts fastest here; None when ONNX Runtime is faster.

    `precision` is a config's: `fp32` never uses bf16, `bf16` uses it without timing it first.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and (precision == "fp32" or (precision == "auto" and not bf16_is_faster())):
        return None
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    if not is_plain_bert:
        return AnyTransformer(folder, pooling=pooling, dtype=dtype, device=device)
    return PackedBert(load_bert(folder), pooling=pooling, dtype=dtype, device=device)


def bf16_is_faster() -> bool:
    """Whether products of an encoder's size are clearly faster in bf16, by timing a few."""
    torch.set_num_threads(usable_threads())
    shape = (1024, 384, 1536)
    fp32, bf16 = measure_matmul_gflops([torch.float32, torch.bfloat16], shape=shape, repeats=6)
    return bf16 > _BF16_PAYS_FROM * fp32


class PackedBert:
    """A plain BERT over texts packed end to end: no padding, and few large products.

    Attention runs over each group of texts of one length.
    """

    def __init__(
        self, weights: BertWeights, *, pooling: Pooling, dtype: torch.dtype, device: str
    ) -> None:
        _keep_large_buffers()
        torch.set_num_threads(usable_threads())
        self._device, self._dtype, self._pooling = device, dtype, pooling
        self.description = _describe(dtype, device)
        self._heads, self._epsilon = weights.heads, weights.epsilon
        self._tokens, self._positions = map(self._tensor, (weights.tokens, weights.positions))
        self._norm = self._norm_of(weights.norm)
        self._layers = [
            (
                self._linear(layer.qkv),
                self._linear(layer.attended),
                self._norm_of(layer.attended_norm),
                self._linear(layer.up),
                self._linear(layer.down),
                self._norm_of(layer.down_norm),
            )
            for layer in weights.layers
        ]

    def _tensor(self, values: Vectors) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def _linear(self, linear: Linear) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = self._tensor(linear.weight), self._tensor(linear.bias)
        return weight.to(self._dtype), bias.to(self._dtype)

    def _norm_of(self, norm: Norm) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(norm.scale), self._tensor(norm.shift)

    def encode(self, ids: Sequence[TokenIds], *, on_done: OnProgress | None = None) -> Vectors:
        """Unit vectors [texts, width], in the order given."""
        on_cpu = self._device == "cpu"
        encoded = _encode_side_by_side(
            lambda batch: self._encode_batch(ids, *batch),
            packed_batches(ids, tokens=_TOKENS_ON_CPU if on_cpu else _TOKENS_ON_CUDA),
            usable_threads() if on_cpu else 1,
        )
        return collect_vectors(encoded, len(ids), on_done)

    def _encode_batch(
        self, ids: Sequence[TokenIds], places: Ids, runs: Sequence[Run]
    ) -> EncodedBatch:
        tokens = np.concatenate([np.asarray(ids[place], np.int64) for place in places])
        with torch.inference_mode():
            vectors = self._forward(torch.from_numpy(tokens).to(self._device), runs)
        return places, vectors.cpu().numpy()

    def _forward(self, tokens: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
        width = (self._tokens.shape[1],)
        positions = torch.cat([torch.arange(run.length).repeat(run.texts) for run in runs])
        stream = self._tokens[tokens] + self._positions[positions.to(self._device)]
        stream = functional.layer_norm(stream, width, *self._norm, self._epsilon)
        for qkv, attended, attended_norm, up, down, down_norm in self._layers:
            heads = self._attend(functional.linear(stream.to(self._dtype), *qkv), runs)
            stream = functional.layer_norm(
                functional.linear(heads, *attended) + stream, width, *attended_norm, self._epsilon
            )
            inner = functional.gelu(functional.linear(stream.to(self._dtype), *up))
            stream = functional.layer_norm(
                functional.linear(inner, *down) + stream, width, *down_norm, self._epsilon
            )
        return functional.normalize(torch.cat([self._pool(stream, run) for run in runs]), dim=-1)

    def _attend(self, joined: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
        width = joined.shape[1] // 3
        found = torch.empty(len(joined), width, dtype=joined.dtype, device=joined.device)
        for run in runs:
            parts = joined[run.tokens].view(run.texts, run.length, 3, self._heads, -1)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            heads = functional.scaled_dot_product_attention(query, key, value)
            place = found[run.tokens].view(run.texts, run.length, self._heads, -1)
            place.copy_(heads.transpose(1, 2))
        return found

    def _pool(self, stream: torch.Tensor, run: Run) -> torch.Tensor:
        texts = stream[run.tokens].view(run.texts, run.length, -1)
        return texts[:, 0] if self._pooling == "cls" else texts.mean(1)


def _encode_side_by_side(
    encode: Callable[[PackedBatch], EncodedBatch], batches: Iterator[PackedBatch], workers: int
) -> Iterator[EncodedBatch]:
    """Encode each batch on a core of its own; results come in the order of the batches.

    Much of a batch is normalising and copying, which several threads in one operation speed up by
    a third only; two batches at once take little longer than one.
    """
    if workers == 1:
        yield from map(encode, batches)
        return
    try:
        with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool:
            yield from pool.map(encode, batches)
    finally:
        torch.set_num_threads(workers)


def packed_batches(ids: Sequence[TokenIds], *, tokens: int) -> Iterator[PackedBatch]:
    """(places, runs) of at most `tokens` tokens each (or one text), the longest texts first."""
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        reached = np.cumsum(lengths[order[start : start + tokens]])
        count = max(1, int(np.searchsorted(reached, tokens, side="right")))
        places = order[start : start + count]
        start += count
        runs, at = [], 0
        # `unique` sorts, so that the longest texts come first here too.
        for negative, texts in zip(*np.unique(-lengths[places], return_counts=True), strict=True):
            end = at - int(texts) * int(negative)
            runs.append(Run(slice(at, end), int(texts), -int(negative)))
            at = end
        yield places, runs


class AnyTransformer:
    """Any text encoder that transformers knows, in batches of equal length."""

    def __init__(
        self,
        folder: Path,
        *,
        pooling: Pooling,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        """Raises InvalidInput when transformers cannot load the folder."""
        from transformers import AutoModel

        self._model, _ = _load(AutoModel, folder, device)
        self._device, self._dtype, self._pooling = device, dtype, pooling
        self.description = _describe(dtype, device)

    def encode(self, ids: Sequence[TokenIds], *, on_done: OnProgress | None = None) -> Vectors:
        """Unit vectors [texts, width], in the order given."""
        encoded = ((places, self._forward(tokens)) for places, tokens in self._batches(ids))
        return collect_vectors(encoded, len(ids), on_done)

    def _batches(self, ids: Sequence[TokenIds]) -> Iterator[Batch]:
        budget = _TOKENS_ON_CUDA if self._device == "cuda" else _TOKENS_ON_CPU
        for places, runs in packed_batches(ids, tokens=budget):
            ends = np.cumsum([run.texts for run in runs])
            for chosen in np.split(places, ends[:-1]):
                yield chosen, np.asarray([ids[place] for place in chosen], np.int64)

    def _forward(self, ids: Ids) -> Vectors:
        mixed = torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32)
        with torch.inference_mode(), mixed:
            tokens = torch.from_numpy(ids).to(self._device)
            hidden = self._model(
                input_ids=tokens, attention_mask=torch.ones_like(tokens)
            ).last_hidden_state.float()
        pooled = hidden[:, 0] if self._pooling == "cls" else hidden.mean(1)
        found: Vectors = functional.normalize(pooled, dim=-1).cpu().numpy()
        return found


def open_pair_scorer(folder: Path) -> ScorePairs:
    """Tokens and segments [pairs, length] to scores [pairs], in fp32, on a GPU where there is one.

    Raises InvalidInput when transformers cannot load the folder, or its weights have no classifier.
    """
    from transformers import AutoModelForSequenceClassification

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, missing = _load(AutoModelForSequenceClassification, folder, device)
    if missing:  # transformers drew them at random, and so the order of the results would be random
        raise InvalidInput(f"has no {', '.join(missing[:3])}", where=str(folder))
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


def _load(auto_class: Any, folder: Path, device: str) -> tuple[Any, list[str]]:
    """A folder's model in fp32, and the names of the weights that the folder does not have."""
    from modelyard.inference.weights import quiet_libraries

    quiet_libraries()
    torch.set_num_threads(usable_threads())
    share_cores()
    try:
        model, report = auto_class.from_pretrained(
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
    return model.to(device).eval(), sorted(report["missing_keys"])


def _describe(dtype: torch.dtype, device: str) -> str:
    return f"{'bf16' if dtype == torch.bfloat16 else 'fp32'} on {device}"


def _keep_large_buffers() -> None:
    """Let glibc keep freed buffers: else each operation takes fresh pages, and faults on each."""
    trim_threshold, mmap_threshold = -1, -3
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
