"""Near-equal paragraphs: two versions of a page are one result."""

from __future__ import annotations

import hashlib
from contextlib import closing

import pytest

from modelyard.core.layout import Project
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.search import Searcher
from toy_encoder import ToyEncoder, ToyEncoders

CONFIG = """
description: For tests
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 64, max_tokens: 256}
domains:
  pages:
    description: Prose
    sources: ["docs/**/*.md"]
    chunker: markdown
"""
LONG = (
    "Before you restart the gateway of a site, drain its queue, wait until no request is left, "
    "write down the release {0} that runs, and tell whoever has the pager about it."
)
SHORT = "The gateway {0} restarts by itself."
OTHER = "Restart the gateway whenever you like; nothing that it holds is lost, whoever asks for it."


def find(project: Project, texts: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The results for one query: each file with the other places it stands for."""
    config = project.root / "configs" / "embedding_models" / "tests.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(CONFIG)
    encoder = ToyEncoder()
    place = load_indexes(project)["tests/pages"].path
    with build_beside(
        place, encoder=encoder.fingerprint, dimensions=encoder.dimensions, chunking="c"
    ) as build:
        for path, text in texts.items():
            chunk = Chunk(text=text, title="Gateway", kind="section", first_line=1, last_line=1)
            (row,) = encoder.encode([chunk.embedded]).astype(VECTOR_TYPE)
            record = FileRecord(
                path=path,
                sha256=hashlib.sha256(text.encode()).hexdigest(),
                size_bytes=len(text),
                mtime_ns=0,
                modified_at="2026-01-01T00:00:00Z",
                seen="",
            )
            build.add_file(record, [chunk], {chunk.digest: row.tobytes()})
    with closing(Searcher(project, encoders=ToyEncoders(encoder))) as searcher:
        found = searcher.search("restart the gateway", indexes=["pages"]).results
    return {result.chunk.path: result.also for result in found}


def test_two_versions_of_a_page_are_one_result(project: Project) -> None:
    pages = {
        "docs/v1/restart.md": LONG.format("first"),
        "docs/v2/restart.md": LONG.format("second"),
        "docs/v2/other.md": OTHER,
    }
    found = find(project, pages)
    (both,) = set(found) - {"docs/v2/other.md"}
    (hidden,) = set(pages) - set(found)
    assert found[both] == (f"{hidden}:1",)
    assert found["docs/v2/other.md"] == ()


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("docs/a/restart.md", "docs/b/stop.md", LONG),
        ("docs/v1/restart.md", "docs/v2/restart.md", SHORT),
        ("docs/v1/restart.md", "docs/v2/restart.md", LONG + " {0} {0} {0} {0} {0} {0}"),
    ],
    ids=["pages of two names", "a short text, where one word matters", "too many words differ"],
)
def test_what_may_say_something_else_is_shown(
    project: Project, first: str, second: str, text: str
) -> None:
    found = find(project, {first: text.format("one"), second: text.format("two")})
    assert set(found) == {first, second}


def test_a_number_that_differs_is_shown(project: Project) -> None:
    limits = {"docs/v1/restart.md": "30 s", "docs/v2/restart.md": "60 s"}
    found = find(project, {path: LONG.format(limit) for path, limit in limits.items()})
    assert set(found) == set(limits)


def test_a_page_with_its_version_in_the_name_is_the_same_page(project: Project) -> None:
    texts = {"1.9": LONG.format("first"), "2.0": LONG.format("second")}
    pages = {f"docs/restart-{version}.md": text for version, text in texts.items()}
    assert len(find(project, pages)) == 1
