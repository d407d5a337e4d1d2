"""What the index and the query make of a text."""

from __future__ import annotations

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.retrieval.terms import find_words, index_terms, query_terms


def terms(text: str) -> list[str]:
    return index_terms(text).split()


def test_words_become_stems_and_stop_words_go() -> None:
    assert terms("How do I roll back the adapters?") == ["roll", "back", "adapt"]


def test_an_identifier_is_kept_in_parts_and_whole() -> None:
    assert terms("exclusive_lock") == ["exclus", "lock", "exclusive_lock"]
    assert terms("exclusiveLock") == ["exclus", "lock", "exclusivelock"]
    assert terms("HTTPServer2") == ["http", "server", "2", "httpserver2"]


def test_an_identifier_has_the_terms_of_its_words_in_prose() -> None:
    assert {"exclus", "lock"} <= set(terms("exclusive_lock")) & set(terms("locks exclusively"))


def test_a_query_has_each_term_once_in_order() -> None:
    assert query_terms("lock the lock, locked: core files") == ["lock", "core", "file"]


def test_accents_and_capitals_do_not_count() -> None:
    assert terms("Überraschung NAÏVE") == ["uberraschung", "naiv"]


def test_words_are_found_with_their_places() -> None:
    text = "Roll back: exclusive_lock."
    assert [(text[start:end], found) for start, end, found in find_words(text)] == [
        ("Roll", ("roll",)),
        ("back", ("back",)),
        ("exclusive_lock", ("exclus", "lock", "exclusive_lock")),
    ]


def test_an_endless_word_is_cut() -> None:
    assert len(index_terms("A" * 1_000_000)) <= 200


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text())
def test_any_text_is_cut_and_cutting_the_query_alike_finds_it(text: str) -> None:
    assert query_terms(text) == list(dict.fromkeys(terms(text)))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(st.characters(max_codepoint=0x24F), max_size=40))
def test_sqlite_splits_the_terms_at_spaces_only(text: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute(
        """create virtual table w using fts5(t, tokenize="unicode61 tokenchars '_'")"""
    )
    database.execute("create virtual table v using fts5vocab(w, row)")
    database.execute("insert into w values (?)", (index_terms(text),))
    assert {term for (term,) in database.execute("select term from v")} == set(terms(text))
    database.close()
