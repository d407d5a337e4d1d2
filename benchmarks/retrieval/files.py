"""Updates of 10,000 files in a git repository: nothing changed, and one file edited.

    python -m benchmarks.retrieval.files

Every figure is that of a process, as cron or a person starts it. The first index takes its vectors
from the embedding cache, where random ones are put beforehand under the real encoder's fingerprint:
how fast texts are embedded is measured elsewhere. The edited chunk is embedded for real.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.retrieval.processes import models, run
from benchmarks.retrieval.projects import INDEX, directions, make_project, real_fingerprint
from benchmarks.retrieval.prose import python_sources, windows
from benchmarks.retrieval.table import Row, report
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.encoders import open_encoder
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.index_file import VECTOR_TYPE
from modelyard.retrieval.indexes import SearchIndex
from modelyard.retrieval.reading.chunks import read_chunks

UNCHANGED_S, EDITED_S = 1.0, 2.0
FILES = 10_000
ROUNDS = 7
_IN_ONE_FOLDER = 100
_CLOCK_SETTLES_S = 2.5
"""A file younger than two seconds is hashed again by the next update."""
_NEWS = (
    "A walrus sleeps below the lighthouse until the herring return in spring.",
    "Sourdough rises slowly when the kitchen window is left open at night.",
    "The bishop lent his violin to a carpenter who repaired the cathedral's roof.",
    "Glaciers carry granite boulders down valleys and leave them in meadows.",
    "An orchid blooms for eleven weeks if nobody moves its pot.",
    "The submarine's cook grew mushrooms beside the reactor's warm bulkhead.",
    "Children painted the tram yellow after the orchestra's last rehearsal.",
    "Comets lose their tails once they pass the orbit of Jupiter again.",
)
"""What is written into files, each about something else."""
_KEPT_AT_ONCE = 5_000


def measure(text: Sequence[Path], *, files: int = FILES, rounds: int = ROUNDS) -> list[Row]:
    """Rows for an unchanged tree and for one edited file."""
    with tempfile.TemporaryDirectory(prefix="bench-files-") as place:
        project, index = make_project(Path(place))
        paths = write_tree(project, text, files)
        _commit(project)
        _fill_cache(project, index, paths)
        time.sleep(_CLOCK_SETTLES_S)
        first = _update(project)
        _require(first["embedded"] == 0, "the first index was to come from the cache")
        ours, git = _compare_unchanged(project, rounds)
        edits = [
            _edit(project, path, number) for number, path in enumerate(paths[:: files // rounds])
        ]
    chunks = first["passages"]["added"]
    unchanged, status = statistics.median(ours), statistics.median(git)
    updated, found = (statistics.median(times) for times in zip(*edits, strict=True))
    return [
        Row(
            what=f"unchanged re-run, {files:,} files, {chunks:,} chunks",
            ours=f"{unchanged:.2f} s, 0 embedded",
            peer=f"`git status` {status:.2f} s",
            ratio=f"{unchanged / status:.1f}",
            bar=f"under {UNCHANGED_S:.0f} s, 0 embedded",
            hit=unchanged < UNCHANGED_S,
        ),
        Row(
            what=f"one edited file of {files:,}, until `models search` has shown it",
            ours=f"{found:.2f} s (in the index after {updated:.2f} s)",
            bar=f"under {EDITED_S:.0f} s",
            hit=found < EDITED_S,
        ),
    ]


def write_tree(project: Project, text: Sequence[Path], files: int) -> list[Path]:
    """Markdown files of two sections each, a hundred to a folder."""
    sections = _sections(text)
    paths = []
    for number in range(files):
        folder = project.root / "notes" / f"{number // _IN_ONE_FOLDER:03d}"
        if number % _IN_ONE_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"note-{number:05d}.md"
        body = "".join(f"## {title}\n\n{words}\n\n" for title, words in islice(sections, 2))
        path.write_text(f"# Note {number}\n\n{body}")
        paths.append(path)
    return paths


def _sections(text: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Titles and words of real text, without the marks that Markdown understands."""
    for chunk in windows(text):
        words = [word for word in chunk.text.split() if word.isalnum() and word.isascii()]
        if len(words) > 20:
            yield " ".join(words[:4]), " ".join(words)


def _commit(project: Project) -> None:
    run(["git", "init", "--quiet"], project.root)
    run(["git", "add", "--all"], project.root)
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    run(["git", *who, "commit", "--quiet", "--message", "Notes"], project.root)


def _fill_cache(project: Project, index: SearchIndex, paths: Sequence[Path]) -> None:
    """A vector for every chunk that the update will cut."""
    count_tokens = open_encoder(project, index.encoder).count_tokens
    digests = list(
        {
            chunk.digest
            for path in paths
            for chunk in read_chunks(
                path.read_bytes(), project.show(path), index.settings, count_tokens
            )
        }
    )
    vectors = directions(len(digests), index.encoder.dimensions, seed=1).astype(VECTOR_TYPE)
    with open_cache(project, real_fingerprint(project, index), Silent()) as cache:
        for start in range(0, len(digests), _KEPT_AT_ONCE):
            some = slice(start, start + _KEPT_AT_ONCE)
            pairs = zip(digests[some], vectors[some], strict=True)
            cache.keep({digest: vector.tobytes() for digest, vector in pairs})


def _compare_unchanged(project: Project, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of `models update-embeddings` and of `git status`, in turn."""
    ours, git = [], []
    for number in range(rounds + 1):
        began = time.perf_counter()
        outcome = _update(project)
        seconds = time.perf_counter() - began
        _require(outcome["unchanged"] and outcome["embedded"] == 0, "nothing was to change")
        status = run(["git", "status", "--porcelain"], project.root)
        _require(not status.stdout, "git was to find nothing")
        if number:  # the first fills the disk cache
            ours.append(seconds)
            git.append(status.seconds)
    return ours, git


def _edit(project: Project, path: Path, number: int) -> tuple[float, float]:
    """Seconds until the update has ended, and until a search has shown the new chunk."""
    text = _NEWS[number % len(_NEWS)]
    with path.open("a") as file:
        file.write(f"## News\n\n{text}\n")
    began = time.perf_counter()
    outcome = _update(project)
    updated = time.perf_counter() - began
    _require(
        outcome["files"]["changed"] == 1 and outcome["embedded"] <= 2, "one file was to change"
    )
    shown = models(project.root, "search", "--domain", INDEX, "--json", text)
    found = time.perf_counter() - began
    results = json.loads(shown.stdout)["results"]
    hit = any(result["path"] == project.show(path) and text in result["text"] for result in results)
    _require(hit, "the new chunk was to be found")
    return updated, found


def _update(project: Project) -> dict[str, Any]:
    done = models(project.root, "update-embeddings", "--domain", INDEX, "--incremental", "--json")
    (outcome,) = json.loads(done.stdout)["domains"]
    return dict(outcome)


def _require(truth: object, what: str) -> None:
    if not truth:
        raise SystemExit(f"{what}, and that is not so")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, action="append", metavar="DIR")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    return report(measure(asked.text or python_sources(), files=asked.files, rounds=asked.rounds))


if __name__ == "__main__":
    sys.exit(main())
