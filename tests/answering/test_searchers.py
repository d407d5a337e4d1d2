"""Several threads search for answers at once, and each by the configs that are live."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from answer_samples import RETRIEVAL, make_effective, make_request
from index_projects import Docs, make_docs
from modelyard.answering.prompt import count_tokens
from modelyard.answering.retrieving import Retrieved, retrieve
from modelyard.answering.searchers import Searchers
from modelyard.core.errors import ModelyardError

CONFIG = """
description: For tests
encoder: {source: path, model: toy, dimensions: 64, max_tokens: 256}
domains:
  docs:
    description: Documents
    sources: ["docs/**/*.md"]
    chunker: markdown
    chunk_tokens: 40
"""
EFFECTIVE = make_effective(retrieval=RETRIEVAL)


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    found = make_docs(tmp_path / "project")
    config = found.project.configs / "embedding_models" / "texts.yaml"
    config.parent.mkdir()
    config.write_text(CONFIG)
    for number in range(8):
        found.write(f"page{number}.md", f"# Page {number}\n\nSubject{number} is explained here.\n")
    found.update()
    return found


@pytest.fixture
def searchers(docs: Docs) -> Iterator[Searchers]:
    with closing(Searchers(docs.project)) as opened:
        opened._encoders = docs.encoders  # type: ignore[assignment]
        yield opened


def found_for(searchers: Searchers, question: str, within_s: float = 10.0) -> Retrieved:
    search = searchers.for_answer(EFFECTIVE, within_s=within_s)
    return retrieve(search, EFFECTIVE, make_request(question), count_tokens)


def test_threads_search_at_once_and_searchers_are_used_again(searchers: Searchers) -> None:
    best: dict[int, str] = {}

    def ask(number: int) -> None:
        for _ in range(5):
            best[number] = found_for(searchers, f"subject{number}").chunks[0].place

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert best == {number: f"docs/page{number}.md:1" for number in range(8)}
    assert 1 <= len(searchers._idle) <= 4


def test_whoever_finds_no_place_goes_on_without_a_search(searchers: Searchers) -> None:
    borrowed = [searchers.borrow(EFFECTIVE, 1.0) for _ in range(4)]
    for each in borrowed:
        each.__enter__()
    found = found_for(searchers, "subject1", within_s=0.01)
    assert found.chunks == ()
    assert "other searches took the 0.0 s that there were" in found.notes[0]
    for each in borrowed:
        each.__exit__(None, None, None)
    assert found_for(searchers, "subject1").chunks


def test_changed_configs_are_seen_by_the_next_search(docs: Docs, searchers: Searchers) -> None:
    assert found_for(searchers, "subject1").chunks
    config = docs.project.configs / "embedding_models" / "texts.yaml"
    config.write_text(CONFIG.replace("chunk_tokens: 40", "chunk_tokens: 60"))
    found = found_for(searchers, "subject1")
    assert found.chunks == ()
    assert "no index yet" in found.notes[0]
    config.write_text("description: [")
    assert "nothing was retrieved" in found_for(searchers, "subject1").notes[0]
    with pytest.raises(ModelyardError), searchers.borrow(EFFECTIVE, 1.0):
        pass
    config.write_text(CONFIG)
    assert found_for(searchers, "subject1").chunks
