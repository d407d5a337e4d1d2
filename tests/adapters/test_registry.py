"""Pushing to a registry in a folder and pulling from it: what arrives, and what is refused."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_samples import add_version, make_yard, registry_at, whole_versions

from modelyard.adapters.check import AdapterMismatch
from modelyard.adapters.manifest import DamagedVersion, list_files
from modelyard.adapters.promote import promote_version
from modelyard.adapters.pull import find_remote_version, plan_pull, pull_version
from modelyard.adapters.push import Push, plan_push, push_version
from modelyard.adapters.registry import (
    IN_USE,
    LATEST,
    DamagedRegistry,
    Registry,
    VersionTaken,
    blob_key,
    open_registry,
)
from modelyard.adapters.remote import RemoteFailed, open_remote, plain_message
from modelyard.adapters.versions import AdapterVersion, active_number, load_version
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, NoSpace, exclusive_lock
from modelyard.core.layout import Yard
from modelyard.core.progress import Silent

SILENT = Silent()


@pytest.fixture
def here(tmp_path: Path) -> Yard:
    return make_yard(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Yard:
    return make_yard(tmp_path / "there")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def registry(store: Path) -> Registry:
    return registry_at(store)


def push(yard: Yard, version: AdapterVersion, registry: Registry, **options: Any) -> Push:
    return push_version(yard, version, registry, progress=SILENT, **options)


def pull(yard: Yard, registry: Registry, reference: str) -> bool:
    version = find_remote_version(registry, reference)
    return pull_version(yard, registry, version, progress=SILENT).changed


def blob_of(store: Path, version: AdapterVersion, name: str) -> Path:
    return store / blob_key(version.manifest.files[name].sha256)


def write_record(store: Path, manifest: str, *, number: int = 1, digest: str | None = None) -> None:
    """Put a version into the registry by hand, as somebody hostile would."""
    digest = digest or hashlib.sha256(manifest.encode(errors="surrogatepass")).hexdigest()
    path = store / "adapters" / "demo" / "versions" / f"{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"sha256": digest, "manifest": manifest}))


def test_a_version_arrives_byte_for_byte_and_read_only(
    here: Yard, there: Yard, registry: Registry
) -> None:
    version = add_version(here, "run-1")
    assert push(here, version, registry).changed
    assert pull(there, registry, "demo@1")
    arrived = load_version(there, "demo", 1)
    assert arrived.manifest == version.manifest
    assert list_files(arrived.path) == list_files(version.path)
    names = [(path / "MANIFEST.json").read_bytes() for path in (version.path, arrived.path)]
    assert names[0] == names[1]
    assert whole_versions(there) == [1]
    assert arrived.manifest.org == "techcorp"
    assert active_number(there, "demo") is None
    assert not there.incoming("demo").exists()


def test_the_same_again_changes_nothing_and_says_so(
    here: Yard, there: Yard, registry: Registry, store: Path
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert not push(here, version, registry).changed
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert pull(there, registry, "demo@1")
    assert not pull(there, registry, "demo@1")
    assert not push(there, load_version(there, "demo", 1), registry).changed


def test_a_file_that_is_there_is_not_sent_again(here: Yard, registry: Registry) -> None:
    first = push(here, add_version(here, "run-1"), registry)
    second = push(here, add_version(here, "run-2"), registry)
    assert "tokenizer.json" in first.uploads and "tokenizer.json" not in second.uploads
    assert set(second.uploads) == {"TRAINING_INFO.md", "adapter_model.safetensors"}


def test_latest_is_the_highest_number_whatever_the_order(
    here: Yard, there: Yard, registry: Registry
) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    assert push(here, second, registry).tags == {LATEST: 2}
    assert push(here, first, registry).tags == {}
    assert registry.tag("demo", LATEST) == 2
    assert find_remote_version(registry, "demo").number == 2
    assert pull(there, registry, "demo") and whole_versions(there) == [2]


def test_a_rollback_can_be_pushed_too(here: Yard, registry: Registry) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    assert push(here, second, registry, in_use=True).tags == {LATEST: 2, IN_USE: 2}
    assert push(here, first, registry, in_use=True).tags == {IN_USE: 1}
    assert find_remote_version(registry, "demo").number == 1
    assert not push(here, second, registry).changed
    assert (registry.tag("demo", IN_USE), registry.tag("demo", LATEST)) == (1, 2)


def test_a_yard_that_pulled_goes_on_counting_after_it(
    here: Yard, there: Yard, registry: Registry
) -> None:
    add_version(here, "run-1")
    push(here, add_version(here, "run-2"), registry)
    pull(there, registry, "demo@2")
    assert add_version(there, "run-3").number == 3


def test_a_number_that_another_version_has_is_never_overwritten(
    here: Yard, there: Yard, registry: Registry, store: Path
) -> None:
    mine, theirs = add_version(here, "run-1"), add_version(there, "run-1")
    push(here, mine, registry)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(VersionTaken, match="demo@1 is another version there") as refused:
        push(there, theirs, registry, force=True)
    assert "--name demo-2" in (refused.value.hint or "")
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    with pytest.raises(VersionTaken, match="the yard has another demo@1"):
        pull(there, registry, "demo@1")
    assert load_version(there, "demo", 1).manifest == theirs.manifest


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    here: Yard, there: Yard, store: Path
) -> None:
    version = add_version(here, "run-1")
    assert open_registry(store.as_uri()) is None
    plan = plan_push(None, version, in_use=True)
    assert len(plan.uploads) == 5 and plan.tags == {LATEST: 1, IN_USE: 1}
    assert not store.exists()
    registry = registry_at(store)
    assert plan_push(registry, version, in_use=True) == plan
    assert list(store.iterdir()) == []
    done = push(here, version, registry, in_use=True)
    assert (done.uploads, done.tags, done.added) == (plan.uploads, plan.tags, plan.added)
    there_before = sorted(there.root.rglob("*"))
    planned = plan_pull(there, registry, find_remote_version(registry, "demo"), SILENT)
    assert planned.changed and planned.fetched_bytes == done.version.size_bytes
    assert sorted(there.root.rglob("*")) == there_before


def test_what_is_not_there_is_named_with_what_is(
    here: Yard, registry: Registry, store: Path
) -> None:
    with pytest.raises(InvalidInput, match="there is no registry here"):
        find_remote_version(registry, "demo")
    push(here, add_version(here, "run-1"), registry)
    with pytest.raises(InvalidInput, match=r"did you mean 'demo'") as refused:
        find_remote_version(registry, "demmo")
    assert refused.value.hint == "there are: demo"
    for asked in ("7", "0", "01", "-1", "x", "", "1/../1", "²"):
        with pytest.raises(InvalidInput, match="there is no demo@") as refused:
            find_remote_version(registry, f"demo@{asked}")
        assert refused.value.hint == "there are: demo@1"
    for name in ("..", "../demo", "/demo", "Demo", "a/b", ""):
        with pytest.raises(InvalidInput, match="not a valid adapter name"):
            find_remote_version(registry, name)


def test_a_damaged_version_is_not_pushed(here: Yard, registry: Registry, store: Path) -> None:
    version = add_version(here, "run-1")
    weights = version.path / "adapter_model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedVersion):
        push(here, version, registry)
    assert not (store / "adapters").exists()


def test_a_file_that_changes_while_it_is_sent_is_not_kept(
    here: Yard, registry: Registry, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size_bytes in (1000, 10_000_000):
        version = add_version(here, f"run-{size_bytes}", size_bytes=size_bytes)
        weights = version.path / "adapter_model.safetensors"
        weights.chmod(0o600)
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        with monkeypatch.context() as patch:
            patch.setattr("modelyard.adapters.push.require_intact", lambda *_: None)
            with pytest.raises(DamagedVersion, match="not as it was registered"):
                push(here, version, registry)
        assert not blob_of(store, version, "adapter_model.safetensors").exists()
        assert registry.numbers("demo") == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "tokenizer.json"])
def test_a_bit_flipped_in_the_registry_is_found_by_pull(
    here: Yard, there: Yard, registry: Registry, store: Path, name: str
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    blob = blob_of(store, version, name)
    whole = blob.read_bytes()
    chance = random.Random(1)
    flips = 20
    for _ in range(flips):
        bit = chance.randrange(len(whole) * 8)
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        blob.write_bytes(spoiled)
        with pytest.raises(DamagedRegistry, match="SHA-256 is not its name") as refused:
            pull(there, registry, "demo")
        assert blob.name in (refused.value.where or "")
        assert whole_versions(there) == []
    print(f"{flips} flipped bits of {name} found")
    assert not push(here, version, registry).changed
    assert push(here, version, registry, force=True).changed
    assert pull(there, registry, "demo") and whole_versions(there) == [1]


def test_a_bit_flipped_in_a_version_s_record_is_found_and_mended(
    here: Yard, there: Yard, registry: Registry, store: Path
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    record = store / "adapters" / "demo" / "versions" / "1.json"
    whole = record.read_bytes()
    chance = random.Random(2)
    found = 0
    for _ in range(100):
        bit = chance.randrange(len(whole) * 8)
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        record.write_bytes(spoiled)
        try:
            same = find_remote_version(registry, "demo")
        except (DamagedRegistry, InvalidInput):
            found += 1
            continue
        # White space between the fields, or one escape for another, is no damage.
        assert same.manifest_bytes == (version.path / "MANIFEST.json").read_bytes()
    print(f"{found} of 100 flipped bits of a record found, the others change nothing")
    assert found > 80
    record.write_bytes(whole[:100])
    with pytest.raises(DamagedRegistry):
        push(here, version, registry)
    assert push(here, version, registry, force=True).added
    assert record.read_bytes() == whole


def test_a_missing_or_short_file_is_found_before_anything_is_fetched(
    here: Yard, there: Yard, registry: Registry, store: Path
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    blob = blob_of(store, version, "adapter_model.safetensors")
    blob.write_bytes(blob.read_bytes()[:10])
    with pytest.raises(DamagedRegistry, match="holds 10 bytes, not"):
        pull(there, registry, "demo")
    blob.unlink()
    with pytest.raises(DamagedRegistry, match="is missing"):
        pull(there, registry, "demo")
    assert not there.incoming("demo").exists()
    assert push(here, version, registry).changed
    assert pull(there, registry, "demo")


def test_a_pull_goes_on_with_what_an_earlier_one_left(
    here: Yard, there: Yard, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version(here, "run-1", size_bytes=5_000_000)
    push(here, version, registry)
    entry = version.manifest.files["adapter_model.safetensors"]
    weights = (version.path / "adapter_model.safetensors").read_bytes()
    incoming = there.incoming("demo")
    incoming.mkdir(parents=True)
    part = incoming / f"{entry.sha256}.part"
    part.write_bytes(weights[:3_000_000])
    asked = []
    download = type(registry.remote).download

    def noting(self: Any, key: str, *, offset: int = 0) -> Any:
        asked.append((key == blob_key(entry.sha256), offset))
        return download(self, key, offset=offset)

    monkeypatch.setattr(type(registry.remote), "download", noting)
    plan = plan_pull(there, registry, find_remote_version(registry, "demo"), SILENT)
    assert plan.fetched_bytes == plan.version.size_bytes - 3_000_000
    assert pull(there, registry, "demo") and whole_versions(there) == [1]
    assert (True, 3_000_000) in asked and (True, 0) not in asked


@pytest.mark.parametrize("left", [b"wrong" * 1000, b"x" * 9_000_000, b""])
def test_a_left_over_that_is_wrong_is_fetched_anew(
    here: Yard, there: Yard, registry: Registry, left: bytes
) -> None:
    version = add_version(here, "run-1", size_bytes=20_000)
    push(here, version, registry)
    sha256 = version.manifest.files["adapter_model.safetensors"].sha256
    there.incoming("demo").mkdir(parents=True)
    (there.incoming("demo") / f"{sha256}.part").write_bytes(left)
    assert pull(there, registry, "demo") and whole_versions(there) == [1]


def test_a_left_over_with_the_right_name_and_wrong_bytes_is_not_believed(
    here: Yard, there: Yard, registry: Registry
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    sha256 = version.manifest.files["adapter_model.safetensors"].sha256
    there.incoming("demo").mkdir(parents=True)
    (there.incoming("demo") / sha256).write_bytes(b"wrong")
    assert pull(there, registry, "demo") and whole_versions(there) == [1]


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
    here: Yard, there: Yard, registry: Registry, store: Path, spoil: Callable[..., Any]
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
    here: Yard, registry: Registry, store: Path, record: bytes
) -> None:
    push(here, add_version(here, "run-1"), registry)
    (store / "adapters" / "demo" / "versions" / "1.json").write_bytes(record)
    with pytest.raises(DamagedRegistry):
        find_remote_version(registry, "demo@1")


@pytest.mark.parametrize("manifest", ["[" * 100_000, "[]", "", "nonsense"])
def test_a_manifest_that_is_none_is_refused(
    here: Yard, registry: Registry, store: Path, manifest: str
) -> None:
    push(here, add_version(here, "run-1"), registry)
    write_record(store, manifest)
    with pytest.raises(DamagedRegistry):
        find_remote_version(registry, "demo@1")


def test_a_record_of_gigabytes_is_not_read(here: Yard, registry: Registry, store: Path) -> None:
    push(here, add_version(here, "run-1"), registry)
    with (store / "adapters" / "demo" / "versions" / "1.json").open("r+b") as stream:
        stream.truncate(5_000_000_000)
    with pytest.raises(RemoteFailed, match="at most"):
        find_remote_version(registry, "demo@1")


def test_sizes_that_no_disk_holds_are_refused(
    here: Yard, there: Yard, registry: Registry, store: Path
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
    here: Yard, there: Yard, registry: Registry, store: Path
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
    here: Yard, there: Yard, registry: Registry
) -> None:
    push(here, add_version(here, "run-1"), registry)
    push(here, add_version(here, "run-2", template="{{ other }}"), registry)
    with pytest.raises(AdapterMismatch) as refused:
        pull(there, registry, "demo@2")
    assert "chat template" in str(refused.value.problems[0])
    assert whole_versions(there) == []
    assert pull(there, registry, "demo@1")


def test_a_tag_that_leads_nowhere_is_refused(here: Yard, registry: Registry, store: Path) -> None:
    push(here, add_version(here, "run-1"), registry)
    tag = store / "adapters" / "demo" / "tags" / "latest" / "000000001.json"
    for text in ('{"version": "../1"}', '{"version": 0}', '{"version": true}', "{}", "x", ""):
        tag.write_text(text)
        with pytest.raises(DamagedRegistry):
            find_remote_version(registry, "demo")
    tag.write_text('{"version": 9}')
    with pytest.raises(InvalidInput, match="there is no demo"):
        find_remote_version(registry, "demo")


def test_a_link_in_the_yard_that_leaves_it_is_refused(
    here: Yard, there: Yard, registry: Registry, tmp_path: Path
) -> None:
    push(here, add_version(here, "run-1"), registry)
    outside = tmp_path / "outside"
    outside.mkdir()
    there.versions.mkdir()
    (there.versions / "demo").symlink_to(outside)
    with pytest.raises(InvalidInput, match="leaves the yard"):
        pull(there, registry, "demo")
    (there.versions / "demo").unlink()
    there.incoming("demo").parent.mkdir(parents=True)
    there.incoming("demo").symlink_to(outside)
    with pytest.raises(InvalidInput, match="leaves the yard"):
        pull(there, registry, "demo")
    assert list(outside.iterdir()) == []


def test_an_adapter_belongs_to_one_organisation(
    here: Yard, there: Yard, registry: Registry
) -> None:
    push(here, add_version(here, "run-1"), registry)
    add_version(there, "run-x", org="rival")
    second = add_version(there, "run-y", org="rival")
    with pytest.raises(ModelyardError, match=r"belongs to organisation techcorp"):
        push(there, second, registry)
    assert registry.numbers("demo") == [1]
    shutil.rmtree(there.adapter_version("demo", 1))
    with pytest.raises(ModelyardError, match=r"belongs to organisation rival"):
        pull(there, registry, "demo")
    assert whole_versions(there) == [2]


def test_a_registry_of_a_newer_layout_is_left_alone(
    here: Yard, registry: Registry, store: Path
) -> None:
    (store / "registry.json").write_text('{"layout": 2}')
    with pytest.raises(ModelyardError, match="layout that this modelyard does not know"):
        push(here, add_version(here, "run-1"), registry)
    with pytest.raises(ModelyardError, match="layout that this modelyard does not know"):
        find_remote_version(registry, "demo")
    assert [path.name for path in store.iterdir()] == ["registry.json"]


def test_a_second_push_or_pull_of_an_adapter_waits_or_says_who_is_at_it(
    here: Yard, there: Yard, registry: Registry
) -> None:
    version = add_version(here, "run-1")
    with exclusive_lock(here.lock("push", "demo"), what="push"), pytest.raises(LockHeld):
        push(here, version, registry)
    push(here, version, registry)
    with exclusive_lock(there.lock("pull", "demo"), what="pull"), pytest.raises(LockHeld):
        pull(there, registry, "demo")
    assert pull(there, registry, "demo")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "store",
        "/srv/registry",
        "ftp://host/x",
        "s3://",
        "file://",
        "file://host/folder",
        "s3:/b",
    ],
)
def test_an_address_that_is_none_is_refused_with_how_to_write_one(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_remote(url)
    assert refused.value.hint


@pytest.mark.parametrize(
    "url", ["s3://key:geheim@bucket/x", "az://a/b?sig=geheim", "s3://b/x#geheim"]
)
def test_a_key_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_remote(url)
    assert "geheim" not in f"{refused.value}{refused.value.hint}"


def test_messages_show_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very/secret")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sas-secret")
    error = ValueError(
        "Generic S3 error: PUT https://user:pw@host/b?X-Amz-Signature=abc failed for very/secret "
        "and sas-secret: 403 <Error>AKIA</Error>\n\nDebug source: very/secret"
    )
    shown = plain_message(error)
    assert shown == "PUT https://***@host/b failed for *** and ***: 403"


def test_a_base_at_hand_is_compared_and_the_adapter_proven_to_fit(
    yard: Yard, saved_adapter: Path, tmp_path: Path, registry: Registry, store: Path
) -> None:
    from adapter_samples import facts

    from modelyard.adapters.verify import template_hash
    from modelyard.adapters.versions import register_version
    from modelyard.bases.local import locate_base

    base = locate_base(yard, "tiny")
    assert base is not None

    def fill(staged: Path, number: int) -> None:
        shutil.copytree(saved_adapter, staged, dirs_exist_ok=True)
        (staged / "README.md").unlink(missing_ok=True)
        (staged / "TRAINING_INFO.md").write_text("---\nadapter: demo\n---\n")

    def push_trained_on(adapter: str, fingerprint: str) -> None:
        version = register_version(
            yard,
            adapter,
            fill=fill,
            manifest_facts=facts(
                adapter,
                base={"name": "tiny", "fingerprint": fingerprint},
                template_hash=template_hash(saved_adapter),
            ),
        )
        push(yard, version, registry)
        shutil.rmtree(yard.adapter_versions(adapter))

    push_trained_on("good", base.fingerprint)
    push_trained_on("strange", "sha256:other")
    version = find_remote_version(registry, "good")
    done = pull_version(yard, registry, version, progress=SILENT)
    assert done.base is not None
    assert promote_version(yard, load_version(yard, "good", 1)).moved
    with pytest.raises(ModelyardError, match="another tiny") as refused:
        pull(yard, registry, "strange")
    assert "sha256:other" in str(refused.value)

    bare = make_yard(tmp_path / "bare")
    said = []

    class Noting(Silent):
        def warn(self, text: str) -> None:
            said.append(text)

    pull_version(bare, registry, find_remote_version(registry, "strange"), progress=Noting())
    assert whole_versions(bare, "strange") == [1]
    assert len(said) == 1 and "tiny, which is not at hand" in said[0]


def test_the_commands_say_what_they_did(here: Yard, there: Yard, store: Path) -> None:
    version = add_version(here, "run-1")
    promote_version(here, version)

    def models(yard: Yard, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelyard", "--yard", str(yard.root), "adapters", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    would = models(here, "push", "demo", store.as_uri(), "--dry-run")
    assert "Would push demo@1" in would.stdout and not store.exists()
    done = models(here, "push", "demo", store.as_uri(), "--json")
    result = json.loads(done.stdout)
    assert result["changed"] and result["tags"] == {"latest": 1, "in-use": 1}
    assert "already in" in models(here, "push", "demo", store.as_uri()).stdout
    would = models(there, "pull", "demo", store.as_uri(), "--dry-run")
    assert "Would pull demo@1" in would.stdout and "not at hand" in would.stderr
    done = models(there, "pull", "demo", store.as_uri(), "--json")
    result = json.loads(done.stdout)
    assert (result["changed"], result["org"], result["base_checked"]) == (True, "techcorp", False)
    assert "already here" in models(there, "pull", "demo", store.as_uri()).stdout
    refused = models(there, "pull", "demo", "nowhere")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
