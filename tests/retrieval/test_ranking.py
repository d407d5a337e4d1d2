"""The dense, lexical and fused scores, against the plain formulas."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.globs import glob_pattern
from modelyard.retrieval.index_file import SCHEMA
from modelyard.retrieval.postings import Postings, attach_places
from modelyard.retrieval.query import find_mentions, has_phrase, parse_query
from modelyard.retrieval.ranking import CODE, TEXT, lexical_scale, rank, ranking_settings
from modelyard.retrieval.vectors import COMPARED_EXACTLY, VectorTable

COLOURS = ["red", "green", "blue", "pink", "gold", "grey", "teal"]
WORDS = st.lists(st.sampled_from(COLOURS), max_size=12)


@contextmanager
def postings_of(chunks: list[tuple[list[str], list[str]]]) -> Iterator[Postings]:
    """The postings of chunks, each with the terms of its title and of its text."""
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in SCHEMA:
            database.execute(statement)
        for number, (title, text) in enumerate(chunks):
            for part, terms in (("title", title), ("text", text)):
                database.execute(
                    f"insert into {part}_words (rowid, terms) values (?, ?)",
                    (10 * number + 1, " ".join(terms)),
                )
        attach_places(database)
        yield Postings(database, np.arange(len(chunks)) * 10 + 1)


def plain_bm25(
    chunks: list[tuple[list[str], list[str]]], terms: list[str], title_weight: float
) -> list[float]:
    """BM25 as the textbook has it, one chunk after the other."""
    lengths = [title_weight * len(title) + len(text) for title, text in chunks]
    mean = sum(lengths) / len(lengths) or 1e-6
    scores = []
    for (title, text), length in zip(chunks, lengths, strict=True):
        score = 0.0
        for term in terms:
            having = sum(term in [*title, *text] for title, text in chunks)
            idf = math.log(1 + (len(chunks) - having + 0.5) / (having + 0.5))
            often = title_weight * Counter(title)[term] + Counter(text)[term]
            score += idf * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * length / mean))
        scores.append(score)
    return scores


def once(terms: list[str]) -> dict[str, int]:
    """Terms that a query has once each."""
    return dict.fromkeys(terms, 1)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8),
    st.lists(st.sampled_from(["red", "blue", "teal", "black"]), unique=True, max_size=3),
    st.sampled_from([1.0, 4.0]),
)
def test_bm25_is_what_the_textbook_says(
    chunks: list[tuple[list[str], list[str]]], terms: list[str], title_weight: float
) -> None:
    with postings_of(chunks) as postings:
        found = postings.bm25(once(terms), title_weight)
    assert found == pytest.approx(plain_bm25(chunks, terms, title_weight), abs=1e-4)


def test_a_long_chunk_is_counted_right() -> None:
    chunks = [(["red"] * 300, ["blue"] * 20_000), ([], ["red"])]
    with postings_of(chunks) as postings:
        places = postings.places("blue")
        assert (places.in_text.tolist(), places.in_title.tolist()) == ([20_000], [0])
        assert postings.bm25(once(["red"]), 1.0) == pytest.approx(plain_bm25(chunks, ["red"], 1.0))


def test_no_chunk_is_better_than_the_ideal() -> None:
    terms = once(["red", "black"])
    with postings_of([(["red"] * 9, ["red"] * 90), ([], ["blue"])]) as postings:
        assert 0 < postings.bm25(terms, 4.0).max() < postings.ideal_bm25(terms)


def test_a_term_counts_as_often_as_the_query_has_it() -> None:
    chunks = [(["red"], ["blue", "pink"]), ([], ["red", "blue", "blue"])]
    with postings_of(chunks) as postings:
        red, blue = (postings.bm25(once([term]), 1.0) for term in ("red", "blue"))
        assert postings.bm25({"red": 3, "blue": 1}, 1.0) == pytest.approx(3 * red + blue)
        assert postings.ideal_bm25({"red": 3, "blue": 1}) == pytest.approx(
            2.2 * (3 * postings.idf("red") + postings.idf("blue"))
        )


def test_a_term_that_no_chunk_has_tells_most() -> None:
    with postings_of([([], ["red"]), ([], ["blue"])]) as postings:
        assert postings.idf("black") > postings.idf("red") > 0


def unit_rows(count: int, dimensions: int = 16, *, seed: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)  # as an index keeps them


def table(rows: np.ndarray) -> VectorTable:
    return VectorTable(rows.astype(np.float16))


def plain_crowding(vectors: np.ndarray) -> np.ndarray:
    """How much nearer its five nearest are to each row than to a usual one."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1.0)
    nearness = np.sort(cosines, axis=1)[:, -5:].mean(axis=1)
    usual = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), 64)).astype(int))
    return np.asarray(nearness - nearness[usual].mean())


def test_the_mix_is_convex_and_best_first() -> None:
    vectors = unit_rows(24)
    bm25 = np.abs(np.random.default_rng(2).standard_normal(24)).astype(np.float32)
    ranked = rank(vectors[3], table(vectors), bm25, 5.0, dense_weight=0.8, settings=CODE)
    dense = vectors @ vectors[3] - 0.3 * plain_crowding(vectors)
    wanted = 0.8 * dense + 0.2 * bm25 / math.sqrt(5.0 * bm25.max())
    assert ranked.rows.tolist() == np.argsort(-wanted).tolist()
    assert ranked.fused == pytest.approx(np.sort(wanted)[::-1], abs=1e-5)


def test_a_chunk_that_is_near_to_everything_answers_less() -> None:
    vectors = unit_rows(400)
    middle = vectors[:200].mean(axis=0)
    vectors[7] = middle / np.linalg.norm(middle)
    crowding = table(vectors).crowding(np.arange(400))
    assert crowding == pytest.approx(plain_crowding(vectors), abs=1e-3)
    assert table(vectors[:10]).crowding(np.arange(10)).tolist() == [0.0] * 10


def test_the_lexical_score_does_not_shrink_as_a_question_grows() -> None:
    """The best chunk has the root of its share of the ideal: a quarter of the terms, a half."""
    bm25 = np.array([0.0, 1.0, 2.5], np.float32)
    assert 2.5 / lexical_scale(bm25, 10.0) == pytest.approx(0.5)
    assert lexical_scale(np.zeros(3, np.float32), 10.0) == 10.0


@pytest.mark.parametrize(("weight", "side"), [(1.0, "dense"), (0.0, "lexical")])
def test_at_the_ends_one_side_alone_decides(weight: float, side: str) -> None:
    vectors = unit_rows(50)
    bm25 = np.abs(np.random.default_rng(2).standard_normal(50)).astype(np.float32)
    ranked = rank(vectors[3], table(vectors), bm25, 5.0, dense_weight=weight, settings=CODE)
    scores = getattr(ranked, side) - (0.3 * ranked.crowding if side == "dense" else 0.0)
    assert (np.diff(scores) <= 1e-6).all()


def test_candidates_come_from_both_sides_with_both_scores() -> None:
    vectors = unit_rows(2_000)
    bm25 = np.zeros(2_000, np.float32)
    bm25[1_234] = 4.0
    query = -vectors[1_234]  # as far from its meaning as can be
    ranked = rank(query, table(vectors), bm25, 5.0, dense_weight=0.5, settings=CODE, depth=10)
    place = ranked.rows.tolist().index(1_234)
    assert len(ranked.rows) == 11
    assert ranked.dense[place] == pytest.approx(-1.0, abs=1e-3)
    assert ranked.lexical[place] == 4.0


def test_feedback_moves_the_query_towards_its_best() -> None:
    vectors = unit_rows(300)
    bm25 = np.zeros(300, np.float32)
    query = unit_rows(1)[0]
    best_rows = vectors[np.argsort(-(vectors @ query))[:2]].mean(axis=0)
    moved = query + 0.5 * best_rows / np.linalg.norm(best_rows)
    moved /= np.linalg.norm(moved)
    ranked = rank(query, table(vectors), bm25, 1.0, dense_weight=0.6, settings=TEXT)
    assert ranked.dense == pytest.approx(vectors[ranked.rows] @ moved, abs=1e-5)


def test_the_second_ranking_finds_what_one_of_all_chunks_finds() -> None:
    vectors = unit_rows(20_000, 64)
    bm25 = np.zeros(20_000, np.float32)
    bm25[::400] = 3.0
    near = vectors[:10].mean(axis=0)
    query = near / np.linalg.norm(near)
    ranked = rank(query, table(vectors), bm25, 5.0, dense_weight=0.6, settings=TEXT)
    lexical = 0.4 * bm25 / math.sqrt(5.0 * 3.0)
    best_rows = vectors[np.argsort(-(0.6 * (vectors @ query) + lexical))[:2]].mean(axis=0)
    moved = query + 0.5 * best_rows / np.linalg.norm(best_rows)
    whole = 0.6 * (vectors @ (moved / np.linalg.norm(moved))) + lexical
    best = np.argsort(-whole, kind="stable")[:64]
    assert set(ranked.rows[:64].tolist()) == set(best.tolist())
    mixed = ranked.fused + 0.6 * 0.3 * ranked.crowding
    assert mixed[:64] == pytest.approx(whole[ranked.rows[:64]], abs=1e-5)


def test_a_large_table_is_compared_roughly_and_ranked_exactly() -> None:
    vectors = unit_rows(COMPARED_EXACTLY + 7, 64)
    vectors[5] *= 0.001 / np.abs(vectors[5]).max()  # a row on a scale of its own
    vectors[6] = 0.0
    bm25 = np.zeros(len(vectors), np.float32)
    query = unit_rows(1, 64)[0]
    cosine = vectors @ query
    asked_again = table(vectors)
    assert asked_again.closeness(query) == pytest.approx(cosine, abs=1e-3)
    rough = asked_again.closeness(query)
    assert 1e-4 < np.abs(rough - cosine).max() < 0.009
    assert np.abs(rough - cosine)[5] < 1e-5
    ranked = rank(query, asked_again, bm25, 5.0, dense_weight=1.0, settings=CODE)
    best = np.argsort(-cosine, kind="stable")
    assert np.sort(ranked.dense)[:-65:-1] == pytest.approx(cosine[best[:64]], abs=1e-6)
    assert ranked.dense == pytest.approx(cosine[ranked.rows], abs=1e-6)


def test_crowding_is_the_same_by_rough_cosines() -> None:
    rows = unit_rows(COMPARED_EXACTLY + 900, 64)
    rows[:300] += 2 * unit_rows(1, 64, seed=4)  # a crowd
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked_again = table(rows)
    for _ in range(2):
        asked_again.closeness(rows[0])
    assert asked_again.in_bytes
    chosen = np.arange(0, 2_900, 40)
    exact = table(rows).crowding(chosen)
    assert exact[:7].min() > 0.2 > exact[8:].max()
    assert asked_again.crowding(chosen) == pytest.approx(exact, abs=1e-6)


def test_what_a_filter_shuts_out_is_no_candidate() -> None:
    vectors = unit_rows(500)
    allowed = np.zeros(500, np.bool_)
    allowed[[7, 8]] = True
    bm25 = np.ones(500, np.float32)
    named = np.array([8, 9])
    ranked = rank(
        vectors[1],
        table(vectors),
        bm25,
        5.0,
        dense_weight=0.6,
        depth=5,
        allowed=allowed,
        named=named,
    )
    assert sorted(ranked.rows.tolist()) == [7, 8]


def test_an_empty_index_has_no_candidates() -> None:
    none = np.zeros(0, np.float32)
    ranked = rank(unit_rows(1)[0], table(np.zeros((0, 16))), none, 1.0, dense_weight=0.6)
    assert len(ranked.rows) == 0


def test_titles_count_more_where_they_are_names() -> None:
    assert ranking_settings("code") is CODE
    assert ranking_settings("markdown") is ranking_settings("auto") is TEXT


def test_a_query_is_parsed() -> None:
    query = parse_query('why does "no space left" come from write_atomic() in core/files.py?')
    assert query.text == "why does no space left come from write_atomic() in core/files.py?"
    assert query.phrases == ("no space left",)
    assert set(query.names) == {"write_atomic", "core/files.py"}
    assert "write_atomic" in query.terms


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("how do I roll back an adapter", set()),
        ("What is a LoRA, e.g. of rank 16?", set()),
        ("Makefile targets and TCP", set()),
        ("HTTPServer or exclusive_lock", {"exclusive_lock"}),
        ("openIndex in core.files", {"openIndex", "core.files"}),
        ("the file adapters.md", {"adapters.md"}),
        ("restart web-07 and sdq9", {"web-07", "sdq9"}),
        ("0x80070005 at 10.0.0.1 with 3.11.2", {"0x80070005", "10.0.0.1", "3.11.2"}),
        ("who calls fs::open_file", {"fs::open_file"}),
        ("step 2 of v2 takes 1.5 s, read-only", set()),
    ],
)
def test_names_are_distinguished_from_words(text: str, names: set[str]) -> None:
    assert set(parse_query(text).names) == names


def test_a_phrase_stands_across_a_line_end() -> None:
    assert has_phrase("there is No  space\nleft", "no space left")
    assert not has_phrase("no place left", "no space left")


def test_a_chunk_names_paths_and_symbols() -> None:
    text = "Run `deploy/roll.sh`, which calls write_atomic() of core/files.py."
    assert {"deploy/roll.sh", "write_atomic", "core/files.py"} <= set(find_mentions(text))


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("tests/**", "tests/a/b.py", True),
        ("**/vendor/**", "vendor/x.py", True),
        ("**/vendor/**", "a/b/vendor/x.py", True),
        ("docs/*.md", "docs/a/b.md", False),
        ("docs/**/*.md", "docs/b.md", True),
        ("a?.py", "ab.py", True),
        ("a.py", "axpy", False),
    ],
)
def test_globs_know_folders(glob: str, path: str, fits: bool) -> None:
    assert bool(glob_pattern(glob).fullmatch(path)) is fits


def test_a_table_that_is_compared_often_gives_the_same_in_bytes() -> None:
    compared, query = table(unit_rows(2_500, 64)), unit_rows(1, 64, seed=20)[0]
    exact = compared.closeness(query)
    assert np.abs(compared.closeness(query) - exact).max() < 0.009
    assert compared.closeness(query).tolist() != exact.tolist()  # in bytes by now
