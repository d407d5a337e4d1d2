"""Loading the index objects of a repository, some at once, into one index of its blobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from modelyard.backup.blob_index import BlobIndex, DamagedIndex, IndexPart, Pack
from modelyard.backup.compression import DamagedData
from modelyard.backup.format_file import DamagedRepository
from modelyard.core.errors import ModelyardError

_AT_ONCE = 4
"""How many requests are under way: from far away each takes a while."""


class IndexGone(Exception):
    """An index object was there when the repository was listed, and is not any more."""


def load_parts(
    names: Sequence[str],
    packs: Mapping[str, int],
    read: Callable[[str], IndexPart],
    on_damage: Callable[[str, ModelyardError], None] | None,
) -> BlobIndex:
    """What the index objects of these names say.

    packs: the sizes of the packs that are there; a blob of another pack is found in one of these if
    it is in both. read: reads an index object. on_damage: called for each that cannot be read, with
    its name; None: it is raised.
    """
    index = BlobIndex()
    lost: list[Pack] = []
    for name, reading in _reading_ahead(names, read):
        try:
            part = reading.result()
        except (DamagedRepository, DamagedData, DamagedIndex) as error:
            if on_damage is None:
                raise
            on_damage(name, error)
            continue
        index.names.add(name)
        for pack in part.packs:
            if packs.get(pack.name) == pack.size:
                index.add_pack(pack)
            else:
                lost.append(pack)
        index.snapshots.update(part.snapshots)
        index.removed.update(part.removed)
    for pack in lost:
        index.add_pack(pack)
    index.snapshots -= index.removed
    return index


def _reading_ahead(
    names: Sequence[str], read: Callable[[str], IndexPart]
) -> Iterator[tuple[str, Future[IndexPart]]]:
    """Each index object in turn, while the next ones are on their way."""
    with ThreadPoolExecutor(_AT_ONCE, "index") as pool:
        on_their_way: deque[tuple[str, Future[IndexPart]]] = deque()
        try:
            for name in names:
                on_their_way.append((name, pool.submit(read, name)))
                if len(on_their_way) == _AT_ONCE:
                    yield on_their_way.popleft()
            yield from on_their_way
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
