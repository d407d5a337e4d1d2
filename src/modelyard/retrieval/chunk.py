"""A chunk: the piece of a file that is embedded, indexed and found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of one file, with nothing secret left in it."""

    text: str
    """What it says."""
    title: str = ""
    """What it stands under or is called: a trail of headings, a signature, a key path."""
    kind: str
    """What it is: section, function, class, key, script, operation, template, series, text."""
    first_line: int
    """Its first line in the file, from 1."""
    last_line: int
    """Its last line, that line included."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What `--filter` can ask for besides path and kind: language, symbol, count, first_seen ..."""

    @property
    def embedded(self) -> str:
        """The text that becomes a vector: the title above the chunk."""
        return f"{self.title}\n{self.text}" if self.title else self.text

    @property
    def digest(self) -> str:
        """SHA-256 of what is embedded: equal chunks are embedded once, wherever they stand."""
        return hashlib.sha256(self.embedded.encode()).hexdigest()
