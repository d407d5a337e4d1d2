"""Speed of retrieval, side by side with its peers: `make bench-retrieval`.

sentence-transformers is no dependency: install it in an environment of its own and name its
interpreter with `--sentence-transformers DIR/bin/python`. Both encode the same chunks with the same
model, each in a process of its own, in interleaved rounds; this project's first call, which starts
torch, is counted with `--cold`. Data lie outside: `--data DIR` in the BEIR layout (corpus.jsonl).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OURS = """
import json, sys, time
from pathlib import Path
import numpy as np
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Yard
from modelyard.core.progress import Silent
from modelyard.retrieval.encoding import open_encoder
texts, target, cold = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], sys.argv[3] == "cold"
settings = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
encoder = open_encoder(Yard(Path.cwd()), settings, for_bulk=True, progress=Silent())
if not cold:
    encoder.encode((texts * (1 + 400 // len(texts)))[:400])
started = time.perf_counter()
vectors = encoder.encode(texts)
print(json.dumps(len(texts) / (time.perf_counter() - started)))
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
started = time.perf_counter()
vectors = model.encode(texts, normalize_embeddings=True)
print(json.dumps(len(texts) / (time.perf_counter() - started)))
np.save(target, vectors)
"""
"""The same through sentence-transformers with its defaults."""

BAR = 3.0


def compare_encoding(
    texts: list[str], peer: Path, *, rounds: int, cold: bool
) -> tuple[float, float, float]:
    """(chunks/s here, chunks/s of sentence-transformers, smallest cosine), medians of the rounds.

    The encoder must be in the cache: `models update-embeddings` puts it there.
    """
    ours, theirs, cosine = [], [], 1.0
    folder = str(_model_folder())
    with tempfile.TemporaryDirectory() as place:
        chunks, start = Path(place, "chunks.json"), "cold" if cold else "warm"
        chunks.write_text(json.dumps(texts))
        for _ in range(rounds):
            mine, other = Path(place, "ours.npy"), Path(place, "theirs.npy")
            ours.append(_rate(sys.executable, OURS, str(chunks), str(mine), start))
            theirs.append(_rate(str(peer), THEIRS, str(chunks), str(other), start, folder))
            both = np.load(mine) * np.load(other)
            cosine = min(cosine, float(both.sum(axis=1).min()))
    return statistics.median(ours), statistics.median(theirs), cosine


def _rate(python: str, code: str, *words: str) -> float:
    done = subprocess.run([python, "-c", code, *words], stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout))


def _model_folder() -> Path:
    from modelyard.configs.kinds.embedding_models import Encoder
    from modelyard.core.layout import Yard
    from modelyard.retrieval.encoding.sources import local_folder

    settings = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
    folder = local_folder(Yard(Path.cwd()), settings)
    if folder is None:
        raise SystemExit("the encoder is not in the cache: run `models update-embeddings` first")
    return folder


def load_texts(data: Path, limit: int) -> list[str]:
    """Title and text of the first documents of a corpus in the BEIR layout."""
    texts = []
    with (data / "corpus.jsonl").open() as lines:
        for line in lines:
            row = json.loads(line)
            texts.append(f"{row.get('title', '')} {row['text']}".strip())
            if len(texts) == limit:
                break
    return texts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--sentence-transformers", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="count the start of the engines too")
    asked = parser.parse_args()
    missed = False
    print(f"{'corpus':<14}{'chunks/s':>10}{'s-t':>8}{'times':>8}{'least cosine':>14}")
    for data in asked.data:
        texts = load_texts(data, asked.chunks)
        ours, theirs, cosine = compare_encoding(
            texts, asked.sentence_transformers, rounds=asked.rounds, cold=asked.cold
        )
        missed |= ours < BAR * theirs or cosine < 0.9999
        print(f"{data.name:<14}{ours:>10.1f}{theirs:>8.1f}{ours / theirs:>8.2f}{cosine:>14.5f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
