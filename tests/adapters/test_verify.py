from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapter_samples import facts
from modelyard.adapters.lora import WEIGHTS_NAME, open_lora
from modelyard.adapters.manifest import DamagedVersion, Manifest
from modelyard.adapters.tokenizer import template_hash
from modelyard.adapters.verify import verify_version
from modelyard.adapters.versions import AdapterVersion, load_version, register_version
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project
from modelyard.records.provenance import Origin
from modelyard.weights.local import LocalBase

Adopt = Callable[..., AdapterVersion]

# `make soak` multiplies by ten.
FLIPS = 200 * int(os.environ.get("MODELYARD_SOAK", "1"))


@pytest.fixture
def version(adopt: Adopt, saved_adapter: Path) -> AdapterVersion:
    return adopt(saved_adapter)


@pytest.fixture
def register_as(project: Project, saved_adapter: Path, tiny_base: LocalBase) -> Callable[..., Any]:
    """Register the saved adapter after a change to its files, which no check sees."""

    def register(change: Callable[[Path], None], **wrong: Any) -> AdapterVersion:
        def fill(staged: Path, manifest: Manifest) -> None:
            shutil.copytree(saved_adapter, staged, dirs_exist_ok=True)
            (staged / "README.md").unlink(missing_ok=True)
            (staged / "TRAINING_INFO.md").write_text("---\nadapter: demo\n---\n")
            change(staged)

        known = {
            "base": Origin(name="tiny", fingerprint=tiny_base.fingerprint),
            "template_hash": template_hash(saved_adapter),
        }
        return register_version(
            project, "demo", fill=fill, provenance=facts("spoilt", **known | wrong)
        )

    return register


@contextmanager
def opened(version: AdapterVersion) -> Iterator[Path]:
    """The folder of a version, its files writable."""
    for path in version.path.iterdir():
        path.chmod(0o640)
    yield version.path


def found(project: Project, version: AdapterVersion, base: LocalBase | None) -> list[str]:
    return [str(problem) for problem in verify_version(project, version, base)]


def test_a_whole_version_has_no_problem(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    assert verify_version(project, version, tiny_base) == []
    assert verify_version(project, version, None) == []


def test_a_flipped_bit_in_any_file_is_found(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    chance = random.Random(3)
    names = sorted(path.name for path in version.path.iterdir())
    assert "MANIFEST.json" in names
    missed = []
    with opened(version) as folder:
        for _ in range(FLIPS):
            path = folder / chance.choice(names)
            whole = path.read_bytes()
            place, bit = chance.randrange(len(whole)), chance.randrange(8)
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                if not verify_version(project, load_version(project, "demo", 1), tiny_base):
                    missed.append((path.name, place, bit))
            except DamagedVersion:
                assert path.name == "MANIFEST.json"
            path.write_bytes(whole)
    print(f"{FLIPS - len(missed)} of {FLIPS} flipped bits found in {len(names)} files")
    assert missed == []
    assert verify_version(project, load_version(project, "demo", 1), tiny_base) == []


def test_every_kind_of_change_to_the_files_is_named(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    with opened(version) as folder:
        (folder / "extra.txt").touch()
        (folder / "tokenizer_config.json").unlink()
        (folder / "inner").mkdir()
        (folder / "inner" / "state.pt").write_bytes(b"\x80")
        with (folder / "tokenizer.json").open("ab") as stream:
            stream.write(b" ")
    problems = found(project, version, tiny_base)
    assert "inner/state.pt: is a pickle, which can run any code when it is loaded" in problems
    assert "extra.txt: is not in the manifest" in problems
    assert "tokenizer_config.json: is missing" in problems
    assert any(
        problem.startswith("tokenizer.json: holds") and problem.endswith("were registered")
        for problem in problems
    )


def test_a_link_in_place_of_a_file_is_found(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    with opened(version) as folder:
        (folder / "tokenizer.json").rename(project.root / "elsewhere.json")
        (folder / "tokenizer.json").symlink_to(project.root / "elsewhere.json")
    assert "tokenizer.json: is a link" in found(project, version, tiny_base)


def test_another_base_is_named(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    other = dataclasses.replace(tiny_base, name="other", fingerprint="sha256:0000")
    (problem,) = verify_version(project, version, other)
    assert problem.message.startswith("was trained on tiny (sha256:")
    assert problem.message.endswith("not on other (sha256:0000)")
    assert problem.where is None


def test_an_adapter_whose_b_is_all_zero_changes_nothing(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    def zero(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        save_file({k: v * 0 if "lora_B" in k else v for k, v in tensors.items()}, path)

    problems = found(project, register_as(zero), tiny_base)
    assert problems == ["every lora_B is zero, so it changes nothing"]


def test_a_tensor_that_is_missing_is_named(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    def drop(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        del tensors["base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"]
        save_file(tensors, path)

    problems = found(project, register_as(drop), tiny_base)
    assert problems == ["model.layers.1.mlp.up_proj: lora_A is absent, and should be [8, 64]"]


def test_a_chat_template_of_another_training_is_found(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    version = register_as(lambda folder: None, template_hash="sha256:0000")
    wrong = "chat_template.jinja: is not the chat template it was trained with"
    assert found(project, version, tiny_base) == [wrong]
    assert found(project, version, None) == [wrong]


def test_a_version_without_a_chat_template_says_so(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    version = register_as(lambda folder: (folder / "chat_template.jinja").unlink())
    assert found(project, version, tiny_base) == ["has no chat template"]


def test_a_tokenizer_that_gives_other_ids_is_found(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    def swap(folder: Path) -> None:
        values = json.loads((folder / "tokenizer.json").read_text())
        ids = values["model"]["vocab"]
        ids["a"], ids["b"] = ids["b"], ids["a"]
        (folder / "tokenizer.json").write_text(json.dumps(values))

    (problem,) = found(project, register_as(swap), tiny_base)
    assert problem.startswith("tokenizer.json: gives the token 'a' the id ")


def test_a_tokenizer_with_tokens_of_its_own_is_found(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    def add(folder: Path) -> None:
        values = json.loads((folder / "tokenizer.json").read_text())
        values["added_tokens"].append({**values["added_tokens"][0], "id": 9999, "content": "<new>"})
        (folder / "tokenizer.json").write_text(json.dumps(values))

    (problem,) = found(project, register_as(add), tiny_base)
    assert problem == "tokenizer.json: has tokens that the base does not know: '<new>'"


def test_a_tokenizer_that_is_only_written_otherwise_is_no_problem(
    project: Project, register_as: Callable[..., AdapterVersion], tiny_base: LocalBase
) -> None:
    def reformat(folder: Path) -> None:
        values = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(values, indent=7))

    assert found(project, register_as(reformat), tiny_base) == []


def test_a_manifest_that_was_rewritten_is_found_though_it_reads_well(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    path = version.path / "MANIFEST.json"
    whole = path.read_text()
    with opened(version):
        for changed in (
            whole.replace('"org": null', '"org": "another"'),
            json.dumps(json.loads(whole)),
            whole + "\n",
        ):
            assert changed != whole
            path.write_text(changed)
            problems = found(project, load_version(project, "demo", 1), tiny_base)
            assert problems == ["MANIFEST.json: was changed: it differs from its digest"]


def test_a_manifest_from_before_there_were_digests_is_accepted(
    project: Project, version: AdapterVersion, tiny_base: LocalBase
) -> None:
    path = version.path / "MANIFEST.json"
    values = json.loads(path.read_text())
    del values["digest"]
    with opened(version):
        path.write_text(json.dumps(values, indent=2) + "\n")
    assert found(project, load_version(project, "demo", 1), tiny_base) == []


@pytest.mark.parametrize("inside", ["text", ["default", "text"]])
def test_the_template_hash_is_the_same_wherever_the_template_is_kept(
    tmp_path: Path, inside: Any
) -> None:
    alone, within = tmp_path / "alone", tmp_path / "within"
    for folder in (alone, within):
        folder.mkdir()
    (alone / "chat_template.jinja").write_text("text")
    template = inside if isinstance(inside, str) else [{"name": inside[0], "template": inside[1]}]
    (within / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    assert template_hash(alone) == template_hash(within)
    assert template_hash(tmp_path) is None


def test_the_template_hash_is_the_one_that_training_records(tiny_base: LocalBase) -> None:
    from modelyard.chatdata.template import ChatTokenizer

    assert template_hash(tiny_base.path) == ChatTokenizer.load(tiny_base.path).template_hash


def test_a_template_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelyardError, match="is not UTF-8 text"):
        template_hash(tmp_path)


def test_weights_that_were_opened_do_not_change_with_their_file(
    saved_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(saved_adapter, tmp_path / "copied")
    opened = open_lora(folder)
    before = {module: opened[module].a.copy() for module in opened}
    os.truncate(folder / WEIGHTS_NAME, 10)  # reading a mapped file would end the process
    assert before and all((opened[module].a == a).all() for module, a in before.items())
