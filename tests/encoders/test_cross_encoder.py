"""Cross-encoders: the scores are those of transformers, and a folder that is none is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_progress import RecordedProgress

from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import cache_folder
from modelyard.encoders.cross_encoder import open_cross_encoder
from tiny_encoders import reference_scores, write_cross_encoder, write_encoder

QUERY = "how do i roll back an adapter"
CHUNKS = [
    "roll back the adapter version",
    "",
    "out of memory in the search index",
    "the index of a version is in the search of the adapter " * 9,  # longer than it sees
    "Größe 漢字 \ud800 zzz",
    "roll back the adapter version",
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("cross-encoders") / "tiny")


def cleaned(texts: list[str]) -> list[str]:
    return [text.encode("utf-8", "replace").decode() for text in texts]


@pytest.mark.parametrize("query", [QUERY, "i", "漢字 of the index"])
def test_scores_are_those_of_transformers(tiny: Path, query: str) -> None:
    found = open_cross_encoder(tiny).score(query, CHUNKS)
    expected = reference_scores(tiny, query, cleaned(CHUNKS))
    assert found.dtype == np.float32
    assert np.ptp(expected) > 0.1  # the chunks do differ
    assert np.allclose(found, expected, atol=1e-3)
    assert np.argsort(found[:5]).tolist() == np.argsort(expected[:5]).tolist()


def test_a_model_that_is_not_told_which_is_the_query_sees_one_text(tmp_path: Path) -> None:
    folder = write_cross_encoder(tmp_path / "model", tells_apart=False)
    found = open_cross_encoder(folder).score(QUERY, CHUNKS)
    assert np.allclose(found, reference_scores(folder, QUERY, cleaned(CHUNKS)), atol=1e-3)


def test_a_roberta_runs_through_torch_and_says_so(tmp_path: Path) -> None:
    folder, progress = (
        write_cross_encoder(tmp_path / "model", family="roberta", tells_apart=False),
        RecordedProgress(),
    )
    found = open_cross_encoder(folder, progress=progress).score(QUERY, CHUNKS)
    assert np.allclose(found, reference_scores(folder, QUERY, cleaned(CHUNKS)), atol=1e-3)
    assert any("no plain BERT (roberta)" in text for text in progress.warnings)


def test_another_activation_is_not_taken_for_plain_bert(tmp_path: Path) -> None:
    folder = write_cross_encoder(tmp_path / "model", hidden_act="relu")
    found = open_cross_encoder(folder).score(QUERY, CHUNKS)
    assert np.allclose(found, reference_scores(folder, QUERY, cleaned(CHUNKS)), atol=1e-3)


def test_a_query_longer_than_the_model_sees_still_meets_its_chunks(tiny: Path) -> None:
    scorer = open_cross_encoder(tiny)
    first, second = scorer.score(QUERY * 20, ["roll back the version", "memory error"])
    assert np.isfinite([first, second]).all()
    assert first != second


def test_no_chunk_gets_no_score(tiny: Path) -> None:
    assert open_cross_encoder(tiny).score(QUERY, []).shape == (0,)


def test_the_graph_is_written_once(tmp_path: Path) -> None:
    folder, progress = write_cross_encoder(tmp_path / "model"), RecordedProgress()
    for _ in range(2):
        open_cross_encoder(folder, progress=progress).score(QUERY, CHUNKS)
    assert progress.stages == ["prepare: the cross-encoder model for ONNX Runtime, once"]
    assert len(list((cache_folder() / "encoders" / "graphs").glob("*.onnx"))) == 1


def test_a_score_needs_no_torch(tiny: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from modelyard.encoders.cross_encoder import open_cross_encoder

print(open_cross_encoder(Path({str(tiny)!r})).score("roll back", ["the adapter"])[0])
print(sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    for _ in range(2):  # the first run writes the graph
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.endswith("[]\n"), done.stderr


def _change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _rename_tensor(folder: Path, old: str, new: str) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors[new] = tensors.pop(old)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5_000])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no cross-encoder's folder"),
    "a config that is no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "is not JSON",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    "a tokenizer that is none": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "is no tokenizer",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no .*safetensors"),
    "cut weights": (_cut_weights, "cannot be read"),
    "no classifier": (
        lambda folder: _rename_tensor(folder, "classifier.weight", "else.weight"),
        "has no classifier.weight",
    ),
    "no pooler": (
        lambda folder: _rename_tensor(folder, "bert.pooler.dense.bias", "else.bias"),
        "has no pooler.dense.bias",
    ),
    "three labels": (
        lambda folder: _change_config(folder, id2label={"0": "no", "1": "both", "2": "yes"}),
        "gives 3 numbers",
    ),
    "labels that nobody counted": (
        lambda folder: _change_config(folder, id2label=None),
        "gives 2 numbers",
    ),
    "no width": (lambda folder: _change_config(folder, hidden_size=None), "hidden_size"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(tiny: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    change, problem = DAMAGES[damage]
    change(folder)
    with pytest.raises(InvalidInput, match=problem) as caught:
        open_cross_encoder(folder)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(tiny: Path, tmp_path: Path, number: float) -> None:
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(tiny, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][:] = number
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="a score that is not a finite number") as caught:
        open_cross_encoder(folder).score(QUERY, CHUNKS)
    assert str(folder) in str(caught.value)


def test_a_roberta_without_its_classifier_is_refused(tmp_path: Path) -> None:
    folder = write_cross_encoder(tmp_path / "model", family="roberta", tells_apart=False)
    _rename_tensor(folder, "classifier.out_proj.weight", "else.weight")
    with pytest.raises(InvalidInput, match=r"has no classifier\.out_proj\.weight"):
        open_cross_encoder(folder)


def test_a_damaged_roberta_is_refused(tmp_path: Path) -> None:
    folder = write_cross_encoder(tmp_path / "model", family="roberta", tells_apart=False)
    _cut_weights(folder)
    with pytest.raises(InvalidInput, match="cannot load it"):
        open_cross_encoder(folder)


def test_a_sentence_encoder_is_no_cross_encoder(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    with pytest.raises(InvalidInput, match="is no cross-encoder: it is a BertModel"):
        open_cross_encoder(folder)


def test_a_damaged_graph_says_how_to_get_another(tmp_path: Path) -> None:
    folder = write_cross_encoder(tmp_path / "model")
    open_cross_encoder(folder)
    (graph,) = (cache_folder() / "encoders" / "graphs").glob("*.onnx")
    graph.write_bytes(b"no graph")
    with pytest.raises(ModelyardError, match="cannot load") as caught:
        open_cross_encoder(folder)
    assert "remove the file" in str(caught.value.hint)
    graph.unlink()
    assert open_cross_encoder(folder).score(QUERY, ["the adapter"]).shape == (1,)
