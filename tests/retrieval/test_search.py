"""Search over small real indexes, with an encoder that needs no model."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.retrieval import search, vectors
from modelyard.retrieval.answerable import match
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.search import Searcher
from search_samples import CODE, DOCS, Index, Texts, marked_text, places
from toy_encoder import ToyEncoder, ToyEncoders


def test_a_question_is_answered_by_its_chunk(searcher: Searcher) -> None:
    found = searcher.search("how do I roll back an adapter")
    best = found.results[0]
    assert (best.index, best.chunk.path) == ("tests/documentation", "docs/adapters.md")
    assert (best.chunk.first_line, best.chunk.title) == (1, "Adapters > Roll back")
    assert "‹roll› ‹back› an ‹adapter›" in marked_text(best.snippet)


def test_a_quoted_phrase_must_stand_there(searcher: Searcher) -> None:
    assert places(searcher.search('"the gate is met"')) == ["docs/adapters.md:11"]
    assert places(searcher.search('adapters "when no"')) == ["docs/runbook.md:1"]
    assert places(searcher.search('"gate met"')) == []


@pytest.mark.parametrize(
    ("phrase", "is_there"),
    [
        ("GREEN  tea", True),
        ("tea at 100% heat", True),
        ("at 100_ heat", False),
        ("a\\b", True),
        ("ÜBER alles", True),
        ("is not", True),
        ("not is", False),
        ("heat " * 20_000, False),
    ],
)
def test_a_phrase_is_taken_letter_by_letter(
    searcher: Searcher, index: Index, phrase: str, is_there: bool
) -> None:
    text = "Green\ntea at 100% heat, a\\b and über alles; it is not cold"
    index("documentation", {"docs/tea.md": [("Tea", text)]})
    found = places(searcher.search(f'"{phrase}"', indexes=["documentation"]))
    assert found == (["docs/tea.md:1"] if is_there else [])


@pytest.mark.parametrize(
    ("filters", "paths"),
    [
        ({"path": "docs/**"}, {"docs/adapters.md", "docs/runbook.md"}),
        ({"path": "src/*.py", "kind": "section"}, {"src/files.py"}),
        ({"language": ".py", "domain": "source_code"}, {"src/files.py", "tests/test_files.py"}),
        ({"kind": "template"}, set()),
    ],
)
def test_filters_let_only_that_through(
    searcher: Searcher, filters: dict[str, str], paths: set[str]
) -> None:
    found = searcher.search("lock the adapter", filters=filters)
    assert {result.chunk.path for result in found.results} == paths


def test_a_key_that_no_chunk_has_is_refused_with_those_there_are(searcher: Searcher) -> None:
    with pytest.raises(InvalidInput, match=r"^filter languge: .*did you mean 'language'") as raised:
        searcher.search("lock", filters={"languge": ".py"})
    assert raised.value.hint == "the keys here: path, kind, domain, language, symbol"


@pytest.mark.parametrize(
    ("filters", "note"),
    [
        ({"kind": "wombat"}, "no chunk has kind=wombat; there is section"),
        ({"language": ".c"}, "no chunk has language=.c; there are .md, .py"),
        ({"path": "lib/**"}, "no indexed file matches path=lib/**"),
        (
            {"domain": "logs"},
            "domain=logs was not searched; there are tests/documentation, tests/source_code",
        ),
    ],
)
def test_a_filter_that_nothing_fits_is_named(
    searcher: Searcher, filters: dict[str, str], note: str
) -> None:
    found = searcher.search("lock", filters={"path": "**", **filters})
    assert found.results == ()
    assert found.notes[-1] == note


def test_filters_that_fit_apart_but_not_together_are_not_called_unknown(
    searcher: Searcher,
) -> None:
    found = searcher.search("lock", filters={"path": "docs/**", "language": ".py"})
    assert found.results == ()
    (note,) = found.notes
    assert note.startswith("not searched, no index yet: tests/logs (`models update-embeddings --")


@pytest.mark.parametrize(
    ("change", "state", "note"),
    [
        (lambda file: None, "same", None),
        (lambda file: os.utime(file, (1, 1)), "same", None),
        (lambda file: file.write_text(file.read_text() + "more"), "changed", "1 file changed"),
        (lambda file: file.write_text(file.read_text().upper()), "changed", "1 file changed"),
        (lambda file: file.unlink(), "gone", "1 file went"),
        (lambda file: (file.unlink(), file.mkdir()), "gone", "1 file went"),
    ],
    ids=["untouched", "touched", "longer", "as long", "deleted", "now a folder"],
)
def test_a_result_says_what_became_of_its_file(
    project: Project,
    searcher: Searcher,
    change: Callable[[Path], object],
    state: str,
    note: str | None,
) -> None:
    change(project.root / "docs" / "runbook.md")
    found = searcher.search("no space left on the disk", indexes=["documentation"])
    first, *others = found.results
    assert (first.chunk.path, first.state) == ("docs/runbook.md", state)
    assert {result.state for result in others} == {"same"}
    command = "`models update-embeddings --domain tests/documentation`"
    assert found.notes == (
        (f"{note} since the index was made: {command} brings it up to date",) if note else ()
    )


def test_a_query_without_a_word_is_said_to_be_a_guess(searcher: Searcher) -> None:
    for guess in ("-", "\N{ROCKET}", "what is it"):
        found = searcher.search(guess, indexes=["documentation"])
        assert "no search terms" in found.notes[0]
    assert searcher.search("the adapter", indexes=["documentation"]).notes == ()
    assert searcher.search('"--"', indexes=["documentation"]).notes == ()


def test_a_searcher_that_stays_open_finds_what_a_new_one_finds(
    project: Project, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "COMPARED_EXACTLY", 50)
    monkeypatch.setattr(vectors, "_AT_ONCE", 48)
    chance = random.Random(3)
    words = [f"{one}{two}" for one in ("ka", "lo", "mi", "ru", "se") for two in "bdfgklmnprst"]
    common = [" ".join(chance.choices(words, k=12)) for _ in range(20)]

    def pages(folder: str, ending: str) -> Texts:
        def text() -> str:
            return " ".join([chance.choice(common), *chance.choices(words, k=chance.randrange(9))])

        return {
            f"{folder}/{page}{ending}": [(chance.choice(words), text()) for _ in range(5)]
            for page in range(24)
        }

    index("documentation", pages("docs", ".md"))
    index("source_code", pages("src", ".py"))
    index("logs", pages("logs", ".log"))
    questions = [" ".join(chance.choices(words, k=chance.randrange(1, 12))) for _ in range(12)]
    linked = 0
    with closing(Searcher(project, encoders=ToyEncoders())) as stays:
        for question in questions:
            stays.search(question)
        for question in questions:
            again = stays.search(question).results
            with closing(Searcher(project, encoders=ToyEncoders())) as new:
                first = new.search(question).results
            assert [(one.chunk, one.also, one.more, one.related) for one in again] == [
                (one.chunk, one.also, one.more, one.related) for one in first
            ]
            assert [one.scores.final for one in again] == pytest.approx(
                [one.scores.final for one in first], abs=1e-5
            )
            linked += sum(len(one.related) for one in first)
    assert linked > 100


def test_a_query_that_is_asked_again_is_encoded_once(
    project: Project, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_KEPT_QUERIES", 2)
    index("documentation", DOCS)
    encoded: list[str] = []

    class CountingEncoder(ToyEncoder):
        def encode_query(self, text: str, *, within_s: float | None = None) -> np.ndarray:
            encoded.append(text)
            return super().encode_query(text)

    with closing(Searcher(project, encoders=ToyEncoders(CountingEncoder()))) as stays:
        first = stays.search("roll back", indexes=["documentation"])
        for text in ("roll back", "disk", "roll back", "gate", "disk"):
            again = stays.search(text, indexes=["documentation"])
            if text == "roll back":
                assert again.results == first.results
    assert encoded == ["roll back", "disk", "gate", "disk"]


def test_it_is_said_when_nothing_answers(searcher: Searcher) -> None:
    answered = searcher.search("how do I roll back an adapter")
    assert answered.answered is True and "nothing here answers" not in str(answered.notes)
    nothing = searcher.search("the weather on the island of Madeira")
    assert nothing.answered is False and nothing.results
    assert nothing.notes[-1].startswith("nothing here answers this: the best match is 0.")
    few = searcher.search("disk full")  # one chunk has all of them
    assert few.answered is True
    named = searcher.search("the weather of runbook.md")  # a file that is there is an answer
    assert named.answered is True


def test_of_cosines_that_nobody_calibrated_nothing_is_said() -> None:
    assert match("intfloat/multilingual-e5-small", 0.9, 5.0, 10.0) is None
    assert match("sentence-transformers/all-MiniLM-L6-v2", 0.5, 2.5, 10.0) == pytest.approx(0.5)


def test_a_missing_index_is_noted_and_none_at_all_is_no_data(
    project: Project, index: Index
) -> None:
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        with pytest.raises(NoData, match="no index yet"):
            searcher.search("anything")
        index("documentation", DOCS)
        found = searcher.search("roll back an adapter")
    (note,) = found.notes
    assert note == (
        "not searched, no index yet: tests/source_code, tests/logs "
        "(`models update-embeddings` makes what is missing)"
    )


def test_vectors_of_another_encoder_are_never_compared(project: Project, index: Index) -> None:
    index("documentation", DOCS, encoder=ToyEncoder(name="other"))
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        found = searcher.search("roll back")
    assert found.asked[0].dense_weight == 0
    assert "by its terms only" in found.notes[-1]
    assert found.results[0].chunk.path == "docs/adapters.md"


def test_an_update_is_seen_by_the_next_search(searcher: Searcher, index: Index) -> None:
    before = searcher.search("rollback of adapters", indexes=["documentation"])
    index("documentation", {"docs/new.md": [("New", "rollback of adapters, again")]})
    after = searcher.search("rollback of adapters", indexes=["documentation"])
    assert places(after) == ["docs/new.md:1"]
    assert before.asked[0].snapshot != after.asked[0].snapshot


def test_a_change_in_place_is_seen_by_the_next_search(project: Project, searcher: Searcher) -> None:
    searcher.search("adapters")
    with closing(sqlite3.connect(load_indexes(project)["tests/documentation"].path)) as database:
        database.execute("delete from title_words")
        database.execute("delete from text_words")
        database.execute("delete from vectors")
        database.execute("delete from passages")
        database.execute("update meta set value = 2 where key = 'snapshot'")
        database.commit()
    assert searcher.search("adapters", indexes=["documentation"]).results == ()


def test_an_empty_query_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        searcher.search("  ")


def test_a_query_of_stop_words_goes_by_meaning(searcher: Searcher) -> None:
    assert searcher.search("what is it").results


def test_an_unknown_index_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidInput, match="did you mean 'documentation'"):
        searcher.search("x", indexes=["documentatoin"])


def test_the_query_is_encoded_once_per_encoder(project: Project, index: Index) -> None:
    asked: list[str] = []

    class Counting(ToyEncoder):
        def encode_query(self, text: str, *, within_s: float | None = None) -> np.ndarray:
            asked.append(text)
            return super().encode_query(text)

    index("documentation", DOCS)
    index("source_code", CODE)
    with closing(Searcher(project, encoders=ToyEncoders(Counting()))) as searcher:
        searcher.search("roll back")
    assert asked == ["roll back"]
