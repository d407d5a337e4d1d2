"""What the index and the query make of a text."""

from __future__ import annotations

import re
import sqlite3
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.retrieval.index_file import TOKENIZER
from modelyard.retrieval.query import has_phrase
from modelyard.retrieval.snippets import make_snippet
from modelyard.retrieval.terms import find_words, index_terms, phrase_terms, query_terms


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
@given(st.text(max_size=40))
def test_sqlite_splits_the_terms_at_spaces_only(text: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute(f"create virtual table w using fts5(t, tokenize={TOKENIZER})")
    database.execute("create virtual table v using fts5vocab(w, row)")
    database.execute("insert into w values (?)", (index_terms(text),))
    assert {term for (term,) in database.execute("select term from v")} == set(terms(text))
    database.close()


@pytest.mark.parametrize(
    "name",
    re.split(
        " ",
        "HTTPException OAuth2PasswordBearer IOError __init__ _private foo::bar --dry-run web-01 "
        "E1101 0x80070005 10.0.0.1 3.11.2 v1.2.3-rc1 CVE-2021-44228 C++ C# F# .NET .gitignore",
    ),
)
def test_a_name_is_kept_whole(name: str) -> None:
    assert name.lower() in terms(f"see {name}, and (again) `{name}`")
    assert terms(f"{name}.") == terms(name)


def test_what_only_looks_like_a_name_stays_words() -> None:
    assert terms("read-only well--known a.b std: x") == ["read", "well", "known", "b", "std", "x"]
    assert terms("1.5 type_ _emphasis_ n-1") == ["1", "5", "type", "emphasi", "n", "1"]
    assert terms("C is not C++") == ["c", "c", "c++"]
    assert terms("0xDEADBEEF 3f786850e387550f") == ["0xdeadbeef", "3f786850e387550f"]


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("每天备份数据库备份一次", "数据库"),
        ("データベースを復元する", "ﾃﾞｰﾀﾍﾞｰｽ"),
        ("데이터베이스를 복원", "데이터베이스"),
        ("การสำรองข้อมูล", "ข้อมูล"),
        ("使用backup_all()备份", "backup_all"),
        ("re\u0301sume\u0301 of the run", "résumé"),
        ("बैकअप हिन्दी", "हिन्दी"),
    ],
    ids=["Chinese", "Japanese", "Korean", "Thai", "glued", "accents", "Hindi"],
)
def test_every_script_is_found_quoted_or_not(page: str, query: str) -> None:
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, page)
        assert set(query_terms(query)) <= set(terms(text))
        assert set(phrase_terms(query)) <= set(terms(text))
        assert has_phrase(text, query)


def test_signs_of_vowels_belong_to_their_word() -> None:
    assert terms("हिन्दी") == ["हिन्दी"]
    assert terms("हिन्दी") != terms("हनद")
    assert terms("مُحَمَّد") == terms("محمد")


def test_one_chinese_character_can_be_asked_for() -> None:
    assert set(terms("锁")) <= set(terms("文件锁"))


def test_the_start_of_a_longer_name_is_found_by_a_phrase() -> None:
    for phrase, text in (("3.11", "3.11.2"), ("_lock", "exclusive_lock"), ("web-0", "web-0.local")):
        assert set(phrase_terms(phrase)) <= set(terms(text))


def test_overlapping_pairs_are_one_mark_and_no_part_of_a_pair_is_marked() -> None:
    snippet = make_snippet("每天数据库备份的函数", query_terms("数据库"))
    assert [text for text, matched in snippet.pieces() if matched] == ["数据库"]


def test_a_line_of_signs_takes_no_time() -> None:
    for sign in ("_", "-", "+", ".", "a-", "\u0301", "ก"):
        index_terms(sign * 100_000)
