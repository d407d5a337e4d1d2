"""Versions deleted from a registry, and its files pruned, also in the middle of a push."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from registry_cut_off import require_whole
from registry_samples import SILENT, add_version, blob_of, pull, push, whole_versions

from modelyard.adapters.registry.blobs import BLOBS, read_retired, retire
from modelyard.adapters.registry.listing import list_registry
from modelyard.adapters.registry.prune import VersionTagged, delete_version, prune_registry
from modelyard.adapters.registry.push import plan_push, push_version
from modelyard.adapters.registry.record import DamagedRegistry
from modelyard.adapters.registry.registry import (
    LATEST,
    Registry,
    VersionDeleted,
    VersionTaken,
    find_remote_version,
)
from modelyard.adapters.versions import AdapterVersion
from modelyard.core.errors import InvalidInput
from modelyard.core.layout import Project

WEIGHTS, TOKENIZER = "adapter_model.safetensors", "tokenizer.json"
SOAK = int(os.environ.get("MODELYARD_SOAK", "1"))


@pytest.fixture
def two(here: Project, registry: Registry) -> tuple[AdapterVersion, AdapterVersion]:
    """demo@1 and demo@2, pushed; they share all files but the weights and the card."""
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    push(here, first, registry)
    push(here, second, registry)
    return first, second


def test_a_deleted_version_is_gone_and_its_number_stays_taken(
    here: Project,
    there: Project,
    registry: Registry,
    two: tuple[AdapterVersion, AdapterVersion],
) -> None:
    planned = delete_version(registry, "demo@2", dry_run=True)
    assert planned.changed and planned.latest == 1 and registry.numbers("demo") == [1, 2]
    assert delete_version(registry, "demo@2").changed
    assert not delete_version(registry, "demo@2").changed
    assert registry.tag("demo", LATEST) == 1
    (listed,) = list_registry(registry)
    assert (listed.versions, listed.deleted) == ((1,), (2,))
    with pytest.raises(InvalidInput, match="demo@2 was deleted there"):
        find_remote_version(registry, "demo@2")
    assert find_remote_version(registry, "demo").number == 1
    add_version(there, "other")
    other = add_version(there, "another")
    with pytest.raises(VersionTaken):
        push(there, other, registry)
    with pytest.raises(VersionDeleted, match="demo@2 was deleted there"):
        push(here, two[1], registry)
    assert push(here, two[1], registry, force=True).added
    assert find_remote_version(registry, "demo").number == 2
    with pytest.raises(InvalidInput, match="there is no demo@7"):
        delete_version(registry, "demo@7")


def test_a_tagged_version_and_a_damaged_one(
    registry: Registry, store: Path, two: tuple[AdapterVersion, AdapterVersion]
) -> None:
    registry.move_tag("demo", "approved", 1)
    with pytest.raises(VersionTagged, match="demo@1 is tagged approved"):
        delete_version(registry, "demo@1")
    (store / "adapters/demo/versions/2.json").write_bytes(b"{")
    with pytest.raises(DamagedRegistry):
        prune_registry(registry, grace_s=0.0)
    assert delete_version(registry, "demo@2").changed
    prune_registry(registry, grace_s=3600.0)
    require_whole(store)


def test_files_go_in_the_second_prune_and_only_those_that_nobody_needs(
    here: Project, registry: Registry, store: Path, two: tuple[AdapterVersion, AdapterVersion]
) -> None:
    second = two[1]
    own = {blob_of(store, second, name) for name in (WEIGHTS, "TRAINING_INFO.md")}
    delete_version(registry, "demo@2")
    before = sorted(path for path in store.rglob("*") if path.is_file())
    planned = prune_registry(registry, dry_run=True)
    assert sorted(path for path in store.rglob("*") if path.is_file()) == before
    done = prune_registry(registry)
    assert replace(done, dry_run=True, waiting_until=None) == replace(planned, waiting_until=None)
    assert (done.given_up_files, done.deleted_files, done.waiting_files) == (2, 0, 2)
    assert all(path.exists() for path in own)
    assert prune_registry(registry).deleted_files == 0  # not before the grace period
    age_retired(store)
    assert prune_registry(registry, dry_run=True).deleted_files == 2
    assert prune_registry(registry).deleted_files == 2
    assert not any(path.exists() for path in own)
    require_whole(store)
    # The names of what was deleted never come back.
    assert push(here, second, registry, force=True).added
    assert not any(path.exists() for path in own)
    require_whole(store)
    age_retired(store)
    assert prune_registry(registry).deleted_files == 0
    assert plan_push(here, registry, second).uploads == {}


def age_retired(store: Path) -> None:
    for mark in (store / "retired").glob("*.json"):
        os.utime(mark, (time.time() - 2 * 86400, time.time() - 2 * 86400))


def test_a_pull_takes_the_blob_that_is_left(
    here: Project,
    there: Project,
    registry: Registry,
    store: Path,
    two: tuple[AdapterVersion, AdapterVersion],
) -> None:
    delete_version(registry, "demo@2")
    prune_registry(registry)
    push(here, two[1], registry, force=True)
    age_retired(store)
    prune_registry(registry)
    assert not blob_of(store, two[1], WEIGHTS).exists()
    assert pull(there, registry, "demo@2") and whole_versions(there) == [2]


def test_what_a_push_left_goes_when_it_is_old(registry: Registry, store: Path) -> None:
    registry.prepare()
    left = store / "blobs/sha256/ab" / ("c" * 62)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    assert prune_registry(registry).given_up_files == 0
    os.utime(left, (time.time() - 2 * 86400, time.time() - 2 * 86400))
    assert prune_registry(registry).given_up_files == 1


def test_names_of_deleted_files_are_kept_in_few_objects(registry: Registry, store: Path) -> None:
    registry.prepare()
    for number in range(20):
        retire(registry.store, [f"{BLOBS}sha256/ab/{number:062x}"])
    prune_registry(registry)
    retired = read_retired(registry.store)
    assert len(retired) == 1 and len({name for each in retired for name in each.names}) == 20
    (store / "retired" / "broken.json").write_text('{"blobs": ["../x"]}')
    with pytest.raises(DamagedRegistry, match="about to be deleted"):
        prune_registry(registry)


class Between:
    """A store that runs something at chosen calls."""

    def __init__(self, store: Any, at: dict[int, Callable[[], object]]) -> None:
        self._store, self._at, self.calls = store, at, 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            self._at.get(self.calls, lambda: None)()
            return call(*arguments, **options)

        return counted


def test_prunes_at_any_two_moments_of_a_push_take_nothing_from_it(
    here: Project, registry: Registry, store: Path, tmp_path: Path
) -> None:
    """A push of a version that shares files with deleted ones only, and was pushed in part.

    Both prunes have no grace period, so that the second deletes whatever the first gave up.
    """
    push(here, add_version(here, "run-1"), registry)
    second = add_version(here, "run-2")
    delete_version(registry, "demo@1")
    before = tmp_path / "before"
    shutil.copytree(store, before)

    def prune() -> None:
        prune_registry(registry, grace_s=0.0)

    def push_with(at: dict[int, Callable[[], object]]) -> int:
        between = Between(registry.store.client, at)
        counted = Registry(replace(registry.store, client=cast(Any, between)))
        push_version(here, second, counted, progress=SILENT)
        return between.calls

    calls = push_with({})
    deleted = 0
    pairs = [(n, m) for n in range(1, calls + 1) for m in range(n + 1, calls + 2)]
    for n, m in pairs[:: 1 if SOAK > 1 else 61]:
        shutil.rmtree(store)
        shutil.copytree(before, store)
        push_with({n: prune, m: prune})
        assert registry.numbers("demo") == [2]
        require_whole(store)
        prune()
        prune()
        require_whole(store)
        deleted += not blob_of(store, second, TOKENIZER).exists()
    print(f"{calls} calls, two prunes at {len(pairs)} pairs of them; shared files moved {deleted}")
    assert deleted
