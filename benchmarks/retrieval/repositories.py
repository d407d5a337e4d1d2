"""How well code is found by file: nDCG@10 of questions and symbols over whole repositories.

    python -m benchmarks.retrieval.repositories --questions FILE --sources DIR

FILE has a JSON object a line: `repository` (OWNER/NAME), `query`, the files that answer it in
`primary` (gain 2) and `secondary` (gain 1). DIR has a folder NAME for each repository.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.retrieval.processes import models
from benchmarks.retrieval.table import Row, report
from modelyard.core.progress import Silent
from modelyard.retrieval.evaluate import Estimate, evaluate_search
from modelyard.setup.init import init_project

BAR = 0.80
_ENDINGS = ("go", "java", "c", "h", "rs", "rb", "js", "ts", "py", "sh", "bash")
_CONFIG = """\
description: One repository
modalities: [text, code]
encoder:
  source: wheel
  model: all-minilm-l6-v2
  dimensions: 384
  max_tokens: 256
fusion:
  dense: 85%
domains:
  sources:
    description: Its source code
    sources: [{globs}]
    chunker: code
"""


def measure(questions: Path, sources: Path) -> list[Row]:
    """One row for each repository, and one for all questions."""
    rows = [json.loads(line) for line in questions.read_text().splitlines() if line]
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row["repository"]).partition("/")[2], []).append(row)
    found = {name: _evaluate(sources / name, asked) for name, asked in by_name.items()}
    sizes = np.array([len(asked) for asked in by_name.values()])
    whole = float((sizes * [each.value for each in found.values()]).sum() / sizes.sum())
    return [
        *(
            Row(what=f"code by file, {name}, {len(by_name[name])} queries", ours=each.shown)
            for name, each in found.items()
        ),
        Row(
            what=f"code by file, all {sizes.sum()} queries, nDCG@10",
            ours=f"{whole:.3f}",
            bar=f"at least {BAR:.2f}",
            hit=whole >= BAR,
        ),
    ]


def _evaluate(source: Path, asked: Sequence[Mapping[str, Any]]) -> Estimate:
    with tempfile.TemporaryDirectory(prefix="bench-code-") as place:
        folder = Path(place) / source.name
        shutil.copytree(source, folder, symlinks=True)
        project = init_project(folder).project
        globs = ", ".join(f'"**/*.{ending}"' for ending in _ENDINGS)
        config = project.configs / "embedding_models" / "bench.yaml"
        config.write_text(_CONFIG.format(globs=globs))
        models(folder, "update-embeddings", "--domain", "bench/sources")
        queries, qrels = Path(place) / "queries.jsonl", Path(place) / "qrels.tsv"
        queries.write_text(
            "".join(
                json.dumps({"_id": str(number), "text": row["query"]}) + "\n"
                for number, row in enumerate(asked)
            )
        )
        qrels.write_text(
            "".join(
                f"{number}\t{path}\t{gain}\n"
                for number, row in enumerate(asked)
                for gain, paths in ((2, row["primary"]), (1, row["secondary"]))
                for path in paths
            )
        )
        (evaluation,) = evaluate_search(
            project, queries, qrels=qrels, indexes=["bench/sources"], progress=Silent()
        )
    return evaluation.measures["nDCG@10"].fused


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=Path, required=True, metavar="FILE")
    parser.add_argument("--sources", type=Path, required=True, metavar="DIR")
    asked = parser.parse_args()
    return report(measure(asked.questions, asked.sources))


if __name__ == "__main__":
    sys.exit(main())
