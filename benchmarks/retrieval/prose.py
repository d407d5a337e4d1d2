"""Real text to index: windows of words over the Python that runs this, or over a folder given."""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.retrieval.chunk import Chunk

_ENDINGS = (".py", ".md", ".rst", ".txt")
_MOST_OF_ONE_FILE = 400_000
"""Bytes; beyond it are tables and generated code."""


def python_sources() -> list[Path]:
    """The standard library and the installed packages."""
    paths = sysconfig.get_paths()
    return [Path(paths["stdlib"]), Path(paths["purelib"])]


def windows(folders: Sequence[Path], *, words: int = 80) -> Iterator[Chunk]:
    """One chunk after another, each of that many words, as long as there is text."""
    for path in _texts(folders):
        lines = path.read_bytes()[:_MOST_OF_ONE_FILE].decode(errors="replace").splitlines()
        title = f"{path.parent.name} > {path.stem}"
        gathered: list[str] = []
        first = count = 0
        for number, line in enumerate(lines, 1):
            first = first or number
            gathered.append(line)
            count += len(line.split())
            if count >= words:
                text = "\n".join(gathered).strip()
                yield Chunk(
                    text=text, title=title, kind="section", first_line=first, last_line=number
                )
                gathered, first, count = [], 0, 0


def _texts(folders: Sequence[Path]) -> Iterator[Path]:
    """Each file once: site-packages may lie inside the standard library's folder."""
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in _ENDINGS and path not in seen and path.is_file():
                seen.add(path)
                yield path


def load_queries(sets: Sequence[Path], chunks: Sequence[Chunk], count: int) -> list[str]:
    """Distinct queries: those of the sets in BEIR's layout, and then pieces of chunks."""
    asked: dict[str, None] = {}
    for folder in sets:
        with (folder / "queries.jsonl").open() as lines:
            asked |= dict.fromkeys(json.loads(line)["text"] for line in lines)
    chance = random.Random(0)
    mixed = list(asked)
    chance.shuffle(mixed)
    asked = dict.fromkeys(mixed)
    while len(asked) < count:
        words = [word for word in chance.choice(chunks).text.split() if word.isalnum()]
        if len(words) > 8:
            asked[" ".join(words[:6])] = None
    return list(asked)[:count]
