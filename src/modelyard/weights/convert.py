"""Converts a GGUF file to bf16 safetensors and a tokenizer's files, which everything else reads.

Where its weights lie on a grid of four bits, the grid is kept beside them (grid.py).

Done once for a base: a GGUF takes 10 s and more to load each time, the result takes 1 s. torch and
transformers are imported inside the functions: only a conversion needs them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.json_reading import read_json_object
from modelyard.weights.download import SourceFailed
from modelyard.weights.grid import BLOCK_BYTES, Blocks, write_grid

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DIGITS_APART = {"smollm", "starcoder", "refact", "command-r"}
"""GGUF names of tokenizers that split off every digit before their merges apply."""


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write config, weights and tokenizer of `gguf` into the folder `target`.

    Raises SourceFailed when the file is of a kind that cannot be read.
    """
    # transformers draws bars and warns about GGUF on stderr whatever its settings; whatever matters
    # is an exception, or is checked below.
    with contextlib.redirect_stderr(io.StringIO()), _reading_once():
        try:
            _convert(gguf, target)
        except (ValueError, KeyError, NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise SourceFailed(f"its GGUF file cannot be converted: {error}") from error
    for file in target.iterdir():
        file.chmod(0o644)


@contextlib.contextmanager
def _reading_once() -> Iterator[None]:
    """Let gguf parse the file once, and build its table of names once, while the block runs.

    transformers 5.23 parses it several times, 3 s each, and builds the table for each of the
    model's 400 modules. Together that is half of the conversion.
    """
    import gguf

    originals = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, original in originals.items():
        setattr(gguf, name, functools.cache(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(gguf, name, original)


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        GenerationConfig,
        GgufConfig,
        PreTrainedTokenizerFast,
    )

    folder, file = str(gguf.parent), gguf.name
    # With the config given, it is not read from the file a second time.
    config = AutoConfig.from_pretrained(folder, gguf_file=file)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        folder, gguf_file=file, model_max_length=config.max_position_embeddings
    )
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        config=config,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        output_loading_info=True,
    )
    wrong = {kind: sorted(names) for kind, names in report.items() if names}
    if wrong:
        raise ValueError(f"its weights do not fit the architecture: {wrong}")

    model.config.__dict__.pop("_model_name_or_path", None)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    model.save_pretrained(target)
    write_grid(target, _read_blocks(gguf, model))
    _split_as_trained(tokenizer, gguf)
    tokenizer.save_pretrained(target)
    # Without what transformers records about how the tokenizer was loaded here.
    path = target / "tokenizer_config.json"
    settings = read_json_object(path)
    kept = {key: settings[key] for key in settings if key not in {"is_local", "local_files_only"}}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def _read_blocks(gguf: Path, model: Any) -> dict[str, Blocks]:
    """The blocks in a GGUF file of each weight of `model` that was made from them, by its name.

    model: the transformers model loaded from that file in bf16. Its config says how many heads it
    has: llama.cpp stores the rows of q and k of some models with the halves of each head
    interleaved. Blocks are kept in the order of rows in which their values, rounded to bf16, equal
    the weight in every place; where there is none, they are left out.
    """
    import numpy as np
    import torch
    from gguf import MODEL_ARCH_NAMES, GGUFReader, dequantize, get_tensor_name_map

    reader = GGUFReader(str(gguf))
    kind = reader.get_field("general.architecture")
    architectures = {name: number for number, name in MODEL_ARCH_NAMES.items()}
    architecture = architectures.get(kind.contents() if kind else "")
    if architecture is None:
        return {}
    config = model.config.get_text_config()
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    heads = {config.num_attention_heads, config.num_key_value_heads}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    found = {}
    for name, weight in model.state_dict().items():
        tensor = tensors.get(names.get_name(name, try_suffixes=(".weight",)) or "")
        if tensor is None or tensor.tensor_type.name not in BLOCK_BYTES or weight.ndim != 2:
            continue
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type)).to(weight.dtype)
        for rows in _row_orders(len(weight), sorted(heads)):
            if values.shape == weight.shape and torch.equal(values[rows], weight):
                size = BLOCK_BYTES[tensor.tensor_type.name]
                data = np.asarray(tensor.data)[rows].reshape(len(weight), -1, size)
                found[name] = Blocks(tensor.tensor_type.name, np.ascontiguousarray(data))
                break
    return found


def _row_orders(outputs: int, heads: Sequence[int]) -> list[npt.NDArray[np.intp]]:
    """The orders in which rows may be stored: as they are, or interleaved in so many heads."""
    import numpy as np

    rows = np.arange(outputs)
    return [rows] + [
        rows.reshape(count, -1, 2).swapaxes(1, 2).reshape(-1)
        for count in heads
        if outputs % (2 * count) == 0
    ]


def _split_as_trained(tokenizer: Any, gguf: Path) -> None:
    """Split text as in the training of the vocabulary, where transformers uses its GPT-2 default.

    Without this a blank line before a number becomes two tokens where training had one.
    Source: the pre-tokenizer table of llama.cpp (LLAMA_VOCAB_PRE_TYPE_SMOLLM).
    """
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf import read_gguf_metadata

    metadata, _ = read_gguf_metadata(str(gguf))
    if metadata.get("tokenizer.ggml.pre") in _DIGITS_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
