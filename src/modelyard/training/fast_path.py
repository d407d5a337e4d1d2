"""A stock transformers + PEFT model with the kernels in it, or out of it again.

They compute the modules that `inference/structure.py` recognises, where LoRA is on every projection
of one. `prove_fast_path` compares losses and adapter gradients of real rows with those of the
untouched model, which sees each row alone; when they differ, the untouched model is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from modelyard.chatdata.tokenizing import TokenRow
from modelyard.inference.structure import PROJECTIONS, is_attention, is_gated_mlp, is_rms_norm
from modelyard.training.kernels import LabelLoss, LoraProjections, RmsNorm, Rotary, SwiGlu
from modelyard.training.live_tensors import LOGITS_PER_BLOCK
from modelyard.training.packed import ATTENTION_NAME, PackedBatch, RowLayout, attend, pack_rows


@dataclass(slots=True)
class TrainingModel:
    """A PEFT model, and the loss of a packed batch computed the fast way or the stock way."""

    model: Any
    """The PeftModel."""
    layout: RowLayout = field(default_factory=RowLayout)
    noisy: bool = False
    """Whether dropout or NEFTune draw for each token, so that no two rows may share one."""
    fast: bool = False
    """Whether the kernels are in place."""
    _projections: list[Projections] = field(default_factory=list)
    _undo: list[Callable[[], None]] = field(default_factory=list)

    def pack(self, rows: Sequence[TokenRow]) -> PackedBatch:
        """Rows as this model computes them: equal beginnings once, where that changes nothing."""
        return pack_rows(rows, share=self.fast and not self.noisy)

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        """Summed cross-entropy over the labels of `batch`: a float32 scalar with a gradient."""
        base = self.model.get_base_model()
        if not self.fast:
            logits = self.model(
                input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False
            ).logits[0, batch.predictors]
            return F.cross_entropy(logits.float(), batch.labels, reduction="sum")
        self.layout.batch = batch
        self._cast_adapters()
        hidden = base.get_decoder()(
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False
        ).last_hidden_state[0]
        head = base.get_output_embeddings().weight
        rows_per_block = max(16, LOGITS_PER_BLOCK // head.shape[0])
        return cast(
            Tensor,
            LabelLoss.apply(hidden[batch.predictors], head, batch.labels, rows_per_block),
        )

    def use_fast_path(self) -> None:
        """Put the kernels in place, wherever a module has the structure they compute."""
        base = self.model.get_base_model()
        for module in list(base.modules()):
            if is_adapted_attention(module):
                self._replace(module, attention_forward(module, self._stack, self.layout))
            elif is_adapted_mlp(module):
                self._replace(module, mlp_forward(module, self._stack))
            elif is_frozen_norm(module):
                self._replace(module, norm_forward(module))
        covered = {id(part) for module in base.modules() if "forward" in vars(module)
                   for part in module.modules()}  # fmt: skip
        for module in base.modules():
            if is_plain_lora(module) and id(module) not in covered:
                self._replace(module, lora_forward(module, self._stack))
            if hasattr(module, "is_causal") and hasattr(module, "head_dim"):
                module.row_layout = self.layout
        stock = base.config._attn_implementation
        base.config._attn_implementation = ATTENTION_NAME
        self._undo.append(lambda: setattr(base.config, "_attn_implementation", stock))
        self.fast = True

    def use_stock_path(self) -> None:
        """Take the kernels out again."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self._projections.clear()
        self.fast = False

    def _stack(self, *layers: Any) -> Projections:
        made = stack_projections(layers)
        self._projections.append(made)
        return made

    @torch.no_grad()
    def _cast_adapters(self) -> None:
        """Bring every adapter weight of now into the compute type, in two calls."""
        made = self._projections
        if made:
            torch._foreach_copy_(
                [place for projections in made for place in projections.cast_adapters],
                [weight for projections in made for weight in projections.adapters],
            )
            torch._foreach_mul_(
                [projections.b for projections in made],
                [projections.scaling for projections in made],
            )

    def _replace(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        object.__setattr__(module, "forward", forward)
        self._undo.append(lambda: object.__delattr__(module, "forward"))


_PROOF_TOKENS = 96
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15}
"""Largest relative difference of loss and gradient; two bf16 paths of 30 layers differ by 0.07."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How far the fast path is from the stock one on real rows."""

    loss_difference: float
    """Relative difference of the loss."""
    gradient_difference: float
    """Relative difference of the adapter's whole gradient, in the 2-norm."""
    tolerance: float
    """What the compute type allows."""

    @property
    def holds(self) -> bool:
        return max(self.loss_difference, self.gradient_difference) <= self.tolerance


def prove_fast_path(model: TrainingModel, rows: Sequence[TokenRow]) -> Proof:
    """Compare both paths on a few short rows; leaves the fast one in place only if the proof holds.

    The adapter's B is filled with noise for the comparison, or A would have no gradient, and put
    back. The random state is left as it was.
    """
    device = next(model.model.parameters()).device
    dtype = model.model.get_base_model().get_input_embeddings().weight.dtype
    sample = [_shortened(row) for row in sorted(rows, key=lambda row: len(row.input_ids))[:2]]
    was_training = model.model.training
    model.model.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        kept = _disturb_adapter(model.model)
        stock = [_loss_and_gradients(model, model.pack([row]).to(device)) for row in sample]
        model.use_fast_path()
        fast_loss, fast = _loss_and_gradients(model, model.pack(sample).to(device))
        _restore_adapter(model.model, kept)
    model.model.train(was_training)

    stock_loss = sum(loss for loss, _ in stock)
    wanted = {name: torch.stack([grads[name] for _, grads in stock]).sum(0) for name in fast}
    wrong = sum(float((fast[name] - wanted[name]).square().sum()) for name in fast)
    whole = sum(float(wanted[name].square().sum()) for name in fast)
    difference = (wrong / max(whole, 1e-24)) ** 0.5
    proof = Proof(abs(fast_loss - stock_loss) / stock_loss, difference, _TOLERANCE[dtype])
    if not proof.holds:
        model.use_stock_path()
    return proof


def _shortened(row: TokenRow) -> TokenRow:
    """A row's first `_PROOF_TOKENS` tokens, all trained, so that each takes part in the proof."""
    start = row.input_ids[:_PROOF_TOKENS]
    return TokenRow(start, np.ones(len(start), dtype=np.bool_), row.source)


def _loss_and_gradients(
    model: TrainingModel, batch: PackedBatch
) -> tuple[float, dict[str, Tensor]]:
    weights = dict(model.model.named_parameters())
    loss = model.loss_sum(batch)
    torch.autograd.backward(loss)
    grads = {
        name: cast(Tensor, weight.grad).float().clone()
        for name, weight in weights.items()
        if weight.requires_grad
    }
    model.model.zero_grad(set_to_none=True)
    return float(loss.detach()), grads


def _disturb_adapter(model: nn.Module) -> dict[str, Tensor]:
    kept = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad and "lora_B" in name:
            kept[name] = weight.detach().clone()
            weight.data.normal_(std=0.02)
    return kept


def _restore_adapter(model: nn.Module, kept: dict[str, Tensor]) -> None:
    for name, weight in model.named_parameters():
        if name in kept:
            weight.data.copy_(kept[name])


_ADAPTER = "default"


def is_plain_lora(module: Any) -> bool:
    """A LoRA layer over an ordinary linear one, with nothing that the kernel does not compute."""
    return (
        type(module) is LoraLinear
        and type(module.base_layer) is nn.Linear
        and list(module.lora_A) == [_ADAPTER]
        and not module.lora_variant
        and not module.fan_in_fan_out
        and not module.lora_bias[_ADAPTER]
        and isinstance(module.lora_dropout[_ADAPTER], nn.Identity)
    )


def _all_plain_lora(module: Any, names: Sequence[str]) -> bool:
    return all(is_plain_lora(getattr(module, name)) for name in names)


def is_adapted_attention(module: Any) -> bool:
    """Llama's attention with LoRA on each projection, and no norms of heads or window inside."""
    return (
        is_attention(module)
        and not hasattr(module, "q_norm")
        and _all_plain_lora(module, PROJECTIONS[:4])
        and getattr(module, "sliding_window", None) is None
    )


def is_adapted_mlp(module: Any) -> bool:
    """Llama's gated layer with LoRA on each projection."""
    return is_gated_mlp(module) and _all_plain_lora(module, PROJECTIONS[4:])


def is_frozen_norm(module: Any) -> bool:
    """An RMSNorm that is not trained."""
    return is_rms_norm(module) and not module.weight.requires_grad


@dataclass(frozen=True, slots=True)
class Projections:
    """Linear layers of one input, their base weights stacked, their adapters in the compute type.

    The adapters' own weights stay in fp32, as their master copy; `a` and `b` are cast from them
    once a batch (`TrainingModel.loss_sum`), for all layers in one call.
    """

    adapters: tuple[nn.Parameter, ...]
    """Every A, then every B."""
    cast_adapters: tuple[Tensor, ...]
    """The places of the same weights in `a` and `b`."""
    weight: Tensor
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scaling: float
    widths: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return cast(
            Tensor,
            LoraProjections.apply(
                x, self.weight, self.bias, self.a, self.b, self.scaling, self.widths, *self.adapters
            ),
        )


Stack = Callable[..., Projections]
"""Makes one `Projections` of linear layers that have one input."""


def stack_projections(layers: Sequence[Any]) -> Projections:
    """One product out of those of LoRA layers that have one input."""
    bases = [layer.base_layer for layer in layers]
    widths = tuple(base.weight.shape[0] for base in bases)
    weight = _stack_weights([base.weight for base in bases])
    biases = [base.bias for base in bases]
    every_a = [layer.lora_A[_ADAPTER].weight for layer in layers]
    every_b = [layer.lora_B[_ADAPTER].weight for layer in layers]
    rank = len(every_a[0])
    a = weight.new_zeros(rank * len(layers), weight.shape[1])
    b = weight.new_zeros(len(weight), rank * len(layers))
    blocks = zip(b.split_with_sizes(widths), range(0, len(a), rank), strict=True)
    return Projections(
        adapters=(*every_a, *every_b),
        cast_adapters=(*a.chunk(len(layers)), *(rows[:, at : at + rank] for rows, at in blocks)),
        weight=weight,
        bias=None if biases[0] is None else torch.cat([bias.detach() for bias in biases]),
        a=a,
        b=b,
        scaling=layers[0].scaling[_ADAPTER],
        widths=widths,
    )


def _stack_weights(weights: Sequence[nn.Parameter]) -> Tensor:
    """The weights in one matrix, of which they become views; a single one stays as it is."""
    if len(weights) == 1:
        return weights[0].detach()
    stacked = torch.cat([weight.detach() for weight in weights])
    for weight, view in zip(
        weights, stacked.split_with_sizes([len(weight) for weight in weights]), strict=True
    ):
        weight.data = view
    return stacked


def lora_forward(layer: Any, stack: Stack) -> Callable[[Tensor], Tensor]:
    """What a LoRA layer by itself does; x: [..., d]."""
    product = stack(layer)

    def forward(x: Tensor) -> Tensor:
        return product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)

    return forward


def norm_forward(norm: Any) -> Callable[[Tensor], Tensor]:
    """What an RMSNorm does; x: [..., d]."""

    def forward(x: Tensor) -> Tensor:
        return cast(Tensor, RmsNorm.apply(x, norm.weight, norm.variance_epsilon))

    return forward


def mlp_forward(mlp: Any, stack: Stack) -> Callable[[Tensor], Tensor]:
    """What a gated layer does, its two inner projections in one product; x: [..., d]."""
    gate_up, down = stack(mlp.gate_proj, mlp.up_proj), stack(mlp.down_proj)

    def forward(x: Tensor) -> Tensor:
        inner = cast(Tensor, SwiGlu.apply(gate_up(x.reshape(-1, x.shape[-1]))))
        return down(inner).view(x.shape)

    return forward


def attention_forward(
    attention: Any, stack: Stack, layout: RowLayout
) -> Callable[..., tuple[Tensor, None]]:
    """What an attention layer does, q, k and v in one product; hidden_states: [1, t, d]."""
    product = stack(attention.q_proj, attention.k_proj, attention.v_proj)
    out = stack(attention.o_proj)
    width = attention.head_dim
    heads, key_heads = (size // width for size in product.widths[:2])

    def forward(
        hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> tuple[Tensor, None]:
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        every = product(x).view(len(x), -1, width)
        cos, sin = (part[0, :, None, : width // 2] for part in position_embeddings)
        turned = cast(Tensor, Rotary.apply(every[:, : heads + key_heads], cos, sin))
        q, k, v = turned[:, :heads], turned[:, heads:], every[:, heads + key_heads :]
        seen = attend(q, k, v, attention.scaling, layout)
        return out(seen.reshape(len(x), -1)).view(hidden_states.shape), None

    return forward
