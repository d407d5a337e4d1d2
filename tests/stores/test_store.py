"""Listing and deleting, in a folder and in a real S3-speaking server on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.stores.store import ObjectStore, StoreFailed, open_store
from s3_server import serving_s3


@pytest.fixture(params=["folder", "s3"])
def store(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    if request.param == "folder":
        found = open_store((tmp_path / "store").as_uri(), make=True)
        assert found is not None
        yield found
        return
    with serving_s3(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        found = open_store(server.url)
        assert found is not None
        yield found


def fill(store: ObjectStore, *keys: str) -> None:
    for key in keys:
        assert store.create(key, key.encode())


def keys_of(store: ObjectStore, prefix: str = "") -> list[str]:
    return [entry.key for entry in store.listing(prefix)]


def test_a_listing_has_every_object_below_a_prefix_with_its_size(store: ObjectStore) -> None:
    began = time.time()
    fill(store, "packs/ab/one", "packs/cd/three", "packs/zero", "packs-not", "format.json")
    assert [(entry.key, entry.size_bytes) for entry in store.listing("packs/")] == [
        ("packs/ab/one", 12),
        ("packs/cd/three", 14),
        ("packs/zero", 10),
    ]
    assert len(store.listing()) == 5
    assert store.listing("nothing/") == []
    for entry in store.listing():
        assert began - 2 < entry.modified_s < time.time() + 2


def test_an_object_that_is_written_again_is_newer(store: ObjectStore) -> None:
    fill(store, "beat")
    before = store.listing()[0].modified_s
    time.sleep(1.1)  # some stores cut to seconds
    store.overwrite("beat", b"again")
    assert store.listing()[0].modified_s > before


def test_a_part_of_an_object_is_read(store: ObjectStore) -> None:
    store.overwrite("packs/ab/one", bytes(range(200)))
    assert store.read_range("packs/ab/one", 10, 5) == bytes(range(10, 15))
    assert store.read_range("packs/ab/one", 190, 50) == bytes(range(190, 200))
    with pytest.raises(StoreFailed, match="is missing"):
        store.read_range("packs/ab/two", 0, 5)


def test_deleted_objects_are_gone_and_the_others_stay(store: ObjectStore) -> None:
    fill(store, "packs/ab/one", "packs/ab/two", "packs/cd/three")
    store.delete(["packs/ab/one", "packs/cd/three", "packs/ab/never-there"])
    assert keys_of(store) == ["packs/ab/two"]
    assert store.size_bytes("packs/ab/one") is None
    store.delete(["packs/ab/one"])
    store.delete([])
    assert keys_of(store) == ["packs/ab/two"]
    fill(store, "packs/ab/one")
    assert store.read("packs/ab/one", most_bytes=100) == b"packs/ab/one"


def test_thousands_of_objects_are_listed_and_deleted(tmp_path: Path) -> None:
    found = open_store((tmp_path / "store").as_uri(), make=True)
    assert found is not None
    keys = [f"packs/{number % 7}/{number:05d}" for number in range(2500)]
    for key in keys:
        place = tmp_path / "store" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    assert keys_of(found, "packs/") == sorted(keys)
    found.delete(keys)
    assert found.listing() == []


def test_a_server_that_is_gone_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_s3(tmp_path / "s3") as server:
        for name, value in {**server.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
            monkeypatch.setenv(name, value)
        found = open_store(server.url)
        assert found is not None
        for call in (lambda: found.listing("packs/"), lambda: found.delete(["packs/one"])):
            with pytest.raises(StoreFailed) as refused:
                call()
            assert refused.value.hint and "Debug" not in refused.value.message


def test_a_folder_that_refuses_is_said_plainly(tmp_path: Path) -> None:
    found = open_store((tmp_path / "store").as_uri(), make=True)
    assert found is not None
    (tmp_path / "store" / "packs").mkdir()
    with pytest.raises(StoreFailed) as refused:
        found.delete(["packs"])
    assert refused.value.where and refused.value.where.endswith("store/packs")
