"""Tokenizers in memory, of which those with the same files are one: a large one takes 10 MB."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from modelyard.chatdata.template import TOKENIZER_FILES, ChatTokenizer

_KEPT = 16


class SharedTokenizers:
    """Tokenizers and chat templates by what their files hold; threads may share it.

    The versions of an adapter, and the adapters of a base, mostly have the same files.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_digest: OrderedDict[str, ChatTokenizer] = OrderedDict()

    def load(self, folder: Path) -> ChatTokenizer:
        """As `ChatTokenizer.load`; errors of a template may name another folder of equal files."""
        digest = _digest(folder)
        with self._lock:
            found = self._by_digest.pop(digest, None)
            if found is None:
                found = ChatTokenizer.load(folder)
            self._by_digest[digest] = found
            if len(self._by_digest) > _KEPT:
                self._by_digest.popitem(last=False)
        return found


def _digest(folder: Path) -> str:
    """Of all files that a ChatTokenizer is read from; those that are not there count as that."""
    digest = hashlib.sha256()
    for name in TOKENIZER_FILES:
        path = folder / name
        data = path.read_bytes() if path.is_file() else None
        digest.update(f"{name} {'-' if data is None else len(data)}\n".encode())
        digest.update(data or b"")
    return digest.hexdigest()
