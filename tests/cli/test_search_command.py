"""`models search`: what is printed, what a program reads, and how it ends."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelyard.core.layout import Project
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.indexes import load_indexes

CONFIG = """
description: For tests
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 8, max_tokens: 256}
domains:
  documentation: {description: Prose, sources: ["docs/**/*.md"]}
"""
TEXTS = {
    "docs/adapters.md": ("Adapters > Roll back", "To roll back an adapter,\nrun `rollback NAME`."),
    "docs/registry.md": ("Registry", "Push versions to a bucket.\x1b[31m"),
}
Models = Callable[..., int]


class EightNumbers:
    """An encoder that finds all texts alike."""

    fingerprint = "eight"
    dimensions = 8

    def encode_query(self, text: str, *, within_s: float | None = None) -> np.ndarray:
        return np.full(8, 8**-0.5, np.float32)


@pytest.fixture
def searchable(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with one index."""
    config = project.root / "configs" / "embedding_models" / "tests.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    monkeypatch.setattr(
        "modelyard.encoders.encoder.Encoders.fingerprint", lambda encoders, settings: "eight"
    )
    monkeypatch.setattr(
        "modelyard.encoders.encoder.Encoders.open",
        lambda encoders, settings, texts=0: EightNumbers(),
    )
    vector = EightNumbers().encode_query("").astype(VECTOR_TYPE).tobytes()
    place = load_indexes(project)["tests/documentation"].path
    with build_beside(place, encoder="eight", dimensions=8, chunking="") as build:
        for path, (title, text) in TEXTS.items():
            lines = text.count("\n")
            chunk = Chunk(text=text, title=title, kind="section", first_line=3, last_line=3 + lines)
            build.add_file(_write_file(project, path, text), [chunk], {chunk.digest: vector})
    return project


def _write_file(project: Project, path: str, text: str) -> FileRecord:
    file = project.root / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return FileRecord(
        path=path,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        size_bytes=len(text.encode()),
        mtime_ns=file.stat().st_mtime_ns,
        modified_at="",
        seen="",
    )


def test_a_result_whose_file_is_gone_is_marked_and_noted(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (searchable.root / "docs" / "adapters.md").unlink()
    assert models("search", "roll back an adapter") == 0
    said = capsys.readouterr()
    first, second = said.out.split("\n\n")[:2]
    assert first.splitlines()[0].endswith("  (gone since)")
    assert "since" not in second
    assert "note: 1 file went since the index was made: `models update-embeddings" in said.err
    assert models("search", "roll back an adapter", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [result["state"] for result in found["results"]] == ["gone", "same"]
    assert "1 file went" in found["notes"][0]


def test_the_name_of_a_file_cannot_forge_a_result(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = "docs/a\n1. docs/adapters.md:1-2  Run this  [tests.documentation].md"
    chunk = Chunk(text="roll back here", kind="section", first_line=1, last_line=1)
    vector = EightNumbers().encode_query("").astype(VECTOR_TYPE).tobytes()
    place = load_indexes(searchable)["tests/documentation"].path
    with build_beside(place, encoder="eight", dimensions=8, chunking="") as build:
        for path in (forged, f"{forged}.md"):
            record = FileRecord(
                path=path, sha256="", size_bytes=1, mtime_ns=1, modified_at="", seen=""
            )
            build.add_file(record, [chunk], {chunk.digest: vector})
    assert models("search", "roll back", "--explain") == 0
    shown = capsys.readouterr().out
    assert sum(line.startswith("1. ") for line in shown.splitlines()) == 1
    assert "1. docs/a\\n1. docs/adapters.md" in shown
    assert "     also docs/a\\n1. docs/adapters.md" in shown


def test_a_key_that_no_chunk_has_is_wrong_usage(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "roll back", "--filter", "foo=bar") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "filter foo: no chunk has such a fact" in said
    assert "the keys here: path, kind, domain" in said


def test_an_evaluation_says_how_many_answers_name_nothing(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    questions, answers = tmp_path / "q.jsonl", tmp_path / "a.tsv"
    questions.write_text('{"_id": "1", "text": "roll back"}\n')
    answers.write_text("1\tdocs/adapters.md:4\t1\n1\tdocs/adapters.md:9999\t1\n")
    words = ("search", "--eval", str(questions), "--qrels", str(answers))
    assert models(*words) == 0
    said = capsys.readouterr()
    assert "dense 60%, vectors of all-minilm-l6-v2" in said.out
    assert "note: 1 of 2 answers name no file there: docs/adapters.md:9999" in said.err
    assert models(*words, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["sets"]
    assert (found["answers"], found["unknown"]) == (2, ["docs/adapters.md:9999"])
    answers.write_text("1\tdocs/no-such.md\t1\n")
    assert models(*words) == 5
    assert "no answer names a chunk of tests/documentation" in capsys.readouterr().err


def test_results_show_place_title_and_marked_words(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "how do I roll back an adapter") == 0
    first, second = capsys.readouterr().out.split("\n\n")[:2]
    assert first.splitlines()[0].startswith(
        "1. docs/adapters.md:3-4  Adapters > Roll back  [tests/documentation]  0."
    )
    assert "     To ‹roll› ‹back› an ‹adapter›," in first
    assert second.startswith("2. docs/registry.md:3-3  Registry")


def test_a_terminal_does_not_obey_what_was_found(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "push to a bucket") == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown


def test_explain_says_how_the_query_was_understood_and_why(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", 'roll "an adapter"', "--explain") == 0
    shown = capsys.readouterr().out
    assert "terms    roll adapt" in shown
    assert 'phrases  "an adapter"' in shown
    assert "asked    tests/documentation: 2 chunks, 1 of them let through; dense 60%" in shown
    assert "= 0.60 x (dense 1.000 - crowding 0.000) + 0.40 x lexical " in shown


def test_a_program_reads_the_parts_of_each_score(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "roll back", "--json", "--top", "1") == 0
    found = json.loads(capsys.readouterr().out)
    (result,) = found["results"]
    assert (result["domain"], result["path"]) == ("tests/documentation", "docs/adapters.md")
    assert (result["first_line"], result["last_line"]) == (3, 4)
    scores = result["scores"]
    mixed = 0.6 * (scores["dense"] - 0.3 * scores["crowding"])
    mixed += 0.4 * scores["words"] / scores["scale"]
    assert scores["final"] == pytest.approx(mixed)
    (start, end), *_ = result["snippet"]["marks"]
    assert result["snippet"]["text"][start:end] == "roll"
    assert found["query"]["terms"] == ["roll", "back"]


def test_no_answer_is_an_answer(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strange = "the weather on the island of Madeira"
    assert models("search", strange, "--strict") == 0  # to the toy encoder all texts are equal
    capsys.readouterr()
    monkeypatch.setattr("modelyard.retrieval.answerable.ANSWERS_FROM", 0.8)
    assert models("search", strange) == 0
    said = capsys.readouterr()
    assert said.out and "nothing here answers this" in said.err
    assert models("search", strange, "--json") == 0
    assert json.loads(capsys.readouterr().out)["answered"] is False
    assert models("search", strange, "--strict") == 5
    assert models("search", "roll back an adapter", "--strict") == 0
    assert models("search", "roll back an adapter", "--min-score", "0.1") == 0
    capsys.readouterr()
    assert models("search", "roll back an adapter", "--min-score", "9") == 5
    assert "nothing found" in capsys.readouterr().err


def pipe(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_a_query_can_come_from_stdin_and_of_a_long_one_both_ends_are_used(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe(monkeypatch, b"Traceback:\n  roll back an adapter\n")
    assert models("search", "-", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["query"]["terms"] == ["traceback", "roll", "back", "adapt"]
    assert found["results"][0]["path"] == "docs/adapters.md"

    pipe(monkeypatch, b"first " + b"middle " * 10_000 + b"of registry")
    assert models("search", "-", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["query"]["terms"] == ["first", "middl", "registri"]
    assert "of the 70,017 characters on stdin" in printed.err


@pytest.mark.parametrize(
    ("text", "problem"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"", "query is empty"), (b"a" * 10_000_001, "longer than")],
)
def test_what_is_no_query_on_stdin_is_refused(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: bytes,
    problem: str,
) -> None:
    pipe(monkeypatch, text)
    assert models("search", "-") == 2
    assert problem in capsys.readouterr().err


def test_chunks_near_a_place_are_shown_without_itself(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert models("search", "--related", "docs/adapters.md:4", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["domain"]) == ("docs/adapters.md", "tests/documentation")
    (near,) = found["results"]
    assert (near["path"], near["state"]) == ("docs/registry.md", "same")
    assert near["cosine"] == pytest.approx(1, abs=1e-3)

    monkeypatch.chdir(searchable.root / "docs")
    assert models("search", "--related", "registry.md:1", "--top", "1") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("1. docs/adapters.md:3-4  Adapters > Roll back")
    assert "near docs/registry.md:3-3" in printed.err


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("docs/adapters.md",), "is not FILE:LINE"),
        (("docs/adapters.md:0",), "is not FILE:LINE"),
        (("docs/adaptors.md:3",), "did you mean 'docs/adapters.md'"),
        (("docs/adapters.md:3", "roll back"), "takes no QUERY"),
    ],
)
def test_a_place_that_no_index_has_is_wrong_usage(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    problem: str,
) -> None:
    assert models("search", "--related", *more) == 2
    assert problem in " ".join(capsys.readouterr().err.split())


def test_a_filter_that_nothing_fits_finds_nothing(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "roll back", "--filter", "kind=function") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing found" in said.err
    assert "note: no chunk has kind=function; there is section" in said.err


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        ((), 2, "say what to look for"),
        (("x", "--filter", "kind"), 2, "is not KEY=VALUE"),
        (("x", "--filter", "kind=a", "--filter", "kind=b"), 2, "given twice"),
        (("x", "--qrels", "a.tsv"), 2, "belong to --eval"),
        (("x", "--tune"), 2, "belong to --eval"),
        (("--eval", "a", "--eval", "b", "--qrels", "a.tsv"), 2, "has the answers of one --eval"),
        (("x", "--eval", "folder"), 2, "takes its queries from files"),
        (("--eval", "folder", "--no-rerank"), 2, "takes its queries from files"),
        (("x", "--domain", "documentaton"), 2, "did you mean 'documentation'"),
        (("--eval", "no-folder"), 2, "cannot be read"),
    ],
)
def test_wrong_usage_is_said(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    problem: str,
) -> None:
    assert models("search", *words) == code
    assert problem in " ".join(capsys.readouterr().err.split())


def test_a_modality_takes_the_indexes_that_are_for_it(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "adapter", "--modality", "text") == 0
    assert "docs/adapters.md" in capsys.readouterr().out
    assert models("search", "adapter", "--modality", "code") == 2
    assert "none of these indexes is for code (tests: text)" in capsys.readouterr().err
    config = searchable.root / "configs" / "embedding_models" / "tests.yaml"
    config.write_text(f"modalities: [text, code]\n{CONFIG}")
    assert models("search", "adapter", "--modality", "code") == 0
    assert "docs/adapters.md" in capsys.readouterr().out


def test_without_an_index_there_is_no_data(
    searchable: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    load_indexes(searchable)["tests/documentation"].path.unlink()
    assert models("search", "roll back") == 5
    assert "models update-embeddings" in capsys.readouterr().err


class LikesBuckets:
    """A cross-encoder that prefers chunks with the word bucket."""

    def score(self, query: str, chunks: list[str]) -> np.ndarray:
        return np.array([3.0 if "bucket" in chunk else -3.0 for chunk in chunks])


@pytest.fixture
def reranked(searchable: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, with a cross-encoder that likes buckets."""
    rules = searchable.root / "configs" / "embedding_models" / "rules.yaml"
    rules.write_text("description: Rules\nsearch: {groups: [tests], reranker: models/likes}\n")
    (searchable.root / "models" / "likes").mkdir()
    monkeypatch.setattr(
        "modelyard.retrieval.reranking.open_cross_encoder",
        lambda folder, progress: LikesBuckets(),
    )
    return searchable


def test_a_cross_encoder_changes_the_order_and_explains_it(
    reranked: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "roll back an adapter", "--explain") == 0
    shown = capsys.readouterr().out
    assert "reranked 2 of the results below, by models/likes" in shown
    assert "1. docs/registry.md:3-3  Registry  [tests/documentation]  0.953" in shown
    assert "     logistic(reranked 3.00) = 0.953" in shown
    assert "     logistic(reranked -3.00) = 0.047" in shown


def test_a_program_reads_the_score_of_the_cross_encoder(
    reranked: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("search", "roll back an adapter", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reranker"] == "models/likes"
    assert [result["scores"]["reranked"] for result in found["results"]] == [3.0, -3.0]
    assert found["results"][0]["path"] == "docs/registry.md"


def test_no_rerank_leaves_the_order_as_it_is(
    reranked: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (reranked.root / "models" / "likes").rmdir()
    assert models("search", "roll back an adapter", "--no-rerank", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reranker"] is None
    assert [result["path"] for result in found["results"]] == [
        "docs/adapters.md",
        "docs/registry.md",
    ]
    assert found["results"][0]["scores"]["reranked"] is None


def test_a_reranker_that_is_not_there_is_wrong_usage(
    reranked: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (reranked.root / "models" / "likes").rmdir()
    assert models("search", "roll back") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "names the folder models/likes, which does not exist" in said
    assert "--no-rerank" in said


def test_a_search_loads_neither_torch_nor_rich(searchable: Project) -> None:
    program = f"""
import sys
import numpy as np
from modelyard.encoders import Encoders

class EightNumbers:
    fingerprint, dimensions = "eight", 8
    def encode_query(self, text, *, within_s=None):
        return np.full(8, 8**-0.5, np.float32)

Encoders.open = lambda encoders, settings, texts=0: EightNumbers()
from modelyard.cli.app import main
sys.argv = ["models", "--project", {str(searchable.root)!r}, "search", "roll back"]
try:
    main()
finally:
    heavy = {{"torch", "transformers", "rich", "tree_sitter", "scipy", "jsonschema"}}
    print("loaded:", *sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=Path.cwd()
    )
    assert done.stdout.startswith("1. docs/adapters.md"), done.stderr
    assert done.stderr.splitlines()[-1].strip() == "loaded:"


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_row_nested_too_deeply_is_named_by_its_line(
    searchable: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
) -> None:
    row = '{"_id": "1", "text": "roll back"}\n'
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    for file in ("corpus.jsonl", "queries.jsonl"):
        (tmp_path / "set" / file).write_text(row + "[" * 20_000 if file == name else row)
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("1\t1\t1\n")
    assert models("search", "--eval", str(tmp_path / "set")) == 2
    assert f"{name}:2: is not a JSON object" in " ".join(capsys.readouterr().err.split())
