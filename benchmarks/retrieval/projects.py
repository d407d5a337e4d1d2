"""Projects to measure in: one search index, filled with chunks that no file holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelyard.core.layout import Project
from modelyard.encoders import encoder_fingerprint
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.indexes import SearchIndex, load_indexes
from modelyard.setup.init import init_project

INDEX = "bench/notes"
_CONFIG = """\
description: Notes to measure with
modalities: [text]
encoder:
  source: wheel
  model: all-minilm-l6-v2
  dimensions: 384
  max_tokens: 256
domains:
"""
_INDEX = """\
  {name}:
    description: Notes
    sources: ["{name}/**/*.md"]
    chunker: markdown
"""
_CENTRES = 1_000
_CHUNKS_IN_A_FILE = 10
_NO_FILE = "1970-01-01T00:00:00Z"


def make_project(folder: Path) -> tuple[Project, SearchIndex]:
    """A project as `models init` makes it, with one index more: notes/**/*.md."""
    project, (index,) = make_project_of_several(folder, ["notes"])
    return project, index


def make_project_of_several(
    folder: Path, names: Sequence[str]
) -> tuple[Project, list[SearchIndex]]:
    """The same with several indexes more, each of the Markdown files of its own folder."""
    project = init_project(folder).project
    config = _CONFIG + "".join(_INDEX.format(name=name) for name in names)
    (project.configs / "embedding_models" / "bench.yaml").write_text(config)
    declared = load_indexes(project)
    return project, [declared[f"bench/{name}"] for name in names]


def real_fingerprint(project: Project, index: SearchIndex) -> str:
    """That of the encoder that will be asked."""
    return encoder_fingerprint(project, index.encoder)


def directions(count: int, dimensions: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Unit rows around some centres, as texts of some topics lie: float32 [count, dimensions]."""
    centres = np.random.default_rng(0).standard_normal((_CENTRES, dimensions), np.float32)
    chance = np.random.default_rng(seed)
    rows = centres[chance.integers(0, _CENTRES, count)]
    rows += chance.standard_normal((count, dimensions), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def write_index(
    index: SearchIndex,
    chunks: Iterable[Chunk],
    vectors: Iterable[npt.NDArray[np.float32]],
    *,
    fingerprint: str,
) -> int:
    """An index of these chunks, one vector each, through what every update uses; how many.

    Files are made up: ten chunks each.
    """
    written = 0
    pairs = zip(chunks, vectors, strict=False)
    with build_beside(
        index.path,
        encoder=fingerprint,
        dimensions=index.encoder.dimensions,
        chunking=index.chunking,
    ) as build:
        for number, some in enumerate(_files(pairs)):
            file = [chunk for chunk, _ in some]
            halves = {chunk.digest: vector.astype(VECTOR_TYPE).tobytes() for chunk, vector in some}
            build.add_file(_record(f"notes/{number:06d}.md"), file, halves)
            written += len(file)
    return written


def _files(
    pairs: Iterator[tuple[Chunk, npt.NDArray[np.float32]]],
) -> Iterator[list[tuple[Chunk, npt.NDArray[np.float32]]]]:
    while some := list(islice(pairs, _CHUNKS_IN_A_FILE)):
        yield some


def _record(path: str) -> FileRecord:
    return FileRecord(path=path, sha256="", size_bytes=0, mtime_ns=0, modified_at=_NO_FILE, seen="")
