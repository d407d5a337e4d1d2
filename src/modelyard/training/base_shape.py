"""The sizes of a base, from its config.json alone. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.configs.kinds.fine_tuning import LoraSettings
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import read_json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseShape:
    """The sizes in a base's config.json."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    tied: bool

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear module of a layer."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    def adapted_shapes(self, lora: LoraSettings) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear module of a layer that gets an adapter."""
        shapes = self.linear_shapes
        if lora.targets == ("all-linear",):
            return shapes
        return {name: shape for name, shape in shapes.items() if name in lora.targets}

    def adapter_parameters(self, lora: LoraSettings) -> int:
        """How many weights the adapter has."""
        return self.layers * sum(
            lora.rank * (inputs + outputs) + (outputs if lora.dora else 0)
            for inputs, outputs in self.adapted_shapes(lora).values()
        )

    @property
    def linear_parameters(self) -> int:
        """Parameters of all linear modules inside the layers."""
        return self.layers * sum(a * b for a, b in self.linear_shapes.values())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding and, if it is not the same matrix, the output layer."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)


def load_base_shape(folder: Path) -> BaseShape:
    """Read the shape from config.json. Raises InvalidInput when a figure is missing."""
    path = folder / "config.json"
    config = read_json_object(path)
    config = config.get("text_config", config)
    try:
        heads = config["num_attention_heads"]
        return BaseShape(
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            key_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise InvalidInput(
            f"does not say {error}, so this is no decoder that can be trained here",
            where=str(path),
        ) from error
