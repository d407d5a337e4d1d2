"""A decoder without a model, with which any mix-up gives another answer.

The next token follows from every token of the row and from the adapter each was computed with.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models

from modelyard.adapters.lora import AdapterMismatch
from modelyard.chatdata.template import ChatTemplate, ChatTokenizer
from modelyard.core.errors import InvalidInput
from modelyard.inference.interfaces import KvPiece, LoadedAdapter, Segment
from modelyard.inference.sampler import Draws, choose_tokens
from modelyard.inference.sampling import Sampling

VOCABULARY = 40
END = 0
Position = tuple[int, str | None]
"""A token, and the digest of the adapter that computed it."""


def toy_tokenizer(vocabulary: int) -> ChatTokenizer:
    """Token 7 is the text `7,` and token 0 ends an answer."""
    texts = {"<end>": END} | {f"{number},": number for number in range(1, vocabulary)}
    tokenizer = Tokenizer(models.BPE(texts, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return ChatTokenizer(
        tokenizer=tokenizer,
        template=ChatTemplate("", name="toy", special_tokens={}),
        eos_ids=frozenset({END}),
        stop_ids=frozenset({END}),
        stops_file="toy",
        pad_id=END,
        special_texts=("<end>",),
    )


TOKENIZER = toy_tokenizer(VOCABULARY)


def toy_adapter(name: str) -> LoadedAdapter:
    return LoadedAdapter(Path(name), f"sha256:{name}", 10)


@lru_cache(maxsize=100_000)
def toy_logits(row: tuple[Position, ...]) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(zlib.crc32(repr(row).encode())).standard_normal(VOCABULARY)
    ).float()


def answer_alone(
    prompt: Sequence[int], adapter: LoadedAdapter | None, sampling: Sampling
) -> tuple[int, ...]:
    """The tokens of the answer, when nothing else is computed."""
    digest = adapter.digest if adapter else None
    draws, answer = Draws(sampling), []
    while len(answer) < sampling.max_new_tokens:
        row = tuple((token, digest) for token in (*prompt, *answer))
        (token,) = choose_tokens(toy_logits(row)[None], [draws])
        if token is None or token == END:
            break
        answer.append(token)
    return tuple(answer)


@dataclass
class ToyRows:
    longest: int = 200
    room: int = 100_000
    rows: dict[int, list[Position]] = field(default_factory=dict)
    reserved: dict[int, int] = field(default_factory=dict)
    allocated: int = 0

    def allocate(self, tokens: int) -> int | None:
        if tokens > self.longest:
            raise InvalidInput("too long")
        if sum(self.reserved.values()) + tokens > self.room:
            return None
        self.allocated += 1
        self.rows[self.allocated], self.reserved[self.allocated] = [], tokens
        return self.allocated

    def release(self, row: int) -> None:
        del self.rows[row], self.reserved[row]

    def copy(self, row: int, start: int, tokens: int) -> KvPiece:
        piece = self.rows[row][start : start + tokens]
        assert len(piece) == tokens
        return KvPiece(tokens, 100 * tokens, piece)

    def write(self, row: int, start: int, piece: KvPiece) -> None:
        assert len(self.rows[row]) == start
        self.rows[row] += piece.data


@dataclass
class ToySlots:
    count: int = 4
    held: dict[int, LoadedAdapter] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Digests whose files have changed since they were loaded."""
    faulty: set[str] = field(default_factory=set)
    """Digests at which it fails in a way that nobody foresaw."""
    unloaded: set[str] = field(default_factory=set)
    fills: int = 0

    def load(self, folder: Path) -> LoadedAdapter:
        return toy_adapter(str(folder))

    def acquire(self, adapter: LoadedAdapter) -> int | None:
        if adapter.digest in self.broken or adapter.digest in self.unloaded:
            raise AdapterMismatch("has changed", where=str(adapter.folder))
        if adapter.digest in self.faulty:
            raise RuntimeError("out of memory")
        slot = next((slot for slot, held in self.held.items() if held == adapter), None)
        if slot is None:
            free = [slot for slot in range(self.count) if not self.uses.get(slot)]
            if not free:
                return None
            slot = free[0]
            self.held[slot] = adapter
            self.fills += 1
        self.uses[slot] = self.uses.get(slot, 0) + 1
        return slot

    def release(self, slot: int) -> None:
        assert self.uses[slot] > 0
        self.uses[slot] -= 1

    def unload(self, adapter: LoadedAdapter) -> None:
        assert not any(self.uses[slot] for slot, held in self.held.items() if held == adapter)
        self.unloaded.add(adapter.digest)


@dataclass
class ToyDecoder:
    kv: ToyRows = field(default_factory=ToyRows)
    bank: ToySlots = field(default_factory=ToySlots)
    steps: list[list[Segment]] = field(default_factory=list)
    vocabulary: int = VOCABULARY
    on_step: Callable[[Sequence[Segment]], None] = lambda segments: None

    def step(self, segments: Sequence[Segment]) -> torch.Tensor:
        self.on_step(segments)
        self.steps.append(list(segments))
        assert segments and len({segment.row for segment in segments}) == len(segments)
        wanted = []
        for segment in segments:
            digest = None if segment.slot is None else self.bank.held[segment.slot].digest
            row = self.kv.rows[segment.row]
            assert len(row) >= segment.start and len(segment.tokens) > 0
            del row[segment.start :]
            row += [(token, digest) for token in segment.tokens]
            assert len(row) <= self.kv.reserved[segment.row]
            ends = range(segment.start + 1, len(row) + 1)
            first = {"none": len(ends), "last": len(ends) - 1, "all": 0}[segment.logits]
            wanted += [toy_logits(tuple(row[:end])) for end in ends[first:]]
        return torch.stack(wanted) if wanted else torch.empty(0, VOCABULARY)

    @property
    def in_use(self) -> int:
        """Rows and uses of slots that were not given back."""
        return len(self.kv.rows) + sum(self.bank.uses.values())
