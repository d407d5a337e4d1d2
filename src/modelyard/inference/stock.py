"""The same steps computed by transformers and PEFT, for what the decoder does not compute.

Slower, and right for every decoder-only model whose cache is keys and values. Decoding rows of one
adapter go through the model together, padded; a chunk goes alone. Each adapter hangs on a tree of
modules of its own over the same weights, so that neither a bare row nor another adapter meets it.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from threading import RLock
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import DynamicCache

from modelyard.adapters.lora import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    AdapterMismatch,
    require_unchanged_base,
)
from modelyard.adapters.verify import require_safe_files
from modelyard.core.errors import InvalidInput
from modelyard.core.json_reading import read_json_object
from modelyard.inference.interfaces import KvPiece, LoadedAdapter, Segment

Kept = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [k, n, w] each."""


@dataclass(slots=True, eq=False)
class StockRows:
    """Keys and values as transformers' cache holds them, row by row."""

    longest: int
    """The most positions of a row."""
    budget_tokens: int
    """Positions that all rows together may reserve."""
    _reserved: dict[int, int] = field(default_factory=dict)
    _kept: dict[int, Kept] = field(default_factory=dict)
    _next: int = 0

    @property
    def size_bytes(self) -> int:
        layers = [layer for kept in list(self._kept.values()) for layer in kept]
        return sum(keys.nbytes + values.nbytes for keys, values in layers)

    def allocate(self, tokens: int) -> int | None:
        if tokens > self.longest:
            raise InvalidInput(
                f"{tokens:,} tokens are more than the {self.longest:,} that a row can hold",
                hint="shorten the prompt or ask for fewer new tokens",
            )
        if sum(self._reserved.values()) + tokens > self.budget_tokens:
            return None
        self._next += 1
        self._reserved[self._next], self._kept[self._next] = tokens, []
        return self._next

    def release(self, row: int) -> None:
        del self._reserved[row], self._kept[row]

    def copy(self, row: int, start: int, tokens: int) -> KvPiece:
        part = slice(start, start + tokens)
        kept = [(k[:, part].clone(), v[:, part].clone()) for k, v in self._kept[row]]
        return KvPiece(tokens, sum(k.nbytes + v.nbytes for k, v in kept), kept)

    def write(self, row: int, start: int, piece: KvPiece) -> None:
        self._kept[row] = _joined(self.before(row, start), piece.data)

    def before(self, row: int, start: int) -> Kept:
        """What a row holds before a position."""
        return [(k[:, :start], v[:, :start]) for k, v in self._kept[row]]

    def keep(self, row: int, kept: Kept) -> None:
        self._kept[row] = kept


@dataclass(slots=True)
class _Slot:
    adapter: LoadedAdapter | None = None
    model: Any = None
    """The PeftModel of this adapter."""
    uses: int = 0
    last_use: int = 0


class StockAdapters:
    """Adapters under PEFT, each in a slot with modules of its own: none can disturb another."""

    def __init__(self, model: Any, slots: int) -> None:
        self._model = model
        self._slots = [_Slot() for _ in range(slots)]
        self._unloaded: set[str] = set()
        self.loads = self.evictions = 0
        self._clock = 0
        self._lock = RLock()

    def load(self, folder: Path) -> LoadedAdapter:
        """Check the files in `folder`; PEFT reads them when a slot is acquired."""
        adapter = _checked(folder)
        with self._lock:
            self.loads += 1
            self._unloaded.discard(adapter.digest)
        return adapter

    def fetch(self, adapter: LoadedAdapter) -> None:
        """Nothing: PEFT reads the files into a slot."""

    def acquire(self, adapter: LoadedAdapter) -> int | None:
        with self._lock:
            self._unloaded.discard(adapter.digest)
            number = self._place(adapter)
            if number is not None:
                self._clock += 1
                self._slots[number].uses += 1
                self._slots[number].last_use = self._clock
            return number

    def release(self, slot: int) -> None:
        with self._lock:
            found = self._slots[slot]
            if not found.uses:
                raise ValueError(f"slot {slot} is not in use")
            found.uses -= 1
            if not found.uses and found.adapter and found.adapter.digest in self._unloaded:
                self._unloaded.remove(found.adapter.digest)
                self._slots[slot] = _Slot()

    def unload(self, adapter: LoadedAdapter) -> None:
        with self._lock:
            for number, slot in enumerate(self._slots):
                if slot.adapter and slot.adapter.digest == adapter.digest:
                    if slot.uses:
                        self._unloaded.add(adapter.digest)
                    else:
                        self._slots[number] = _Slot()

    def held(self) -> dict[str, int | None]:
        with self._lock:
            slots = enumerate(self._slots)
            return {slot.adapter.digest: number for number, slot in slots if slot.adapter}

    def model_of(self, slot: int | None) -> Any:
        """The model that computes rows of a slot, ready to be called."""
        if slot is None:
            return self._model
        return self._slots[slot].model

    def _place(self, adapter: LoadedAdapter) -> int | None:
        for number, slot in enumerate(self._slots):
            if slot.adapter and slot.adapter.digest == adapter.digest:
                return number
        free = [number for number, slot in enumerate(self._slots) if not slot.uses]
        if not free:
            return None
        if _checked(adapter.folder).digest != adapter.digest:
            raise AdapterMismatch("has changed since it was loaded", where=str(adapter.folder))
        number = min(free, key=lambda number: self._slots[number].last_use)
        self.evictions += self._slots[number].adapter is not None
        self.loads += 1
        self._slots[number] = _Slot()  # what it held is let go before another is read
        self._slots[number] = _Slot(adapter, self._read(adapter.folder))
        return number

    def _read(self, folder: Path) -> Any:
        """A PeftModel with the adapter in `folder`, in a tree of modules of its own."""
        from peft import PeftConfig, PeftModel  # a second or two, which only adapters are worth

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of keys that the check below finds, or of names
                config = PeftConfig.from_pretrained(str(folder))
                adapted = PeftModel(
                    _same_weights(self._model), config, _NAME, autocast_adapter_dtype=False
                )
                found = adapted.load_adapter(
                    str(folder), _NAME, autocast_adapter_dtype=False, local_files_only=True
                )
        except (ValueError, RuntimeError, KeyError, TypeError, OSError, AttributeError) as error:
            raise AdapterMismatch(
                f"PEFT cannot load it: {str(error).splitlines()[0]}", where=str(folder)
            ) from error
        missing = [key for key in found.missing_keys if f".{_NAME}." in key or key.endswith(_NAME)]
        if missing or found.unexpected_keys:
            wrong = missing[0] if missing else found.unexpected_keys[0]
            raise AdapterMismatch(
                f"{'has no' if missing else 'has an unknown'} tensor {wrong}", where=str(folder)
            )
        return adapted.eval().requires_grad_(False)


class StockDecoder:
    """A transformers model as a decoder. One thread at a time calls `step`."""

    def __init__(self, model: Any, *, kv_bytes: int = 2 << 30, slots: int = 16) -> None:
        self._model = model.eval()
        config = model.config.get_text_config()
        self._windowed = getattr(config, "sliding_window", None) is not None
        """Whether positions are counted from the end, so that padding would push some out."""
        token_bytes = self._measure_token()
        budget = kv_bytes // token_bytes
        context = getattr(config, "max_position_embeddings", budget)
        self.kv = StockRows(min(context, budget), budget)
        self.bank = StockAdapters(model, slots)
        self.vocabulary = len(model.get_input_embeddings().weight)

    @torch.inference_mode()
    def step(self, segments: Sequence[Segment]) -> Tensor:
        """Compute the segments, no two of the same row; see `TokenDecoder.step`."""
        groups: dict[tuple[int | None, int | None], list[Segment]] = {}
        for segment in segments:
            alone = segment.row if len(segment.tokens) > 1 or self._windowed else None
            groups.setdefault((segment.slot, alone), []).append(segment)
        found = {}
        for (slot, _), members in groups.items():
            logits = self._forward(self.bank.model_of(slot), members)
            for segment, own in zip(members, logits, strict=True):
                first = {"none": len(own), "last": len(own) - 1, "all": 0}[segment.logits]
                found[segment.row] = own[first:].float()
        return torch.cat([found[segment.row] for segment in segments])

    def _forward(self, model: Any, members: Sequence[Segment]) -> Tensor:
        """Segments of equal length and one adapter: logits [rows, n, v]; their rows grow."""
        before = [self.kv.before(segment.row, segment.start) for segment in members]
        starts = [segment.start for segment in members]
        count, longest = len(members[0].tokens), max(starts)
        device = self._model.device
        cache = DynamicCache()
        for number in range(len(before[0]) if longest else 0):
            k, v = (
                torch.stack([F.pad(kept[number][part], (0, 0, 0, longest - start))
                             for kept, start in zip(before, starts, strict=True)])
                for part in (0, 1)
            )  # fmt: skip
            cache.update(k, v, number)
        at = torch.tensor(starts, device=device).unsqueeze(1)
        seen = torch.arange(longest + count, device=device)
        logits: Tensor = model(
            input_ids=torch.tensor([list(s.tokens) for s in members], device=device),
            attention_mask=((seen < at) | (seen >= longest)).long(),
            position_ids=at + torch.arange(count, device=device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        for row, segment in enumerate(members):
            new = [(layer.keys[row, :, longest:], layer.values[row, :, longest:])
                   for layer in cache.layers]  # fmt: skip
            self.kv.keep(segment.row, _joined(before[row], new))
        return logits

    @torch.inference_mode()
    def _measure_token(self) -> int:
        """The bytes that one position takes in the cache. Raises InvalidInput without one."""
        cache = DynamicCache()
        ids = torch.zeros(1, 1, dtype=torch.int64, device=self._model.device)
        self._model(input_ids=ids, past_key_values=cache, use_cache=True)
        layers = [layer for layer in cache.layers if layer.keys is not None]
        size = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        if not size or len(layers) != len(cache.layers):
            raise InvalidInput(
                f"models of type {self._model.config.model_type} keep more than keys and values",
                hint="use a base whose layers are all attention, such as Llama, Mistral or Qwen",
            )
        return int(size)


def _joined(before: Kept, new: Kept) -> Kept:
    if not before:
        return new
    return [
        (torch.cat([k, new_k], 1), torch.cat([v, new_v], 1))
        for (k, v), (new_k, new_v) in zip(before, new, strict=True)
    ]


_NAME = "slot"
"""An adapter's name in its PeftModel."""


def _same_weights(model: Any) -> Any:
    """Another tree of modules over the same parameters and buffers; biases are its own.

    PEFT copies an adapter's biases (its option `bias`) into those of the base.
    """
    parts = (*model.named_parameters(), *model.named_buffers())
    shared = {id(part): part for name, part in parts if not name.endswith(".bias")}
    return copy.deepcopy(model, shared)


def _require_own_tensors(tensors: Iterable[str], config: Path) -> None:
    """Raise AdapterMismatch for a tensor that PEFT would copy into a weight of the base."""
    saved = read_json_object(config).get("modules_to_save")
    ends = tuple(map(str, saved)) if isinstance(saved, list) else ()
    for name in tensors:
        if ".lora_" in name or ".trainable_tokens_" in name or name.endswith(".bias"):
            continue
        owners = list(accumulate(name.split(".")[:-1], "{}.{}".format))
        if not any(owner.endswith(ends) for owner in owners):
            raise AdapterMismatch(
                f"has {name}, which is a weight of the base, and no module of modules_to_save",
                where=str(config.parent / WEIGHTS_NAME),
                hint="save it again without the base's own: save_embedding_layers=False in PEFT's "
                "save_pretrained",
            )


def _checked(folder: Path) -> LoadedAdapter:
    """The adapter in `folder`, its files read once. Raises AdapterMismatch."""
    require_safe_files(folder)
    require_unchanged_base(folder / CONFIG_NAME)
    weights = folder / WEIGHTS_NAME
    try:
        data = (folder / CONFIG_NAME).read_bytes(), weights.read_bytes()
        tensors = load_file(weights)
    except Exception as error:  # safetensors has an error class of its own, in its Rust part
        raise AdapterMismatch(f"cannot be read: {error}", where=str(weights)) from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise AdapterMismatch(f"has NaN or infinity in {name}", where=str(weights))
    _require_own_tensors(tensors, folder / CONFIG_NAME)
    digest = hashlib.sha256(data[0] + data[1]).hexdigest()
    return LoadedAdapter(folder, f"sha256:{digest}", sum(t.nbytes for t in tensors.values()))
