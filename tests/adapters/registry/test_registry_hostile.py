"""A registry that somebody hostile writes: nothing of it reaches a project."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_samples import add_version, pull, push, whole_versions

from modelyard.adapters.lora import AdapterMismatch
from modelyard.adapters.registry.blobs import blob_key
from modelyard.adapters.registry.record import DamagedRegistry
from modelyard.adapters.registry.registry import Registry, find_remote_version
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project
from modelyard.core.os_errors import NoSpace
from modelyard.stores.store import StoreFailed


def write_record(store: Path, manifest: str, *, number: int = 1, digest: str | None = None) -> None:
    """Put a version into the registry by hand, as somebody hostile would."""
    digest = digest or hashlib.sha256(manifest.encode(errors="surrogatepass")).hexdigest()
    path = store / "adapters" / "demo" / "versions" / f"{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"sha256": digest, "manifest": manifest}))


def change_files(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: change(manifest["files"])


FILE = {"sha256": "0" * 64, "size_bytes": 1}
HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a path upwards": change_files(lambda files: files.update({"../evil": FILE})),
    "a path upwards in the middle": change_files(lambda files: files.update({"a/../../b": FILE})),
    "an absolute path": change_files(lambda files: files.update({"/etc/passwd": FILE})),
    "a drive": change_files(lambda files: files.update({"C:\\evil": FILE})),
    "a hidden file": change_files(lambda files: files.update({".git/config": FILE})),
    "an empty name": change_files(lambda files: files.update({"": FILE})),
    "a zero byte": change_files(lambda files: files.update({"a\0b": FILE})),
    "a line break": change_files(lambda files: files.update({"a\nb": FILE})),
    "half a character": change_files(lambda files: files.update({"\ud800": FILE})),
    "a long name": change_files(lambda files: files.update({"a" * 300: FILE})),
    "a deep path": change_files(lambda files: files.update({"a/" * 50 + "b": FILE})),
    "a case clash": change_files(lambda files: files.update({"Tokenizer.json": FILE})),
    "a file in a file": change_files(lambda files: files.update({"tokenizer.json/a": FILE})),
    "the manifest as a file": change_files(lambda files: files.update({"manifest.json": FILE})),
    "a pickle": change_files(lambda files: files.update({"model.bin": FILE})),
    "a pickle in capitals": change_files(lambda files: files.update({"model.PT": FILE})),
    "no weights": change_files(lambda files: files.pop("adapter_model.safetensors")),
    "no card": change_files(lambda files: files.pop("TRAINING_INFO.md")),
    "a hash that is a path": change_files(
        lambda files: files["tokenizer.json"].update(sha256="../../../../etc/passwd")
    ),
    "a hash in capitals": change_files(
        lambda files: files["tokenizer.json"].update(sha256="A" * 64)
    ),
    "a negative size": change_files(lambda files: files["tokenizer.json"].update(size_bytes=-1)),
    "a size of text": change_files(lambda files: files["tokenizer.json"].update(size_bytes="9")),
    "thousands of files": change_files(
        lambda files: files.update({f"f{number}": FILE for number in range(2000)})
    ),
    "another adapter": lambda manifest: manifest.update(adapter="other"),
    "another number": lambda manifest: manifest.update(version=2),
    "a base that is a path": lambda manifest: manifest["base"].update(name="../../base"),
    "an org with an escape": lambda manifest: manifest.update(org="\x1b[2Jtechcorp"),
    "an unknown key": lambda manifest: manifest.update(link="/etc"),
    "a missing key": lambda manifest: manifest.pop("run_key"),
}


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_refused_before_anything_is_fetched(
    here: Project, there: Project, registry: Registry, store: Path, spoil: Callable[..., Any]
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    manifest = json.loads((version.path / "MANIFEST.json").read_bytes())
    spoil(manifest)
    write_record(store, json.dumps(manifest))
    before = sorted(there.root.rglob("*"))
    with pytest.raises(DamagedRegistry) as refused:
        pull(there, registry, "demo@1")
    assert refused.value.problems
    assert "\x1b" not in "".join(str(problem) for problem in refused.value.problems)
    assert sorted(there.root.rglob("*")) == before


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"sha256": "00", "manifest": "{}"}',
        b'{"sha256": "00", "manifest": {}}',
        b'{"manifest": "{}"}',
        b'{"sha256": "00", "manifest": "\\ud800"}',
        b"[" * 100_000,
        b'{"sha256": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_record_that_is_none_is_refused(
    here: Project, registry: Registry, store: Path, record: bytes
) -> None:
    push(here, add_version(here, "run-1"), registry)
    (store / "adapters" / "demo" / "versions" / "1.json").write_bytes(record)
    with pytest.raises(DamagedRegistry):
        find_remote_version(registry, "demo@1")


@pytest.mark.parametrize("manifest", ["[" * 100_000, "[]", "", "nonsense"])
def test_a_manifest_that_is_none_is_refused(
    here: Project, registry: Registry, store: Path, manifest: str
) -> None:
    push(here, add_version(here, "run-1"), registry)
    write_record(store, manifest)
    with pytest.raises(DamagedRegistry):
        find_remote_version(registry, "demo@1")


def test_a_record_of_gigabytes_is_not_read(here: Project, registry: Registry, store: Path) -> None:
    push(here, add_version(here, "run-1"), registry)
    with (store / "adapters" / "demo" / "versions" / "1.json").open("r+b") as stream:
        stream.truncate(5_000_000_000)
    with pytest.raises(StoreFailed, match="at most"):
        find_remote_version(registry, "demo@1")


def test_sizes_that_no_disk_holds_are_refused(
    here: Project, there: Project, registry: Registry, store: Path
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    manifest = json.loads((version.path / "MANIFEST.json").read_bytes())
    manifest["files"]["adapter_model.safetensors"]["size_bytes"] = 10**18
    write_record(store, json.dumps(manifest))
    with pytest.raises(NoSpace):
        pull(there, registry, "demo@1")
    manifest["files"]["adapter_model.safetensors"]["size_bytes"] = 10**6
    write_record(store, json.dumps(manifest))
    with pytest.raises(DamagedRegistry, match="not 1,000,000"):
        pull(there, registry, "demo@1")
    assert whole_versions(there) == []


def test_weights_that_are_no_safetensors_never_appear(
    here: Project, there: Project, registry: Registry, store: Path
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    evil = b"\x80\x04 a pickle under another name"
    sha256 = hashlib.sha256(evil).hexdigest()
    manifest = json.loads((version.path / "MANIFEST.json").read_bytes())
    manifest["files"]["adapter_model.safetensors"] = {"sha256": sha256, "size_bytes": len(evil)}
    del manifest["digest"]
    write_record(store, json.dumps(manifest))
    blob = store / blob_key(sha256)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(evil)
    with pytest.raises(AdapterMismatch):
        pull(there, registry, "demo@1")
    assert whole_versions(there) == []
    assert [path.name for path in there.versions.rglob("*") if path.is_file()] == []


def test_a_version_with_another_chat_template_never_appears(
    here: Project, there: Project, registry: Registry
) -> None:
    push(here, add_version(here, "run-1"), registry)
    push(here, add_version(here, "run-2", template="{{ other }}"), registry)
    with pytest.raises(AdapterMismatch) as refused:
        pull(there, registry, "demo@2")
    assert "chat template" in str(refused.value.problems[0])
    assert whole_versions(there) == []
    assert pull(there, registry, "demo@1")


def test_a_tag_that_leads_nowhere_is_refused(
    here: Project, registry: Registry, store: Path
) -> None:
    push(here, add_version(here, "run-1"), registry)
    tag = store / "adapters" / "demo" / "tags" / "latest" / "000000001.json"
    for text in ('{"version": "../1"}', '{"version": 0}', '{"version": true}', "{}", "x", ""):
        tag.write_text(text)
        with pytest.raises(DamagedRegistry):
            find_remote_version(registry, "demo")
    tag.write_text('{"version": 9}')
    with pytest.raises(InvalidInput, match="there is no demo"):
        find_remote_version(registry, "demo")


def test_a_link_in_the_project_that_leaves_it_is_refused(
    here: Project, there: Project, registry: Registry, tmp_path: Path
) -> None:
    push(here, add_version(here, "run-1"), registry)
    outside = tmp_path / "outside"
    outside.mkdir()
    there.versions.mkdir()
    (there.versions / "demo").symlink_to(outside)
    with pytest.raises(InvalidInput, match="leaves the project"):
        pull(there, registry, "demo")
    (there.versions / "demo").unlink()
    there.incoming("demo").parent.mkdir(parents=True)
    there.incoming("demo").symlink_to(outside)
    with pytest.raises(InvalidInput, match="leaves the project"):
        pull(there, registry, "demo")
    assert list(outside.iterdir()) == []
