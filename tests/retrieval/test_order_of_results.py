"""What comes first, what is shown once, and what is named below a result."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.core.layout import Project
from modelyard.retrieval.search import Searcher
from search_samples import DOCS, Index, places
from toy_encoder import ToyEncoders


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
