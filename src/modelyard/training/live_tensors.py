"""How many bytes of tensors live at the moments of a training step where memory may be at its peak.

Counted tensor by tensor from the code that runs: this project's kernels (fast path), its attention
and norms around PEFT's layers (mixed: dropout, DoRA), or transformers and PEFT alone (stock). Each
layer keeps what its backward pass needs, so the peak is where the last layer's forward pass, the
loss and the first backward passes meet. Does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.training.base_shape import BaseShape

LOGITS_PER_BLOCK = 8_000_000
"""Logits that exist at a time; a vocabulary of 50,000 gives blocks of 160 labels."""
SCORES_PER_BLOCK = 4_000_000
"""Attention scores that exist at a time, or those of one key head of one row, if they are more."""
ROW_ATTENTION_LIMIT = 2048
"""Tokens of the longest row up to which attention on a CPU is batched products of rows."""

KernelPath = Literal["fast", "mixed", "stock"]
"""Which kernels run: all of ours; ours but for the LoRA layers (dropout, DoRA); none."""

_INPUT_OF = {"q_proj": "x", "k_proj": "x", "v_proj": "x", "gate_proj": "y", "up_proj": "y"}
"""Modules that share an input: the output of the first norm, or of the second."""


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The size of a packed batch."""

    tokens: int
    """Places that are computed, shared ones once."""
    rows: int
    """Rows in it."""
    longest: int
    """Tokens of its longest row."""
    labels: int
    """Trained tokens."""
    first: bool = True
    """Whether it is the first of its step: only then there are no gradients yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTensors:
    """Bytes of tensors at one moment of a batch, beside weights and optimizer."""

    activations: float
    """What the layers keep for the backward pass, and gradients on their way through one."""
    attention: float = 0.0
    """Attention scores that exist at a time, the copies of its heads, and the mask."""
    logits: float = 0.0
    """Logits, their softmax or gradient."""
    recomputed: float = 0.0
    """What one layer keeps that is computed again: a part of `activations`."""
    gradients: float = 0.0
    """Gradients of the adapter."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.activations + self.attention + self.logits + self.gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCounts:
    """Counts the tensors of one batch in one run's settings."""

    shape: BaseShape
    lora: LoraSettings
    batch: BatchShape
    number: int
    """Bytes of a number of the compute type."""
    path: KernelPath
    row_attention: bool
    """Whether attention is batched products of rows, which hold all scores; else torch's sdpa."""
    checkpointing: bool

    def at_peak(self) -> LiveTensors:
        """The largest of the moments that may be the peak of a training step."""
        gradients = 0 if self.batch.first else 4 * self.shape.adapter_parameters(self.lora)
        mlp = self._kept_of_mlp()
        layer = self._kept_of_streams() + self._kept_of_attention() + mlp
        before: float
        during: float
        if self.checkpointing:  # the inputs of all layers, and one layer that is computed again
            inputs = self.batch.tokens * self.shape.hidden * self.number * self.shape.layers
            before, during = inputs, inputs + layer
        else:
            before = during = layer * self.shape.layers
        moments = [
            LiveTensors(activations=before + self._hidden(), logits=self._logits()),
            LiveTensors(activations=during + self._mlp_gradients()),
            LiveTensors(activations=during - mlp, attention=self._attention_scores()),
        ]
        most = max(moments, key=lambda moment: moment.total)
        attention = most.attention + self._mask()
        recomputed = layer if self.checkpointing else 0
        return replace(most, attention=attention, recomputed=recomputed, gradients=gradients)

    def without_gradient(self) -> LiveTensors:
        """The same of an evaluation, which keeps one layer's tensors at most."""
        kept = self._kept_of_streams() + self._kept_of_attention()
        moments = [
            LiveTensors(activations=self._hidden(), logits=self._logits()),
            LiveTensors(activations=kept, attention=self._attention_scores()),
        ]
        most = max(moments, key=lambda moment: moment.total)
        return replace(most, attention=most.attention + self._mask())

    @property
    def _queries(self) -> int:
        return self.shape.heads * self.shape.head_width

    @property
    def _keys(self) -> int:
        """Width of keys and values together."""
        return 2 * self.shape.key_heads * self.shape.head_width

    def _inputs(self, *, apart: bool) -> int:
        """Widths of the inputs of all adapted modules; equal inputs once, unless `apart`."""
        chosen = self.shape.adapted_shapes(self.lora)
        widths = {
            name if apart else _INPUT_OF.get(name, name): inputs
            for name, (inputs, _) in chosen.items()
        }
        return sum(widths.values())

    def _kept_of_streams(self) -> float:
        """What two norms keep, and in PEFT's layers what the adapters keep of their inputs."""
        tokens, number = self.batch.tokens, self.number
        chosen = self.shape.adapted_shapes(self.lora)
        ranks = self.lora.rank * len(chosen)
        if self.path == "fast":
            values = 2 * self.shape.hidden + self._inputs(apart=False) + ranks
            return tokens * (values * number + 8)
        # A norm of transformers keeps its input in fp32.
        norms = 2 * self.shape.hidden * (4 if self.path == "stock" else number)
        adapted: float = 4 * ranks
        if self.lora.dropout:
            adapted += 8 * self._inputs(apart=True)  # the mask, as a factor, and what it leaves
        else:
            adapted += 4 * self._inputs(apart=number == 2)  # casts of one input are apart
        if self.lora.dora:
            outputs = sum(outputs for _, outputs in chosen.values())
            adapted += outputs * (4 + number)  # of the adapter and of the base, to be scaled
        return tokens * (norms + adapted + 8)

    def _kept_of_mlp(self) -> float:
        """Gate, its activation and up; ours computes the activation again."""
        chosen = self.shape.adapted_shapes(self.lora)
        gated = {"gate_proj", "up_proj", "down_proj"} <= set(chosen)
        kept = 2 if self.path == "fast" and gated else 3
        return self.batch.tokens * kept * self.shape.intermediate * self.number

    def _kept_of_attention(self) -> float:
        batch, number = self.batch, self.number
        if self.path == "stock":
            # q, k, v and what is seen; rows beside each other need a mask in every layer.
            kept = batch.tokens * ((2 * self._queries + self._keys) * number + 4 * self.shape.heads)
            return kept + (batch.tokens**2 * number if batch.rows > 1 else 0)
        slots = batch.rows * batch.longest
        kept = slots * (self._queries + self._keys) * number
        if not self.row_attention:
            return kept + slots * (self._queries * number + 4 * self.shape.heads)
        return kept + (self._scores * number if self._keeps_probabilities else 0)

    @property
    def _scores(self) -> int:
        """Attention scores of one layer."""
        return self.batch.rows * self.shape.heads * self.batch.longest**2

    @property
    def _scores_at_a_time(self) -> int:
        """Those of them that are computed together."""
        of_key_head = self.shape.heads // self.shape.key_heads * self.batch.longest**2
        return min(self._scores, max(1, SCORES_PER_BLOCK // of_key_head) * of_key_head)

    @property
    def _keeps_probabilities(self) -> bool:
        return self.batch.longest <= 4 * self.shape.head_width

    def _attention_scores(self) -> float:
        """Scores and probabilities of one layer, forward or backward, whichever is more."""
        batch, number, scores = self.batch, self.number, self._scores_at_a_time
        slots = batch.rows * batch.longest
        copies = 3 * slots * self._queries * number
        if self.path == "stock" or not self.row_attention:
            return copies
        if number == 2:
            # fp32 scores, their softmax and its bf16 copy; kept probabilities are one of them
            return copies + scores * (8 if self._keeps_probabilities else 10)
        # probabilities, their gradient and the product of both
        return copies + scores * (8 if self._keeps_probabilities else 12)

    def _mask(self) -> float:
        """The mask of the longest row in fp32, which stays from batch to batch."""
        own = self.path != "stock" and self.row_attention
        return 4 * self.batch.longest**2 if own else 0

    def _mlp_gradients(self) -> float:
        """Gradients of the last gated layer, until its own tensors are let go."""
        wide = self.batch.tokens * self.shape.intermediate
        stream = self.batch.tokens * self.shape.hidden
        if self.path == "fast":
            return (3 * wide + 2 * stream) * self.number
        return wide * (8 + 4 * self.number) + 2 * stream * self.number

    def _hidden(self) -> float:
        """What the last norm gives, for all tokens and for those before a label, and gradients."""
        return 2 * (self.batch.tokens + self.batch.labels) * self.shape.hidden * self.number

    def _logits(self) -> float:
        labels, vocabulary, number = self.batch.labels, self.shape.vocabulary, self.number
        if self.path == "stock":
            every, chosen = self.batch.tokens * vocabulary * number, labels * vocabulary
            # chosen from all, fp32 and softmax, the gradient of both, then of all logits twice
            return max(every + chosen * number, chosen * (number + 8), chosen * 12, 2 * every)
        block = min(labels, max(16, LOGITS_PER_BLOCK // vocabulary))
        # fp32 logits and their exponentials; those of the block before are let go late
        return block * vocabulary * (8 if block == labels else 12)
