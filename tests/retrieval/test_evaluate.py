"""Measures of a ranking, by hand and over small sets in BEIR's layout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.evaluate import (
    SearchEvaluation,
    bootstrap,
    evaluate_search,
    ndcg,
    recall,
    reciprocal_rank,
)
from modelyard.retrieval.evaluation_set import title_of_code
from modelyard.retrieval.index_file import VECTOR_TYPE, FileRecord
from modelyard.retrieval.index_writer import build_beside
from modelyard.retrieval.indexes import load_indexes
from toy_encoder import ToyEncoder, ToyEncoders

CONFIG = """
description: For tests
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 64, max_tokens: 256}
domains:
  documentation: {description: Prose, sources: ["docs/**/*.md"]}
"""
WriteJsonl = Callable[[Path, list[Any]], Path]


@pytest.fixture
def beir(project: Project, tmp_path: Path, write_jsonl: WriteJsonl) -> Path:
    """A set of 30 documents and a query for each, whose words it shares."""
    config = project.root / "configs" / "embedding_models" / "tests.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    names = [f"word{number} thing{number}" for number in range(30)]
    folder = tmp_path / "a-set"
    documents = [
        {"_id": f"d{at}", "title": f"About {name}", "text": f"About {name} and others of its kind"}
        for at, name in enumerate(names)
    ]
    queries = [{"_id": f"q{at}", "text": f"what is {name}?"} for at, name in enumerate(names)]
    write_jsonl(folder / "corpus.jsonl", documents)
    write_jsonl(folder / "queries.jsonl", [*queries, {"_id": "q99", "text": "nobody answers"}])
    rows = [f"q{at}\td{at}\t1" for at in range(30)]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *rows, "q0\td1\t0"]) + "\n"
    )
    return folder


def test_a_set_in_beirs_layout_is_evaluated(project: Project, beir: Path) -> None:
    (found,) = evaluate_search(project, beir, encoders=ToyEncoders())
    assert (found.name, found.queries, found.chunks) == ("a-set", 30, 30)
    assert list(found.measures) == ["nDCG@10", "recall@10", "recall@100", "MRR"]
    assert found.measures["nDCG@10"].lexical.value == 1.0
    assert found.measures["recall@100"].dense.value == 1.0
    gain = found.measures["nDCG@10"].gain
    assert gain.low <= gain.value <= gain.high


def test_the_second_run_embeds_nothing(project: Project, beir: Path) -> None:
    encoder = ToyEncoder()
    for _ in range(2):
        evaluate_search(project, beir, encoders=ToyEncoders(encoder))
    assert len(encoder.encoded) == 30


def test_a_wrong_answer_costs(project: Project, beir: Path) -> None:
    answers = beir / "qrels" / "test.tsv"
    answers.write_text(answers.read_text().replace("q5\td5", "q5\td6"))
    (found,) = evaluate_search(project, beir, encoders=ToyEncoders())
    assert found.measures["MRR"].lexical.value == pytest.approx(29 / 30, abs=0.02)
    assert found.measures["MRR"].lexical.low < found.measures["MRR"].lexical.value


def test_code_is_detected_by_its_definitions(
    project: Project, beir: Path, write_jsonl: WriteJsonl
) -> None:
    documents = [
        {"_id": f"d{at}", "text": f'def word{at}(x):\n    """Do thing{at}."""\n'}
        for at in range(30)
    ]
    write_jsonl(beir / "corpus.jsonl", documents)
    (found,) = evaluate_search(project, beir, encoders=ToyEncoders())
    assert found.dense_weight == 0.85
    (as_text,) = evaluate_search(project, beir, kind="text", encoders=ToyEncoders())
    assert as_text.dense_weight == 0.6


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("corpus.jsonl", "{}\n", "corpus.jsonl:1: is not a JSON object"),
        ("queries.jsonl", '{"_id": "q", "text": "x"}\nno\n', "queries.jsonl:2: is not a JSON"),
        ("qrels/test.tsv", "q0\td0\t1\nq0\td0\tgood\n", "test.tsv:2: its grade is no number"),
        ("qrels/test.tsv", "q0 d0 1\nq1 d1 1\n", "test.tsv:1: not tab-separated"),
        ("qrels/test.tsv", "q0\td0\t1\n\nq1 d1 1\n", "test.tsv:3: not tab-separated"),
    ],
)
def test_a_file_in_another_layout_is_named_by_line(
    project: Project, beir: Path, file: str, content: str, problem: str
) -> None:
    (beir / file).write_text(content)
    with pytest.raises(InvalidInput, match=problem):
        evaluate_search(project, beir, encoders=ToyEncoders())


def test_a_missing_file_is_named(project: Project, beir: Path) -> None:
    (beir / "corpus.jsonl").unlink()
    with pytest.raises(InvalidInput, match=r"corpus\.jsonl: cannot be read"):
        evaluate_search(project, beir, encoders=ToyEncoders())


def test_queries_without_an_answer_are_no_data(project: Project, beir: Path) -> None:
    (beir / "qrels" / "test.tsv").write_text("another\td1\t1\n")
    with pytest.raises(NoData, match="has an answer"):
        evaluate_search(project, beir, encoders=ToyEncoders())


def test_an_index_that_is_not_built_is_no_data(project: Project, beir: Path) -> None:
    with pytest.raises(NoData, match="no index yet"):
        evaluate_search(project, beir / "queries.jsonl", encoders=ToyEncoders())


def test_ndcg_by_hand() -> None:
    grades = {"a": 2.0, "b": 1.0}
    assert ndcg(["a", "b"], grades) == 1.0
    wanted = (1 / math.log2(2) + 2 / math.log2(4)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert ndcg(["b", "x", "a"], grades) == pytest.approx(wanted)
    assert ndcg(["x"] * 10 + ["a"], grades) == 0.0


def test_recall_and_reciprocal_rank_by_hand() -> None:
    grades = {"a": 1.0, "b": 1.0}
    assert recall(["x", "a", "y"], grades, 2) == 0.5
    assert recall(["x", "a", "y"], grades, 1) == 0.0
    assert reciprocal_rank(["x", "a", "b"], grades) == 0.5
    assert reciprocal_rank(["x"], grades) == 0.0


def test_the_interval_of_a_bootstrap_is_that_of_theory() -> None:
    drawn = np.random.default_rng(3).standard_normal(400)
    figure = bootstrap(drawn)
    half = 1.96 * drawn.std() / 20
    assert figure.low == pytest.approx(drawn.mean() - half, abs=0.01)
    assert figure.high == pytest.approx(drawn.mean() + half, abs=0.01)
    assert bootstrap(drawn) == figure


def test_code_is_called_by_its_name_and_summary() -> None:
    text = 'def read_file(path):\n    """Read a file\n    as text.\n\n    Args: path\n    """\n'
    assert title_of_code(text) == "read_file: Read a file as text."
    assert title_of_code("x = 1") == ""


def index_two_chunks(project: Project, index: str = "documentation") -> None:
    """docs/a.md: lines 1 to 5 roll back an adapter, 6 to 10 promote one."""
    encoder = ToyEncoder()
    record = FileRecord(
        path="docs/a.md", sha256="", size_bytes=1, mtime_ns=1, modified_at="2026", seen=""
    )
    chunks = [
        Chunk(text=text, kind="section", first_line=at, last_line=at + 4)
        for text, at in (("roll back an adapter", 1), ("promote an adapter", 6))
    ]
    vectors = {
        chunk.digest: encoder.encode_query(chunk.text).astype(VECTOR_TYPE).tobytes()
        for chunk in chunks
    }
    with build_beside(
        load_indexes(project)[f"tests/{index}"].path,
        encoder=encoder.fingerprint,
        dimensions=64,
        chunking="",
    ) as build:
        build.add_file(record, chunks, vectors)


def ask_own(project: Project, folder: Path, answers: str, **options: Any) -> list[SearchEvaluation]:
    """Evaluate the project's own indexes with two questions and these answers."""
    queries = folder / "own.jsonl"
    rows = [{"_id": "1", "text": "how to promote"}, {"_id": "2", "text": "how to roll back"}]
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = folder / "answers.tsv"
    qrels.write_text(answers)
    return evaluate_search(project, queries, qrels=qrels, encoders=ToyEncoders(), **options)


def test_queries_of_an_index_name_its_chunks(project: Project, beir: Path) -> None:
    index_two_chunks(project)
    (found,) = ask_own(project, beir, "1\tdocs/a.md:8\t1\n")
    assert found.measures["MRR"].fused.value == 1.0
    assert (found.encoder, found.answers, found.unknown) == ("all-minilm-l6-v2", 1, ())


def test_a_file_and_two_lines_of_one_chunk_are_answers_at_once(
    project: Project, beir: Path
) -> None:
    index_two_chunks(project)
    answers = "1\tdocs/a.md:8\t1\n1\tdocs/a.md:9\t1\n2\tdocs/a.md\t1\n"
    (found,) = ask_own(project, beir, answers)
    assert found.unknown == ()
    assert found.measures["recall@10"].fused.value == 1.0
    assert found.measures["MRR"].fused.value == 1.0


def test_answers_that_name_nothing_are_counted(project: Project, beir: Path) -> None:
    index_two_chunks(project)
    answers = "1\tdocs/a.md:8\t1\n1\tdocs/a.md:99\t1\n2\tdocs/b.md\t1\n3\tdocs/c.md\t1\n"
    (found,) = ask_own(project, beir, answers)
    assert (found.answers, found.unknown) == (3, ("docs/a.md:99", "docs/b.md"))


def test_answers_that_all_name_nothing_are_no_data(project: Project, beir: Path) -> None:
    index_two_chunks(project)
    with pytest.raises(NoData, match=r"no answer names a chunk of tests/documentation: docs/b"):
        ask_own(project, beir, "1\tdocs/b.md\t1\n")
    (beir / "qrels" / "test.tsv").write_text("q1\tno-document\t1\n")
    with pytest.raises(NoData, match="no answer names a chunk of a-set: no-document"):
        evaluate_search(project, beir, encoders=ToyEncoders())


def test_without_an_index_those_that_a_search_uses_are_evaluated(
    project: Project, beir: Path
) -> None:
    folder = project.root / "configs" / "embedding_models"
    (folder / "apart.yaml").write_text(CONFIG.replace("documentation", "notes"))
    index_two_chunks(project)
    answers = "1\tdocs/a.md:8\t1\n"
    (folder / "rules.yaml").write_text("description: Rules\nsearch: {groups: [apart]}\n")
    with pytest.raises(NoData, match="no index yet"):
        ask_own(project, beir, answers)
    (found,) = ask_own(project, beir, answers, indexes=["documentation"])
    assert found.name == "tests/documentation"


def test_a_folder_is_evaluated_with_the_encoder_of_the_named_index(
    project: Project, beir: Path
) -> None:
    other = CONFIG.replace("documentation", "notes").replace("all-minilm-l6-v2", "another")
    (project.root / "configs" / "embedding_models" / "apart.yaml").write_text(other)
    (found,) = evaluate_search(project, beir, indexes=["notes"], encoders=ToyEncoders())
    assert found.encoder == "another"
    with pytest.raises(InvalidInput, match="several encoders"):
        evaluate_search(project, beir, indexes=["notes", "documentation"], encoders=ToyEncoders())


def test_an_id_that_stands_twice_is_refused(
    project: Project, beir: Path, write_jsonl: WriteJsonl
) -> None:
    twice = [{"_id": "d1", "text": "one"}, {"_id": "d2", "text": "x"}, {"_id": "d1", "text": "two"}]
    write_jsonl(beir / "corpus.jsonl", twice)
    with pytest.raises(InvalidInput, match=r"corpus\.jsonl:3: has the _id 'd1' of line 1 again"):
        evaluate_search(project, beir, encoders=ToyEncoders())
