"""What a scheduler needs of a decoder, whichever computes: rows, slots for adapters, and one step.

`Decoder` computes every row of a step together; `StockDecoder` asks transformers and PEFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

LogitsWanted = Literal["none", "last", "all"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of one row in a step."""

    row: int
    """The row of the decoder's `kv`."""
    tokens: Sequence[int]
    """n >= 1 token ids: the next token of a running answer, or a chunk of a prompt."""
    start: int
    """The position of the first of them in its row; what precedes it was computed before, and what
    the row has from there on is written over."""
    slot: int | None
    """The slot of `bank` whose adapter counts; None for the bare base."""
    logits: LogitsWanted
    """For which of these tokens the logits of the next token are returned."""


@dataclass(frozen=True, slots=True, eq=False)
class KvPiece:
    """A copy of the keys and values of consecutive tokens, to be written into other rows."""

    tokens: int
    """How many positions it holds."""
    size_bytes: int
    """The memory it takes."""
    data: Any
    """The copy, in the form of the cache that made it."""


class KvRows(Protocol):
    """Keys and values of the running answers, one row for each."""

    @property
    def longest(self) -> int:
        """The most tokens that one row can hold."""

    @property
    def size_bytes(self) -> int:
        """The memory that the rows can take."""

    def allocate(self, tokens: int) -> int | None:
        """A row with room for `tokens` positions; None when there is none until a row is released.

        Raises InvalidInput when no row can ever hold that many.
        """

    def release(self, row: int) -> None:
        """Give the row back. Nothing of it stays readable."""

    def copy(self, row: int, start: int, tokens: int) -> KvPiece:
        """A copy of `tokens` positions of a row from `start` on, all computed before."""

    def write(self, row: int, start: int, piece: KvPiece) -> None:
        """Write a piece into a row, in place of computing it; the row has `start` positions."""


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """An adapter that was read and checked; it stays valid when the bank drops its tensors."""

    folder: Path
    """Where its files are, for when they must be read again."""
    digest: str
    """`sha256:<hex>` of its config and weights: two adapters of one digest are one."""
    size_bytes: int
    """The memory its tensors take on the host."""


class AdapterSlots(Protocol):
    """Slots for the adapters of the running batch, and the adapters that wait on the host."""

    def load(self, folder: Path) -> LoadedAdapter:
        """Read and check the adapter in `folder`.

        Raises AdapterMismatch when its files are damaged or do not fit the base, AdapterNotCarried
        when it does what this decoder does not compute.
        """

    def fetch(self, adapter: LoadedAdapter) -> None:
        """Have the adapter's tensors in memory, so that `acquire` need not read them.

        From any thread, beside a step. Raises what `load` raises when the files have changed.
        """

    def acquire(self, adapter: LoadedAdapter) -> int | None:
        """A slot with this adapter in it, counted as one more use of it.

        None when every slot is in use by others. Reads the files again when the host has dropped
        the tensors, and raises what `load` raises when they have changed.
        """

    def release(self, slot: int) -> None:
        """End one use of a slot."""

    @property
    def loads(self) -> int:
        """How often an adapter's files were read."""

    @property
    def evictions(self) -> int:
        """How often an adapter had to leave a slot, or the host's memory, for another."""

    def held(self) -> dict[str, int | None]:
        """The adapters in memory by their digest, with the slot of each that is in one."""

    def unload(self, adapter: LoadedAdapter) -> None:
        """Drop the adapter, from its slot too as soon as nothing uses it.

        Who acquires it later has its files read again.
        """


class TokenDecoder(Protocol):
    """A base in memory that computes the next step of any mixture of rows and adapters."""

    @property
    def kv(self) -> KvRows: ...

    @property
    def bank(self) -> AdapterSlots: ...

    @property
    def vocabulary(self) -> int:
        """How many tokens the base can read: ids from 0 on."""

    def step(self, segments: Sequence[Segment]) -> Tensor:
        """Compute the segments together, no two of the same row.

        Returns float32 [places, v]: the logits after each token that wants them, in the order of
        the segments, on the decoder's device.
        """
