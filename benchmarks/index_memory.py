"""How much memory it takes to index many passages, with random vectors in place of a model's.

    python benchmarks/index_memory.py --passages 1000000 --folder /a/disk

Prints passages/s, the size of the index and of the cache, and the highest memory of the process;
fails above 2 GB.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds.embedding_models import Encoder, Fusion, SearchDomain
from modelyard.core.layout import Yard
from modelyard.core.progress import Silent
from modelyard.retrieval.domains import Domain
from modelyard.retrieval.encoders import Encoders
from modelyard.retrieval.encoding import TextEncoder
from modelyard.retrieval.update import update_domain

MOST_BYTES = 2_000_000_000
PER_FILE = 100


class RandomEncoder:
    """Gives every text a random direction."""

    fingerprint = "random"
    dimensions = 384

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def encode(
        self, texts: Sequence[str], *, on_progress: Callable[[int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        """float32 [texts, 384], unit rows."""
        rows = self._random.standard_normal((len(texts), self.dimensions), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_query(self, text: str) -> npt.NDArray[np.float32]:
        """float32 [384]."""
        return self.encode([text])[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words."""
        return [len(text.split()) for text in texts]


class RandomEncoders(Encoders):
    """Opens nothing."""

    def fingerprint(self, settings: Encoder) -> str:
        return RandomEncoder.fingerprint

    def _load(self, settings: Encoder, *, for_bulk: bool) -> TextEncoder:
        return RandomEncoder()


def write_files(folder: Path, passages: int) -> None:
    chance = random.Random(0)
    words = [f"{chance.choice('bcdfgklmnprst')}{number:x}" for number in range(20_000)]
    folder.mkdir(parents=True)
    for number in range(passages // PER_FILE):
        sections = (
            f"# Part {number}.{part}\n\n{' '.join(chance.choices(words, k=60))}\n\n"
            for part in range(PER_FILE)
        )
        (folder / f"{number}.md").write_text("".join(sections))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as root:
        yard = Yard(Path(root))
        write_files(yard.root / "docs", asked.passages)
        settings = SearchDomain(description="Many", sources=("docs/*.md",), chunker="markdown")
        encoder = Encoder(source="path", model="random", dimensions=384, max_tokens=256)
        domain = Domain(
            group="many",
            name="docs",
            settings=settings,
            encoder=encoder,
            fusion=Fusion(),
            index=yard.search_index("many", "docs"),
        )
        encoders = RandomEncoders(yard=yard, progress=Silent())
        began = time.monotonic()
        done = update_domain(yard, domain, encoders, progress=Silent())
        took_s = time.monotonic() - began
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"passages           {done.passages.total:,}")
        print(f"passages/s         {done.passages.total / took_s:,.0f}")
        print(f"index              {domain.index.stat().st_size / 1e6:,.0f} MB")
        print(f"embedding cache    {yard.embedding_cache.stat().st_size / 1e6:,.0f} MB")
        print(f"highest memory     {highest / 1e6:,.0f} MB (bar: {MOST_BYTES / 1e6:,.0f})")
        again = update_domain(yard, domain, encoders, progress=Silent())
        print(f"unchanged run      {again.took_s:.2f} s for {again.files.total:,} files")
    sys.exit(highest > MOST_BYTES or not again.unchanged)


if __name__ == "__main__":
    main()
