"""The shapes of a base's modules as far as its card tells them, where its weights are not here."""

from __future__ import annotations

from modelyard.weights.catalogue import BaseCard


def card_shapes(card: BaseCard) -> dict[str, tuple[int, ...]]:
    """The shape of the matrices of each layer, under the names that Llama and most others use.

    None of a card without an architecture.
    """
    size = card.architecture
    if size is None:
        return {}
    queries, keys = size.heads * size.head_dim, size.kv_heads * size.head_dim
    layer = {
        "self_attn.q_proj": (queries, size.hidden_size),
        "self_attn.k_proj": (keys, size.hidden_size),
        "self_attn.v_proj": (keys, size.hidden_size),
        "self_attn.o_proj": (size.hidden_size, queries),
        "mlp.gate_proj": (size.intermediate_size, size.hidden_size),
        "mlp.up_proj": (size.intermediate_size, size.hidden_size),
        "mlp.down_proj": (size.hidden_size, size.intermediate_size),
    }
    return {
        f"model.layers.{number}.{name}": shape
        for number in range(size.layers)
        for name, shape in layer.items()
    }
