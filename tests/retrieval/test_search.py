"""Search over small real indexes, with an encoder that needs no model."""

from __future__ import annotations

import hashlib
import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.retrieval import search, vectors
from modelyard.retrieval.answerable import match
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.results import SearchResults
from modelyard.retrieval.search import Searcher
from modelyard.retrieval.snippets import Snippet, make_snippet
from tiny_encoders import reference_scores, write_cross_encoder
from toy_encoder import ToyEncoder, ToyEncoders

CONFIG = """
description: For tests
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 64, max_tokens: 256}
domains:
  documentation:
    description: Prose
    sources: ["docs/**/*.md"]
    chunker: markdown
  source_code:
    description: Code
    sources: ["src/**/*.py"]
    chunker: code
    rank_below: ["tests/**"]
  logs:
    description: Logs
    sources: ["logs/*.log"]
    chunker: logs
    recency_half_life: 10 days
"""

DOCS = {
    "docs/adapters.md": [
        ("Adapters > Roll back", "To roll back an adapter, run `models adapters rollback NAME`."),
        ("Adapters > Promote", "Promotion moves the link when the gate is met."),
    ],
    "docs/runbook.md": [
        ("Disk full", "When no space is left, free some and run src/files.py again.\nSee below."),
    ],
}
CODE = {
    "src/files.py": [
        ("def write_atomic(path, content)", "def write_atomic(path, content):\n    staged = ..."),
        ("def exclusive_lock(path)", "def exclusive_lock(path):\n    fcntl.flock(path)"),
    ],
    "tests/test_files.py": [
        ("def test_exclusive_lock()", "def test_exclusive_lock():\n    exclusive_lock('x')"),
    ],
}
Texts = dict[str, list[tuple[str, str]]]
Index = Callable[..., None]


@pytest.fixture
def index(project: Project) -> Index:
    """Write the index: `index("documentation", DOCS)`."""
    config = project.root / "configs" / "embedding_models" / "tests.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)

    def write(
        index: str,
        texts: Texts,
        *,
        modified_at: str = "2026-01-01T00:00:00Z",
        encoder: ToyEncoder | None = None,
        facts: dict[str, str] | None = None,
        kind: str = "section",
    ) -> None:
        encoder = encoder or ToyEncoder()
        place = load_indexes(project)[f"tests/{index}"].path
        with build_beside(
            place,
            encoder=encoder.fingerprint,
            dimensions=encoder.dimensions,
            chunking="c",
        ) as build:
            for path, pieces in texts.items():
                chunks = [
                    Chunk(
                        text=text,
                        title=title,
                        kind=kind,
                        first_line=10 * number + 1,
                        last_line=10 * number + 1 + text.count("\n"),
                        facts=facts or {"language": Path(path).suffix} | _symbol(title),
                    )
                    for number, (title, text) in enumerate(pieces)
                ]
                rows = encoder.encode([chunk.embedded for chunk in chunks]).astype(VECTOR_TYPE)
                vectors = {
                    chunk.digest: row.tobytes() for chunk, row in zip(chunks, rows, strict=True)
                }
                content = "\n".join(text for _, text in pieces).encode()
                file = project.root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                record = FileRecord(
                    path=path,
                    sha256=hashlib.sha256(content).hexdigest(),
                    size_bytes=len(content),
                    mtime_ns=file.stat().st_mtime_ns,
                    modified_at=modified_at,
                    seen="",
                )
                build.add_file(record, chunks, vectors)

    return write


def _symbol(title: str) -> dict[str, str]:
    """The facts that the code chunker records of a definition; `: holds` names its members."""
    defined = re.match(r"(?:def|class|namespace) (\w+)(?:: holds (.*))?", title)
    if not defined:
        return {}
    return {"symbol": defined[1], **({"members": defined[2]} if defined[2] else {})}


@pytest.fixture
def searcher(project: Project, index: Index) -> Iterator[Searcher]:
    index("documentation", DOCS)
    index("source_code", CODE)
    with closing(Searcher(project, encoders=ToyEncoders())) as opened:
        yield opened


def marked_text(snippet: Snippet) -> str:
    return "".join(f"‹{piece}›" if matched else piece for piece, matched in snippet.pieces())


def places(found: SearchResults) -> list[str]:
    return [f"{result.chunk.path}:{result.chunk.first_line}" for result in found.results]


def test_a_question_is_answered_by_its_chunk(searcher: Searcher) -> None:
    found = searcher.search("how do I roll back an adapter")
    best = found.results[0]
    assert (best.index, best.chunk.path) == ("tests/documentation", "docs/adapters.md")
    assert (best.chunk.first_line, best.chunk.title) == (1, "Adapters > Roll back")
    assert "‹roll› ‹back› an ‹adapter›" in marked_text(best.snippet)


def test_the_final_score_follows_from_the_parts(searcher: Searcher) -> None:
    for result in searcher.search("exclusive lock of a path", top=5).results:
        scores = result.scores
        mixed = scores.dense_weight * (scores.dense - 0.3 * scores.crowding)
        mixed += (1 - scores.dense_weight) * scores.lexical / scores.lexical_scale
        assert scores.fused == pytest.approx(mixed, abs=1e-5)
        added = sum(value for name, value in scores.boosts.items() if name != "rank_below")
        factor = scores.boosts.get("rank_below", 1.0) if mixed + added > 0 else 1.0
        assert scores.final == pytest.approx((mixed + added) * factor, abs=1e-5)


def test_a_known_symbol_gives_its_terms_more_weight(searcher: Searcher) -> None:
    found = searcher.search("exclusive_lock")
    assert places(found)[0] == "src/files.py:11"
    weights = {index.index: (index.dense_weight, index.because) for index in found.asked}
    assert weights["tests/source_code"] == (0.3, "it knows exclusive_lock")
    assert weights["tests/documentation"] == (0.6, "no known name in the query")


def test_a_definition_comes_before_what_uses_it(project: Project, index: Index) -> None:
    index(
        "source_code",
        {
            "src/api.py": [("", "from pages import Response\n\n__all__ = ['Response']")],
            "src/views.py": [
                ("def view()", "def view():\n    return Response(Response)  # a Response"),
                ("def other()", "def other():\n    return Response()"),
            ],
            "src/pages.py": [("class Response", "class Response:\n    pass  # what is sent back")],
        },
    )
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        for query in ("Response", "Response()", "pages.Response", "response"):
            found = searcher.search(query).results
            assert found[0].chunk.path == "src/pages.py", query
            assert found[0].scores.boosts["definition"] == (0.2 if query == "response" else 0.4)


def test_a_member_is_found_by_the_chunk_of_its_class_or_namespace(
    project: Project, index: Index
) -> None:
    calls = "int use() { return foo::bar(foo::bar(1)) + foo::bar(2); }"
    namespace = "namespace foo { int bar(int x) { return x + 1; } }"
    other = "namespace other { int bar(int x) { return 2 * x; } }"
    index(
        "source_code",
        {
            "src/use.cpp": [("int use()", calls)],
            "src/foo.cpp": [("namespace foo: holds bar", namespace)],
            "src/other.cpp": [("namespace other: holds bar", other)],
        },
    )
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        for name, boost in (("foo::bar", 0.6), ("foo.bar", 0.6), ("bar", 0.4)):
            found = {each.chunk.path: each.scores for each in searcher.search(name).results}
            assert found["src/foo.cpp"].boosts["definition"] == pytest.approx(boost)
            assert found["src/other.cpp"].boosts["definition"] == pytest.approx(0.4)
            assert "definition" not in found["src/use.cpp"].boosts
            if name != "bar":
                assert next(iter(found)) == "src/foo.cpp", "before those that call it"


def test_a_file_is_found_by_its_path_and_by_all_of_its_chunks(
    project: Project, index: Index
) -> None:
    words = "def {}(): read one {} of the stream"
    one = [(f"def a{at}()", words.format(f"a{at}", "line" if at else "frame")) for at in range(6)]
    all_of_it = [(f"def b{at}()", words.format(f"b{at}", "frame")) for at in range(6)]
    index("source_code", {"src/x.py": one, "src/y.py": all_of_it, "src/frame.py": one[1:]})
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        found = searcher.search("read a frame of the stream")
    boosts = {result.chunk.path: result.scores.boosts for result in found.results}
    assert boosts["src/y.py"]["file"] > boosts["src/x.py"]["file"]
    assert boosts["src/frame.py"]["path"] > 0 and "path" not in boosts["src/y.py"]


def test_one_file_does_not_fill_the_list(project: Project, index: Index) -> None:
    many = [(f"def read{at}()", f"def read{at}(): read a stream {at}") for at in range(5)]
    two = [(f"def write{at}()", f"def write{at}(): read, write a stream {at}") for at in range(2)]
    index("source_code", {"src/a.py": many, "src/b.py": two, "src/c.py": [("", "a stream")]})
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        three = searcher.search("read a stream", top=3).results
        assert sorted(result.chunk.path for result in three) == ["src/a.py", "src/b.py", "src/c.py"]
        assert next(len(each.more) for each in three if each.chunk.path == "src/a.py") == 3
        eight = searcher.search("read a stream", top=8).results  # the places that others leave
        assert len(eight) == 8
        capped = searcher.search("read a stream", top=8, per_file=2).results
        assert [result.chunk.path for result in capped].count("src/a.py") == 2


def test_tests_rank_below(searcher: Searcher) -> None:
    found = searcher.search("exclusive_lock", indexes=["source_code"])
    below = next(result for result in found.results if result.chunk.path == "tests/test_files.py")
    assert below.scores.boosts == {"rank_below": 0.7}
    assert found.results[0].chunk.path == "src/files.py"


def test_a_file_that_the_query_names_comes_first(searcher: Searcher) -> None:
    found = searcher.search("what does runbook.md say of adapters")
    assert found.results[0].chunk.path == "docs/runbook.md"
    assert found.results[0].scores.boosts == {"named_file": 0.4}


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


def test_the_pieces_of_one_function_are_shown_once(project: Project, index: Index) -> None:
    pieces = [("def retry(call)", f"wait and retry the call, part {part}") for part in range(12)]
    index("source_code", {"src/a.py": pieces, "src/b.py": pieces[:1]}, kind="function")
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        found = searcher.search("retry the call", indexes=["source_code"])
    (result,) = found.results  # src/b.py has the text of the first piece
    everywhere = [*(f"src/a.py:{10 * part + 1}" for part in range(12)), "src/b.py:1"]
    everywhere.remove(f"{result.chunk.path}:{result.chunk.first_line}")
    assert list(result.also) == everywhere


def test_sections_with_one_title_are_shown_each(searcher: Searcher, index: Index) -> None:
    index("documentation", {"docs/a.md": [("Keys", "of a door"), ("Keys", "of a piano")]})
    assert len(searcher.search("keys", indexes=["documentation"]).results) == 2


def test_the_same_text_is_shown_once(searcher: Searcher, index: Index) -> None:
    index("documentation", {**DOCS, "docs/copy.md": DOCS["docs/adapters.md"]})
    found = searcher.search("roll back an adapter")
    assert sum("Roll back" in result.chunk.title for result in found.results) == 1
    assert len(found.results[0].also) == 1


def test_a_runbook_is_linked_with_the_script_it_names(searcher: Searcher) -> None:
    runbook = searcher.search("no space left on the disk").results[0]
    assert runbook.chunk.path == "docs/runbook.md"
    (link,) = runbook.related
    assert (link.path, link.why) == ("src/files.py", "it names src/files.py")
    script = searcher.search("write_atomic").results[0]
    assert [link.path for link in script.related] == ["docs/runbook.md"]


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


def test_old_log_lines_count_less(project: Project, index: Index) -> None:
    old = datetime.now(UTC) - timedelta(days=10)
    index(
        "logs",
        {"logs/a.log": [("", "connection refused by <*>")]},
        facts={"last_seen": old.strftime("%Y-%m-%dT%H:%M:%SZ")},
    )
    with closing(Searcher(project, encoders=ToyEncoders())) as searcher:
        (result,) = searcher.search("connection refused").results
    assert result.scores.boosts["recency"] == pytest.approx(0.925, abs=0.01)
    assert result.scores.final == pytest.approx(result.scores.fused * 0.925, rel=0.02)


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


@pytest.mark.parametrize(
    ("terms", "first", "marked"),
    [
        (["three"], 7, "line ‹three›\nline four\nline five"),
        ([], 5, "line one\nline two\nline three\nline four"),
        (["on", "five"], 5, "line ‹one›\nline two\nline three\nline four"),
    ],
)
def test_a_snippet_begins_where_it_matches(terms: Sequence[str], first: int, marked: str) -> None:
    text = "line one\nline two\nline three\nline four\nline five"
    snippet = make_snippet(text, terms, first_line=5)
    assert (snippet.first_line, marked_text(snippet)) == (first, marked)


def test_a_long_line_is_shown_around_its_match() -> None:
    snippet = make_snippet("x " * 2_000 + "needle" + " y" * 2_000, ["needl"])
    assert len(snippet.text) < 320
    assert "‹needle›" in marked_text(snippet)


def test_marks_are_right_where_lines_are_cut() -> None:
    long = "needle " + "x " * 200 + "needle"
    snippet = make_snippet(f"a needle\n{long}\nlast needle", ["needl"])
    assert marked_text(snippet).count("‹needle›") == 3
    assert snippet.text.splitlines()[1].endswith("…")


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
