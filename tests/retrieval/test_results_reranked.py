"""A cross-encoder orders the best results again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.retrieval.search import Searcher
from search_samples import CODE, DOCS, Index, places
from tiny_encoders import reference_scores, write_cross_encoder
from toy_encoder import ToyEncoder, ToyEncoders


def name_reranker(project: Project, folder: str, *, reranked: int = 30) -> None:
    rules = project.root / "configs" / "embedding_models" / "rules.yaml"
    rules.write_text(
        "description: Rules\n"
        f"search: {{groups: [tests], reranker: {folder}, reranked: {reranked}}}\n"
    )


class Likes:
    """A cross-encoder that likes chunks with one word in them, the longer the less."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[tuple[str, list[str]]] = []

    def score(self, query: str, chunks: Sequence[str]) -> np.ndarray:
        self.asked.append((query, list(chunks)))
        return np.array([4.0 * (self.word in chunk) - 0.01 * len(chunk) for chunk in chunks])


Rerank = Callable[..., tuple[Likes, Searcher]]


@pytest.fixture
def liking(project: Project, index: Index, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rerank]:
    """A Searcher whose cross-encoder likes a word: `liking("Promote", reranked=2)`."""
    index("documentation", DOCS)
    index("source_code", CODE)
    folder = project.root / "models" / "reranker"
    folder.mkdir(parents=True)
    searchers: list[Searcher] = []

    def build(word: str, *, reranked: int = 30) -> tuple[Likes, Searcher]:
        name_reranker(project, "models/reranker", reranked=reranked)
        likes = Likes(word)
        monkeypatch.setattr(
            "modelyard.retrieval.reranking.open_cross_encoder",
            lambda given, progress: likes if given == folder else None,
        )
        searchers.append(Searcher(project, encoders=ToyEncoders()))
        return likes, searchers[-1]

    yield build
    for opened in searchers:
        opened.close()


def test_the_cross_encoder_reads_title_and_text_of_the_best(liking: Rerank) -> None:
    likes, searcher = liking("Promote")
    found = searcher.search('how do I roll "an adapter" back')
    assert found.reranker == "models/reranker"
    ((query, chunks),) = likes.asked
    assert query == "how do I roll an adapter back"
    assert chunks == [
        "Adapters > Roll back\nTo roll back an adapter, run `models adapters rollback NAME`."
    ]


def test_what_the_cross_encoder_likes_comes_first(liking: Rerank) -> None:
    _, searcher = liking("Promotion")
    found = searcher.search("how do I roll back an adapter")
    assert places(found)[0] == "docs/adapters.md:11"
    scores = found.results[0].scores
    assert scores.reranked == pytest.approx(4 - 0.01 * len("\n".join(DOCS["docs/adapters.md"][1])))
    assert scores.final == pytest.approx(1 / (1 + np.exp(-scores.reranked)))
    finals = [result.scores.final for result in found.results]
    assert finals == sorted(finals, reverse=True)


def test_results_below_those_it_read_keep_their_order(liking: Rerank) -> None:
    likes, searcher = liking("Promotion", reranked=2)
    plain = searcher.search("how do I roll back an adapter", rerank=False)
    assert likes.asked == []
    assert plain.reranker is None
    found = searcher.search("how do I roll back an adapter")
    assert sorted(places(found)[:2]) == sorted(places(plain)[:2])
    assert places(found)[2:] == places(plain)[2:]
    read = [result.scores.reranked is not None for result in found.results]
    assert read == [True, True, *[False] * (len(read) - 2)]


def test_it_reads_more_results_than_are_shown(liking: Rerank) -> None:
    _, searcher = liking("Promotion")
    before = searcher.search("how do I roll back an adapter", top=1, rerank=False)
    assert places(before) == ["docs/adapters.md:1"]
    assert places(searcher.search("how do I roll back an adapter", top=1)) == [
        "docs/adapters.md:11"
    ]


def test_boosts_count_after_the_cross_encoder_too(liking: Rerank) -> None:
    _, searcher = liking("exclusive_lock")
    found = searcher.search("exclusive_lock in test_files.py", indexes=["source_code"])
    first = found.results[0]
    assert first.chunk.path == "tests/test_files.py"
    share = 1 / (1 + np.exp(-(first.scores.reranked or 0.0)))
    assert first.scores.boosts["named_file"] == 0.4
    assert first.scores.final == pytest.approx(share + sum(first.scores.boosts.values()))
    unnamed = searcher.search("exclusive_lock", indexes=["source_code"]).results[:2]
    assert [result.chunk.path for result in unnamed] == ["src/files.py", "tests/test_files.py"]
    boosts = unnamed[1].scores.boosts
    added = sum(boosts.values()) - boosts["rank_below"]
    assert unnamed[1].scores.final == pytest.approx(0.7 * (share + added))


def test_a_text_in_two_places_is_read_once(liking: Rerank, index: Index) -> None:
    likes, searcher = liking("Promotion")
    index("documentation", {**DOCS, "docs/copy.md": DOCS["docs/adapters.md"]})
    found = searcher.search("how do I roll back an adapter", indexes=["documentation"])
    ((_, chunks),) = likes.asked
    assert len(chunks) == len(set(chunks)) == 3
    assert len(found.results[0].also) == 1


@pytest.mark.parametrize("where", ["project", "home"])
def test_a_real_cross_encoder_orders_by_its_own_scores(
    project: Project, searcher: Searcher, own_home: Path, where: str
) -> None:
    folder = write_cross_encoder(
        (project.root if where == "project" else own_home) / "models" / "tiny"
    )
    plain = searcher.search("roll back an adapter", indexes=["documentation"])
    name_reranker(project, "models/tiny" if where == "project" else "~/models/tiny")
    with closing(Searcher(project, encoders=ToyEncoders())) as again:
        found = again.search("roll back an adapter", indexes=["documentation"])
    texts = [f"{result.chunk.title}\n{result.chunk.text}" for result in found.results]
    expected = reference_scores(folder, "roll back an adapter", texts)
    assert [result.scores.reranked for result in found.results] == pytest.approx(expected, abs=1e-3)
    assert expected == sorted(expected, reverse=True)
    assert sorted(places(found)) == sorted(places(plain))


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("models/nothing", "names the folder models/nothing, which does not exist"),
        ("~nobody-here/model", "names the folder ~nobody-here/model, which does not exist"),
        ("docs", "no cross-encoder's folder"),
    ],
)
def test_a_reranker_that_is_none_is_refused_before_anything_is_searched(
    project: Project, index: Index, folder: str, problem: str
) -> None:
    (project.root / "docs").mkdir()
    name_reranker(project, folder)

    class NoEncoders(ToyEncoders):
        def open(self, settings: object, *, texts: int = 0) -> ToyEncoder:
            raise AssertionError("the query was encoded")

    with closing(Searcher(project, encoders=NoEncoders())) as searcher:
        with pytest.raises(InvalidInput, match=problem):
            searcher.search("roll back")
        with pytest.raises(NoData):
            searcher.search("roll back", rerank=False)
