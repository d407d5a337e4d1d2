"""Vectors are kept every few seconds, however fast the encoder is, and nothing is made twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from index_projects import ENCODER
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.retrieval.cache import EmbeddingCache, open_cache
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.embed import Embedding
from toy_encoder import ToyEncoder


class TimedEncoder(ToyEncoder):
    """Takes a second for so many characters, on a clock of its own."""

    def __init__(self, characters_per_s: float, start_s: float) -> None:
        super().__init__(dimensions=8)
        self.now_s = 0.0
        self.took_s: list[float] = []
        self._characters_per_s, self._start_s = characters_per_s, start_s

    def encode(
        self, texts: Sequence[str], *, on_progress: Callable[[int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        took_s = self._start_s + sum(map(len, texts)) / self._characters_per_s
        self._start_s = 0.0
        self.now_s += took_s
        self.took_s.append(took_s)
        self.encoded.extend(texts)
        if on_progress is not None:
            on_progress(len(texts))
        return np.ones((len(texts), 8), np.float32) / np.sqrt(8, dtype=np.float32)


@dataclass
class OneEncoder:
    """Hands out one encoder."""

    encoder: TimedEncoder
    asked: list[int] = field(default_factory=list)

    def open(self, settings: object, *, texts: int = 0) -> TimedEncoder:
        self.asked.append(texts)
        return self.encoder


class Figures(Silent):
    """Keeps what was said of the time left."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def advance(self, done: float, figures: str = "") -> None:
        self.said.append(figures)


def chunks(count: int) -> list[Chunk]:
    """Texts of very different lengths."""
    return [
        Chunk(text=f"{number} " + "word " * (number % 97), kind="text", first_line=1, last_line=1)
        for number in range(count)
    ]


def embed(
    folder: Path, encoder: TimedEncoder, some: Sequence[Chunk], progress: Silent
) -> tuple[Embedding, dict[str, bytes]]:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    with open_cache(Project(folder), "timed", progress) as cache:
        embedding = Embedding(
            settings=ENCODER,
            encoders=OneEncoder(encoder),  # type: ignore[arg-type]
            cache=cache,
            progress=progress,
        )
        return embedding, embedding.vectors(some)


@pytest.mark.parametrize(
    ("characters_per_s", "start_s", "fewest", "most"),
    [(2_000.0, 0.0, 50, 300), (10_000_000.0, 0.0, 4, 9), (40_000.0, 8.0, 4, 25)],
    ids=["a slow machine", "a fast machine", "one that starts slowly"],
)
def test_a_killed_run_loses_seconds_of_work_however_fast_the_encoder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    characters_per_s: float,
    start_s: float,
    fewest: int,
    most: int,
) -> None:
    encoder = TimedEncoder(characters_per_s, start_s)
    monkeypatch.setattr("modelyard.retrieval.embed.time.monotonic", lambda: encoder.now_s)
    some = chunks(4_000)
    _, vectors = embed(tmp_path, encoder, some, Silent())
    assert vectors.keys() == {item.digest for item in some}
    assert max(encoder.took_s) <= 10.0
    assert fewest <= len(encoder.took_s) <= most


def test_what_was_kept_before_a_failure_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, kept = EmbeddingCache.keep, [0]

    def keep_twice(self: EmbeddingCache, vectors: dict[str, bytes]) -> None:
        if kept[0] == 2:
            raise KeyboardInterrupt
        kept[0] += 1
        keep(self, vectors)

    monkeypatch.setattr(EmbeddingCache, "keep", keep_twice)
    encoder, some = TimedEncoder(1e9, 0), chunks(1_000)
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path, encoder, some, Silent())
    monkeypatch.undo()
    before = len(encoder.encoded)
    embedding, vectors = embed(tmp_path, encoder, some, Silent())
    assert 0 < embedding.from_cache < before < 1_000
    assert embedding.embedded + embedding.from_cache == len(vectors) == 1_000


def test_the_time_left_counts_long_texts_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, progress = TimedEncoder(1_000, 0), Figures()
    monkeypatch.setattr("modelyard.retrieval.embed.time.monotonic", lambda: encoder.now_s)
    some = chunks(2_000)
    embed(tmp_path, encoder, some, progress)
    needed_s = sum(len(item.embedded) for item in some) / 1_000
    assert progress.said[0].endswith(f"{(needed_s - encoder.took_s[0]) / 60:.0f} min left")
    assert progress.said[-1].endswith("0 s left")
