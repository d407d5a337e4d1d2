"""A project to back up: adapter versions, a search index, configs; and a change of the index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.retrieval.projects import directions, make_project, real_fingerprint
from benchmarks.retrieval.prose import python_sources, windows
from modelyard.adapters.manifest import MANIFEST_NAME
from modelyard.core.files import sha256_file, write_json
from modelyard.core.layout import Project
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord, open_index
from modelyard.retrieval.index_writer import Changes, FileChange, apply_changes, build_beside
from modelyard.retrieval.indexes import SearchIndex

VERSIONS = 40
VERSION_BYTES = 10_000_000
CHUNKS = 200_000
FILES = 3_000
CONFIGS = 500
RECUT_FILES = 15
_ADAPTERS = 4
_BLOCK = 4_096
_TEMPLATE = Path(__file__).parents[2] / "configs/language_models/gpt4_config.yaml"


def make_data(folder: Path, *, share: float) -> tuple[Project, SearchIndex]:
    """The project; `share` of all that the bars speak of, such as 0.01 for a trial."""
    project, index = make_project(folder)
    for number in range(max(_ADAPTERS, round(VERSIONS * share))):
        _write_version(project, number)
    _write_index(project, index, round(CHUNKS * share), round(FILES * share))
    template = _TEMPLATE.read_text()
    for number in range(round(CONFIGS * share)):
        text = re.sub(r"requests_per_minute: \d+", f"requests_per_minute: {number + 1}", template)
        (project.configs / "language_models" / f"model_{number:04d}.yaml").write_text(text)
    return project, index


def recut(index: SearchIndex, number: int, *, files: int) -> int:
    """Cut some files of the index again, as an update does; `number` says which and how.

    Every chunk of these files is replaced. Returns how many chunks that were.
    """
    with open_index(index.path) as reader:
        known = list(reader.files())
        chosen = [known[(number + step * 197) % len(known)] for step in range(files)]
        old = {file.id: reader.chunks_of_file(file.id) for file in chosen}
    changes, vectors = [], {}
    for file in chosen:
        words = " ".join(chunk.text for chunk in old[file.id]).split(" ")
        size = max(1, len(words) // len(old[file.id]))
        words = words[(number + 1) * 7 % size :]
        added = [
            _chunk(" ".join(words[start : start + size]), f"{file.path} {number}.{start}")
            for start in range(0, len(words), size)
        ]
        rows = directions(len(added), index.encoder.dimensions, seed=file.id * 100 + number)
        vectors |= {
            chunk.digest: row.astype(VECTOR_TYPE).tobytes()
            for chunk, row in zip(added, rows, strict=True)
        }
        removed = [chunk.id for chunk in old[file.id]]
        changes.append(
            FileChange(record=_record(file.path), file_id=file.id, added=added, removed=removed)
        )
    apply_changes(index.path, Changes(files=changes), vectors)
    return sum(len(chunks) for chunks in old.values())


def _write_version(project: Project, number: int) -> None:
    """A version's files; its weights are bfloat16 numbers as training leaves them."""
    folder = project.adapter_version(f"bench-{number % _ADAPTERS}", number // _ADAPTERS + 1)
    folder.mkdir(parents=True)
    values = np.random.default_rng(number).standard_normal(VERSION_BYTES // 2, np.float32) * 0.02
    weights = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    header = {
        "x": {"dtype": "BF16", "shape": [len(weights) // 2], "data_offsets": [0, len(weights)]}
    }
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + weights
    (folder / "adapter_model.safetensors").write_bytes(data)
    (folder / "adapter_config.json").write_text('{"r": 16}')
    (folder / "TRAINING_INFO.md").write_text(f"# run {number}\n")
    files = {
        path.name: {"sha256": sha256_file(path), "size_bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    write_json(folder / MANIFEST_NAME, {"files": files})


def _write_index(project: Project, index: SearchIndex, chunks: int, files: int) -> None:
    texts = islice(windows(python_sources()), chunks)
    rows = (
        row
        for block in range(-(-chunks // _BLOCK))
        for row in directions(_BLOCK, index.encoder.dimensions, seed=block)
    )
    pairs = zip(texts, rows, strict=False)
    with build_beside(
        index.path,
        encoder=real_fingerprint(project, index),
        dimensions=index.encoder.dimensions,
        chunking=index.chunking,
    ) as build:
        for number in range(files):
            some = list(islice(pairs, -(-chunks // files)))
            halves = {chunk.digest: row.astype(VECTOR_TYPE).tobytes() for chunk, row in some}
            build.add_file(_record(f"notes/{number:06d}.md"), [chunk for chunk, _ in some], halves)


def _chunk(text: str, title: str) -> Chunk:
    return Chunk(text=text, title=title, kind="section", first_line=1, last_line=2)


def _record(path: str) -> FileRecord:
    return FileRecord(
        path=path, sha256="", size_bytes=0, mtime_ns=0, modified_at="1970-01-01T00:00:00Z", seen=""
    )


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def size_below(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in files_below(folder))
