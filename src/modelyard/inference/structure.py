"""What a transformers model is made of, found in its config and modules.

The decoder computes Llama's structure: pre-norms, rotary embedding of whole heads, grouped-query
attention, a gated SiLU layer. Llama, SmolLM, Mistral, Qwen2 and Qwen3 have it. Everything else is
`Unrecognised`, with the reason, and transformers itself computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from modelyard.core.errors import ModelyardError

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles do not depend on how long the row is."""

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear modules of a layer, by their names in transformers."""


class Unrecognised(ModelyardError):
    """A model is not of the structure that the decoder computes; its message says what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """The sizes of a decoder-only model."""

    layers: int
    """How many layers it has."""
    hidden: int
    """d: the width of the residual stream."""
    inner: int
    """m: the width inside the gated layer."""
    heads: int
    """h: query heads."""
    key_heads: int
    """k: heads of keys and values; h is a multiple of it."""
    head_width: int
    """w: the width of one head; h w need not be d."""
    vocabulary: int
    """v: rows of the output layer."""
    context: int
    """The most positions that the model was made for."""
    eps: float
    """What RMSNorm adds to the mean square."""
    scale: float
    """What attention scores are multiplied by."""

    def projection(self, name: str) -> tuple[int, int]:
        """Outputs and inputs of one of `PROJECTIONS`."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        return {
            "q_proj": (queries, self.hidden),
            "k_proj": (keys, self.hidden),
            "v_proj": (keys, self.hidden),
            "o_proj": (self.hidden, queries),
            "gate_proj": (self.inner, self.hidden),
            "up_proj": (self.inner, self.hidden),
            "down_proj": (self.hidden, self.inner),
        }[name]


@dataclass(frozen=True, slots=True, eq=False)
class LayerParts:
    """The modules of one layer."""

    attention_norm: Tensor
    """[d]: the weight of the norm before attention."""
    projections: dict[str, Any]
    """The modules named in `PROJECTIONS`."""
    weights: dict[str, str]
    """What the weight of each of them is called in the model's files."""
    mlp_norm: Tensor
    """[d]: the weight of the norm before the gated layer."""
    head_norms: tuple[Tensor, Tensor] | None
    """[w] each: the norms of every query and key head, where there are some (Qwen3)."""


@dataclass(frozen=True, slots=True, eq=False)
class DecoderParts:
    """A recognised model: its sizes and its modules."""

    shape: DecoderShape
    embedding: Tensor
    """[v, d]: a row for each token."""
    rotary: Any
    """The module that gives cos and sin for positions."""
    layers: tuple[LayerParts, ...]
    norm: Tensor
    """[d]: the weight of the last norm."""
    head: Any
    """The output layer's module."""


def recognise(model: Any) -> DecoderParts:
    """The parts of a transformers causal language model. Raises Unrecognised."""
    config = model.config
    if config.model_type not in _FAMILIES:
        raise Unrecognised(f"models of type {config.model_type} are computed by transformers")
    inside, head = model.model, model.lm_head
    _require_positions(config, inside.rotary_emb)
    layers = list(inside.layers)
    for number, layer in enumerate(layers):
        if reason := _difference(layer):
            raise Unrecognised(f"layer {number} {reason}")
    for norm in [inside.norm, *(norm for layer in layers for norm in _norms(layer))]:
        if norm.variance_epsilon != inside.norm.variance_epsilon:
            raise Unrecognised("its norms add different amounts to the mean square")
    attention = layers[0].self_attn
    shape = DecoderShape(
        layers=len(layers),
        hidden=int(config.hidden_size),
        inner=int(config.intermediate_size),
        heads=int(config.num_attention_heads),
        key_heads=int(config.num_key_value_heads),
        head_width=int(attention.head_dim),
        vocabulary=int(head.weight.shape[0]),
        context=int(config.max_position_embeddings),
        eps=float(inside.norm.variance_epsilon),
        scale=float(attention.scaling),
    )
    return DecoderParts(
        shape=shape,
        embedding=inside.embed_tokens.weight.detach(),
        rotary=inside.rotary_emb,
        layers=tuple(_layer_parts(layer, f"model.layers.{n}") for n, layer in enumerate(layers)),
        norm=inside.norm.weight.detach(),
        head=head,
    )


def is_attention(module: Any) -> bool:
    """Llama's attention: four projections, rotary embedding of whole heads, perhaps norms of heads.

    The projections may be any modules that compute a linear layer.
    """
    children = {name for name, _ in module.named_children()}
    return (
        children - {"q_norm", "k_norm"} == set(PROJECTIONS[:4])
        and len(children) in (4, 6)
        and hasattr(module, "head_dim")
        and hasattr(module, "scaling")
    )


def is_gated_mlp(module: Any) -> bool:
    """Llama's gated layer: up and gate, SiLU, down."""
    children = {name for name, _ in module.named_children()}
    return {*PROJECTIONS[4:], "act_fn"} == children and (
        type(module.act_fn).__name__ in {"SiLU", "SiLUActivation"}
    )


def is_rms_norm(module: Any) -> bool:
    """An RMSNorm whose weight is multiplied as it is."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


def _require_positions(config: Any, rotary: Any) -> None:
    """Angles do not depend on how long a row is, and every position is seen."""
    kind = getattr(rotary, "rope_type", None)
    if kind not in _STATIC_ROPE:
        raise Unrecognised(f"its rotary embedding is of type {kind}")
    context, window = config.max_position_embeddings, getattr(config, "sliding_window", None)
    if window is not None and window < context:
        raise Unrecognised(f"it sees only the last {window:,} of {context:,} positions")


def _difference(layer: nn.Module) -> str | None:
    """What keeps a layer from being one that the decoder computes."""
    children = dict(layer.named_children())
    wanted = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
    if children.keys() != wanted:
        return f"has the parts {', '.join(children)}"
    if not is_attention(children["self_attn"]):
        return "has another kind of attention"
    if not is_gated_mlp(children["mlp"]):
        return "has no gated SiLU layer"
    if not all(is_rms_norm(norm) for norm in _norms(layer)):
        return "has another kind of norm"
    return None


def _norms(layer: Any) -> list[Any]:
    attention = layer.self_attn
    inner = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    return [
        layer.input_layernorm,
        layer.post_attention_layernorm,
        *(norm for norm in inner if norm is not None),
    ]


def _layer_parts(layer: Any, prefix: str) -> LayerParts:
    first, second, *inner = (norm.weight.detach() for norm in _norms(layer))
    owners = {name: "self_attn" if name in PROJECTIONS[:4] else "mlp" for name in PROJECTIONS}
    return LayerParts(
        attention_norm=first,
        projections={n: getattr(getattr(layer, owner), n) for n, owner in owners.items()},
        weights={name: f"{prefix}.{owner}.{name}.weight" for name, owner in owners.items()},
        mlp_norm=second,
        head_norms=(inner[0], inner[1]) if inner else None,
    )
