"""Damaged files, here, on the way and in the registry: found, named and repaired."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from registry_samples import add_version, blob_of, pull, push, whole_versions

from damage import flip_last_bit
from modelyard.adapters.manifest import DamagedVersion
from modelyard.adapters.registry.record import DamagedRegistry
from modelyard.adapters.registry.registry import Registry, find_remote_version
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project


def test_a_damaged_version_is_not_pushed(here: Project, registry: Registry, store: Path) -> None:
    version = add_version(here, "run-1")
    weights = version.path / "adapter_model.safetensors"
    flip_last_bit(weights)
    with pytest.raises(DamagedVersion):
        push(here, version, registry)
    assert not (store / "adapters").exists()


def test_a_file_that_changes_while_it_is_sent_is_not_kept(
    here: Project, registry: Registry, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size_bytes in (1000, 10_000_000):
        version = add_version(here, f"run-{size_bytes}", size_bytes=size_bytes)
        weights = version.path / "adapter_model.safetensors"
        flip_last_bit(weights)
        with monkeypatch.context() as patch:
            patch.setattr("modelyard.adapters.registry.push.require_intact", lambda *_: None)
            with pytest.raises(DamagedVersion, match="not as it was registered"):
                push(here, version, registry)
        assert not blob_of(store, version, "adapter_model.safetensors").exists()
        assert registry.numbers("demo") == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "tokenizer.json"])
def test_a_bit_flipped_in_the_registry_is_found_by_pull(
    here: Project, there: Project, registry: Registry, store: Path, name: str
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
        with pytest.raises(DamagedRegistry, match="SHA-256 differs from its name") as refused:
            pull(there, registry, "demo")
        assert blob.name in (refused.value.where or "")
        assert whole_versions(there) == []
    print(f"{flips} flipped bits of {name} found")
    assert list(push(here, version, registry).uploads) == [name]
    assert not push(here, version, registry).changed
    assert pull(there, registry, "demo") and whole_versions(there) == [1]


def test_a_bit_flipped_in_a_version_s_record_is_found_and_mended(
    here: Project, there: Project, registry: Registry, store: Path
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
    here: Project, there: Project, registry: Registry, store: Path
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


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": "1"}'])
def test_a_damaged_tag_is_mended_as_its_message_says(
    here: Project, there: Project, registry: Registry, store: Path, damage: bytes
) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    push(here, first, registry, active=True)
    push(here, second, registry)
    for tag in ("latest", "in-use"):
        move = max((store / "adapters/demo/tags" / tag).iterdir())
        move.write_bytes(damage)
        if tag == "latest":
            (store / "adapters/demo/tags/latest/000000001.json").write_bytes(damage)
    with pytest.raises(DamagedRegistry) as refused:
        pull(there, registry, "demo")
    assert "`models adapters registry tag demo@VERSION in-use file://" in str(refused.value.hint)
    assert push(here, first, registry, active=True, force=True).tags == {"latest": 2, "in-use": 1}
    assert (registry.tag("demo", "latest"), registry.tag("demo", "in-use")) == (2, 1)
    assert pull(there, registry, "demo") and whole_versions(there) == [1]


def test_a_damaged_tag_of_the_active_version_goes_back_to_where_it_pointed(
    here: Project, registry: Registry, store: Path
) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    push(here, first, registry, active=True)
    push(here, second, registry, active=True)
    (store / "adapters/demo/tags/in-use/000000002.json").write_bytes(b"")
    with pytest.raises(DamagedRegistry):
        push(here, second, registry)
    assert push(here, second, registry, force=True).tags == {"in-use": 1}
    assert registry.tag("demo", "in-use") == 1
