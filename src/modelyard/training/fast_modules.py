"""Modules that the kernels can compute, recognised by structure, and what each then does.

Llama, Mistral, Qwen2, SmolLM and their like are known by what they are made of, never by a model's
name. Weights are not copied: projections that share an input become views of one stacked matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from modelyard.training.kernels import LoraProjections, RmsNorm, Rotary, SwiGlu
from modelyard.training.packed import RowLayout, attend

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
    parts = [getattr(module, name, None) for name in names]
    return all(is_plain_lora(part) for part in parts)


def is_attention(module: Any) -> bool:
    """Llama's attention: four projections, rotary embedding of whole heads, nothing in between."""
    children = {name for name, _ in module.named_children()}
    return (
        {"q_proj", "k_proj", "v_proj", "o_proj"} == children
        and _all_plain_lora(module, ("q_proj", "k_proj", "v_proj", "o_proj"))
        and hasattr(module, "head_dim")
        and hasattr(module, "scaling")
        and getattr(module, "sliding_window", None) is None
    )


def is_gated_mlp(module: Any) -> bool:
    """Llama's gated layer: up and gate, SiLU, down."""
    children = {name for name, _ in module.named_children()}
    return (
        {"gate_proj", "up_proj", "down_proj", "act_fn"} == children
        and _all_plain_lora(module, ("gate_proj", "up_proj", "down_proj"))
        and type(module.act_fn).__name__ in {"SiLU", "SiLUActivation"}
    )


def is_rms_norm(module: Any) -> bool:
    """A frozen RMSNorm."""
    return (
        type(module).__name__.endswith("RMSNorm")
        and hasattr(module, "variance_epsilon")
        and not module.weight.requires_grad
    )


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
        bias=None if biases[0] is None else torch.cat([one.detach() for one in biases]),
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
        weights, stacked.split_with_sizes([len(one) for one in weights]), strict=True
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
