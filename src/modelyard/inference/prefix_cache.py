"""Keys and values of the beginnings of prompts, so that a shared beginning is computed once.

A beginning is kept in blocks of 32 tokens, as a tree: two prompts with one system turn share its
blocks. Every tree belongs to one organisation and one adapter digest, and blocks are found by
comparing their tokens, never by a hash alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from modelyard.inference.interfaces import KvPiece, KvRows

_BLOCK_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Scope:
    """Within which beginnings are shared: never between organisations, nor between versions."""

    organisation: str
    digest: str | None
    """Of the adapter; None for the bare base."""


_Key = tuple[Scope | int, tuple[int, ...]]
"""The block before it (the scope, for the first), and the block's own tokens."""


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    scope: Scope
    piece: KvPiece


class PrefixCache:
    """The blocks of earlier prompts and answers, the least recently used of which are dropped."""

    def __init__(self, kv: KvRows, *, limit_bytes: int) -> None:
        self._kv = kv
        self._limit_bytes = limit_bytes
        self._numbers = count()
        # A block is touched before the block that precedes it, so it is dropped before it too:
        # no block is ever kept that cannot be reached.
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self.size_bytes = 0
        """The memory that all blocks take, at most the limit."""

    def restore(self, scope: Scope, tokens: Sequence[int], row: int) -> int:
        """Write the longest known beginning of `tokens` into a fresh row; how many tokens it has.

        The last token is always left to compute: its logits choose the next one.
        """
        known = list(self._known(scope, tokens[:-1]))
        for number, (_, block) in enumerate(known):
            self._kv.write(row, number * _BLOCK_TOKENS, block.piece)
        self._touch([key for key, _ in known])
        return len(known) * _BLOCK_TOKENS

    def keep(self, scope: Scope, tokens: Sequence[int], row: int) -> None:
        """Keep what a row has computed for `tokens`, its first ones."""
        chain = list(self._known(scope, tokens))
        keys = [key for key, _ in chain]
        self._touch(keys)
        before: Scope | int = chain[-1][1].number if chain else scope
        for number in range(len(chain), len(tokens) // _BLOCK_TOKENS):
            start = number * _BLOCK_TOKENS
            piece = self._kv.copy(row, start, _BLOCK_TOKENS)
            if not self._make_room(piece.size_bytes, own=set(keys)):
                break
            block = _Block(next(self._numbers), scope, piece)
            key = (before, tuple(tokens[start : start + _BLOCK_TOKENS]))
            self._blocks[key] = block
            self.size_bytes += piece.size_bytes
            keys.append(key)
            before = block.number
        self._touch(keys)

    def drop(self, digest: str) -> None:
        """Drop what was computed with one adapter."""
        for key in [key for key, block in self._blocks.items() if block.scope.digest == digest]:
            self._remove(key)

    def _known(self, scope: Scope, tokens: Sequence[int]) -> Iterator[tuple[_Key, _Block]]:
        before: Scope | int = scope
        for start in range(0, len(tokens) - _BLOCK_TOKENS + 1, _BLOCK_TOKENS):
            key = (before, tuple(tokens[start : start + _BLOCK_TOKENS]))
            block = self._blocks.get(key)
            if block is None:
                return
            yield key, block
            before = block.number

    def _touch(self, chain: Sequence[_Key]) -> None:
        for key in reversed(chain):
            self._blocks.move_to_end(key)

    def _make_room(self, size_bytes: int, own: set[_Key]) -> bool:
        """Drop the least recently used blocks, but none of the chain that is being kept."""
        while self.size_bytes + size_bytes > self._limit_bytes:
            oldest = next(iter(self._blocks), None)
            if oldest is None or oldest in own:
                return False
            self._remove(oldest)
        return True

    def _remove(self, key: _Key) -> None:
        self.size_bytes -= self._blocks.pop(key).piece.size_bytes
