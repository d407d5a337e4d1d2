"""Push, pull or removal cut off at every call, in a process: obstore's threads survive no fork.

    python registry_cut_off.py push|pull|remove kill|fail FOLDER

FOLDER holds what the test laid down: the projects `here` and `there`, the registry `store`. Counted
are the calls that tests/killed.py counts, the beginning and the end of each call to the store, and
each piece of a file that comes from it. This process itself only looks at files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from registry_samples import registry_at, whole_versions

from killed import interruptions, run_whole
from modelyard.adapters.manifest import parse_manifest
from modelyard.adapters.registry.blobs import blob_key
from modelyard.adapters.registry.prune import delete_version, prune_registry
from modelyard.adapters.registry.pull import pull_version
from modelyard.adapters.registry.push import push_version
from modelyard.adapters.registry.registry import Registry, find_remote_version
from modelyard.adapters.versions import load_version
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.stores.store import ObjectStore


class CountedStore:
    """A store whose every call can be the one at which the process dies or the call fails."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            _count()
            result = call(*arguments, **options)
            _count()
            return CountedObject(result) if name == "get" else result

        return counted


class CountedObject:
    """An object on its way here, of which each piece counts."""

    def __init__(self, found: Any) -> None:
        self.meta, self.bytes, self._found = found.meta, found.bytes, found

    def stream(self, **options: Any) -> Iterator[bytes]:
        for chunk in self._found.stream(**options):
            _count()
            yield chunk


def _count() -> None:
    # killed.py counts this event; here it stands for a call that is not Python's.
    sys.audit("os.rename", "", "", -1, -1)


def counted_registry(folder: Path) -> Registry:
    plain = registry_at(folder).store
    return Registry(ObjectStore(plain.url, cast(Any, CountedStore(plain.client)), plain.folder))


def latest_in(store: Path) -> int:
    """Where the tag leads; fails unless every version in the registry has all its files, whole."""
    require_whole(store)
    moves = sorted((store / "adapters" / "demo" / "tags" / "latest").glob("*[0-9].json"))
    latest = int(json.loads(moves[-1].read_bytes())["version"])
    assert (store / "adapters" / "demo" / "versions" / f"{latest}.json").exists()
    return latest


def require_whole(store: Path) -> None:
    """Fail unless each version that is not deleted has all its files, in blobs to rely on."""
    for record in (store / "adapters").glob("*/versions/*.json"):
        if not (record.parent.parent / "deleted" / record.name).exists():
            found = json.loads(record.read_bytes())
            for entry in parse_manifest(found["manifest"].encode(), where="").files.values():
                assert _whole_blobs(store, entry.sha256), (record, entry)


def _whole_blobs(store: Path, sha256: str) -> list[Path]:
    first = store / blob_key(sha256)
    blobs = list(first.parent.glob(f"{first.name}*"))
    return [blob for blob in blobs if hashlib.sha256(blob.read_bytes()).hexdigest() == sha256]


def cut_off_push(folder: Path, how: Literal["kill", "fail"]) -> int:
    project, store, before = Project(folder / "here"), folder / "store", folder / "before"
    shutil.copytree(store, before)

    def work() -> None:
        version = load_version(project, "demo", 2)
        push_version(project, version, counted_registry(store), progress=Silent())

    number = 0
    for number in interruptions(work, how):
        assert latest_in(store) in (1, 2), number
        run_whole(work)
        assert latest_in(store) == 2, number
        shutil.rmtree(store)
        shutil.copytree(before, store)
    return number


def cut_off_pull(folder: Path, how: Literal["kill", "fail"]) -> int:
    project, store = Project(folder / "there"), folder / "store"

    def work() -> None:
        registry = counted_registry(store)
        version = find_remote_version(registry, "demo@2")
        pull_version(project, registry, version, progress=Silent())

    number = 0
    for number in interruptions(work, how):
        assert whole_versions(project) in ([1], [1, 2]), number
        run_whole(work)
        assert whole_versions(project) == [1, 2], number
        left = [place.name for place in project.adapter_versions("demo").iterdir()]
        assert not [name for name in left if name.startswith(".staging-")], number
        assert not project.incoming("demo").exists(), number
        shutil.rmtree(project.adapter_version("demo", 2))
    return number


def cut_off_removal(folder: Path, how: Literal["kill", "fail"]) -> int:
    """Deleting a version, and a prune that gives its files up and deletes those of another."""
    store, before = folder / "store", folder / "before"
    shutil.copytree(store, before)

    def work() -> None:
        registry = counted_registry(store)
        delete_version(registry, "demo@2")
        prune_registry(registry, grace_s=3600.0)

    def nothing_is_left_to_do() -> None:
        again = prune_registry(registry_at(store), grace_s=3600.0, dry_run=True)
        assert (again.deleted_files, again.given_up_files, again.waiting_files) == (0, 0, 2)

    number = 0
    for number in interruptions(work, how):
        assert latest_in(store) in (1, 2), number
        run_whole(work)
        assert latest_in(store) == 1, number
        assert [path.name for path in (store / "adapters/demo/deleted").glob("*.json")] == [
            "2.json"
        ], number
        run_whole(nothing_is_left_to_do)
        shutil.rmtree(store)
        shutil.copytree(before, store)
    return number


if __name__ == "__main__":
    action, how, folder = sys.argv[1:]
    cut_off = {"push": cut_off_push, "pull": cut_off_pull, "remove": cut_off_removal}[action]
    print(cut_off(Path(folder), cast(Literal["kill", "fail"], how)))
