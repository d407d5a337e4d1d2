"""What a local engine keeps to, and what it has in memory. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.inference.sizes import ANSWERS_TOGETHER


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What the engine of a base keeps to."""

    max_batch: int = ANSWERS_TOGETHER
    """The most answers that are computed at once."""
    waiting: int = 1024
    """The most requests that wait for their turn; another is refused."""
    waiting_each: int = 256
    """The most of one organisation, so that none can fill the line."""
    slots: int = 16
    """The most adapters that are computed at once."""
    adapter_bytes: int = 2 << 30
    """The memory for adapters that wait to be used; the least recently used are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShare:
    """How much of each step the answers of one kind may take; further ones wait for them."""

    of: str
    """What they have in common: a domain."""
    most: int
    """The most of them that are computed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterInMemory:
    """An adapter that is loaded."""

    name: str
    """Its version, as people write it: `techcorp-demo@3`."""
    digest: str | None
    """`sha256:<hex>` of the manifest of its version; None while it has none."""
    organisation: str | None
    """Whose it is; None: nobody's."""
    size_bytes: int
    """The memory it takes while it waits."""
    slot: int | None
    """Where it is computed; None while it waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInMemory:
    """A base that is loaded, with its adapters."""

    name: str
    """Its name."""
    running: int
    """Answers that are computed."""
    waiting: int
    """Requests that wait for their turn."""
    adapters: tuple[AdapterInMemory, ...]
    """Its adapters, in no order."""
    loads: int
    """Adapters that were read since it was loaded, again ones included."""
    evictions: int
    """Adapters that were dropped for others, from a slot or from memory."""
    input_tokens: int
    """Tokens of prompts since it was loaded, those from the prefix cache included."""
    output_tokens: int
    """Tokens of answers since it was loaded."""
    kv_bytes: int
    """The memory that the rows for keys and values may take; a CPU gives what was written."""
    prefix_cache_bytes: int
    """The memory for those of shared beginnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFigures:
    """What the local engines of a process do and hold now."""

    bases: tuple[BaseInMemory, ...] = ()
    """One entry for each base in memory."""

    @property
    def running(self) -> int:
        """Answers that are computed, of all bases."""
        return sum(base.running for base in self.bases)

    @property
    def waiting(self) -> int:
        """Requests that wait, of all bases."""
        return sum(base.waiting for base in self.bases)
