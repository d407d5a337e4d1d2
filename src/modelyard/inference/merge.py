"""An adapter's change written into its base: a model that stands alone, proven to answer alike.

The sum is taken in fp32 and rounded once, to the type it is stored in. What was stored is loaded
again and compared with base plus adapter before it appears. Source: Hu et al., LoRA (2021), 4.1.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import Tensor

from modelyard.adapters.export import Exported, describe_export, write_export
from modelyard.adapters.tokenizer import TOKENIZER_FILES
from modelyard.adapters.versions import AdapterVersion
from modelyard.chatdata.conversation import Conversation
from modelyard.chatdata.template import ChatTokenizer
from modelyard.chatdata.tokenizing import TokenRow, tokenize_conversations
from modelyard.core.errors import GateBreached, NoData
from modelyard.core.files import require_free_space
from modelyard.core.freed_memory import return_freed_memory
from modelyard.core.json_reading import read_json_object
from modelyard.core.layout import Project
from modelyard.core.progress import Progress
from modelyard.core.wording import counted
from modelyard.inference.built_in import BUILT_IN
from modelyard.inference.engine import LoadedModel
from modelyard.inference.open_model import open_model
from modelyard.inference.weights import load_weights
from modelyard.modelrefs.local_model import LocalModel
from modelyard.weights.local import LocalBase

StoredAs = Literal["base", "bf16", "fp32"]
LEAST_PARITY = 0.99
"""The share of equal likeliest tokens below which a merged model is not the adapter's equal."""

_DTYPES = {
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp32": torch.float32,
    "float32": torch.float32,
    "float16": torch.float16,
}


def export_merged(
    project: Project,
    version: AdapterVersion,
    base: LocalBase,
    target: Path,
    conversations: Sequence[Conversation],
    *,
    stored_as: StoredAs = "base",
    progress: Progress,
    wait_s: float = 0.0,
) -> Exported:
    """Write base and adapter as one transformers model into `target`, which must not exist.

    Both answer the `conversations`, given all that precedes each token of their answers. Raises
    GateBreached, and leaves nothing, when fewer than 99% of the likeliest tokens are equal; NoData
    when there is no answer to compare; InvalidInput when `target` holds something else.
    """
    dtype = _DTYPES[_base_dtype(base.path) if stored_as == "base" else stored_as]
    identity = describe_export(version, "merged", {"stored_as": str(dtype).removeprefix("torch.")})

    def write(staged: Path) -> dict[str, Any]:
        size_bytes = base.size_bytes * (2 if dtype == torch.float32 else 1)
        require_free_space(target, size_bytes, "a merged model")
        progress.stage(f"merge: {version.name} into {base.name}")
        tuned = open_model(LocalModel(base=base, version=version), precision="fp32")
        rows = answer_rows(conversations, tuned.tokenizer)
        if not rows:
            raise NoData("there is no conversation on which to compare the merged model")
        wanted = likeliest_tokens(tuned, rows)
        del tuned
        return_freed_memory()
        _write_model(_merged(base, version), dtype, staged)
        for name in TOKENIZER_FILES:
            if (version.path / name).is_file():
                shutil.copyfile(version.path / name, staged / name)

        progress.stage(
            f"compare: {counted(len(wanted), 'token')} of {counted(len(rows), 'answer')}"
        )
        stored = replace(base, path=staged, fingerprint="", size_bytes=0, source="just merged")
        merged = open_model(LocalModel(base=stored), precision="fp32")
        share = agreement(wanted, likeliest_tokens(merged, rows))
        if share < LEAST_PARITY:
            raise GateBreached(
                f"the merged model agrees with {version.name} on {share:.2%} of {len(wanted):,} "
                f"tokens, and {LEAST_PARITY:.0%} are asked; nothing was written",
                where=str(target),
                hint="store it with more digits: `--store-as fp32`"
                if dtype != torch.float32
                else "keep base and adapter apart: `--format peft`, which PEFT loads as it is",
            )
        return {"parity": share, "tokens": len(wanted), "answers": len(rows)}

    return write_export(project, target, identity, write, wait_s=wait_s)


def _base_dtype(folder: Path) -> str:
    config = read_json_object(folder / "config.json")
    found = str(config.get("dtype") or config.get("torch_dtype"))
    return found if found in _DTYPES else "bfloat16"


def _merged(base: LocalBase, version: AdapterVersion) -> Any:
    """The base with the adapter added to its weights, in fp32."""
    model = load_weights(base.path, precision="fp32", device="cpu")
    adapted: Any = PeftModel.from_pretrained(
        model, version.path, autocast_adapter_dtype=False, local_files_only=True
    )
    return adapted.merge_and_unload(safe_merge=True)


def _write_model(model: Any, dtype: torch.dtype, folder: Path) -> None:
    model = model.to(dtype)
    model.config.__dict__.pop("_model_name_or_path", None)  # a path of this machine
    model.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes its own private


def answer_rows(
    conversations: Sequence[Conversation], tokenizer: ChatTokenizer, *, max_length: int = 1024
) -> tuple[TokenRow, ...]:
    """The conversations as tokens with their answers marked; those that cannot be are left out."""
    return tokenize_conversations(conversations, tokenizer, max_length=max_length).rows


def likeliest_tokens(model: LoadedModel, rows: Sequence[TokenRow]) -> list[int]:
    """The likeliest next token before each token of each row's answers, in order."""
    found: list[list[int]] = [[] for _ in rows]
    for piece in model.engine.label_logits([(model, row) for row in rows]):
        found[piece.number] += piece.logits.argmax(-1).tolist()
    return [token for tokens in found for token in tokens]


def agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """The share of equal tokens, 0 to 1."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def measure_logit_change(model: LoadedModel) -> float:
    """The largest change of a logit by the model's adapter, within the built-in conversations."""
    rows = answer_rows(BUILT_IN, model.tokenizer)
    both = [(one, row) for one in (model, model.without_adapter) for row in rows]
    logits: list[list[Tensor]] = [[] for _ in both]
    for piece in model.engine.label_logits(both):
        logits[piece.number].append(piece.logits)
    whole = [torch.cat(pieces) for pieces in logits]
    changes = zip(whole[: len(rows)], whole[len(rows) :], strict=True)
    return max(float((tuned - bare).abs().max()) for tuned, bare in changes)
