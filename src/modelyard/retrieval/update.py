"""Keeping an index in step with its files: what changed is cut and embedded, and nothing else.

A file counts as changed when its bytes hash to something else. What the file system says of it
(size, times, inode) only saves the hashing, as in git: a change that leaves the size and restores
the time still moves ctime, which no program can set. A file that was written in the two seconds
before it was read is hashed again next time, because clocks of file systems are coarse.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from modelyard.core.errors import NoData
from modelyard.core.files import exclusive_lock, make_folder, sweep_staging
from modelyard.core.layout import Yard
from modelyard.core.progress import Progress
from modelyard.retrieval.cache import open_cache
from modelyard.retrieval.domains import Domain
from modelyard.retrieval.embed import Embedding
from modelyard.retrieval.encoders import Encoders
from modelyard.retrieval.index import (
    IndexDamaged,
    IndexedFile,
    IndexedPassage,
    IndexMeta,
    IndexReader,
    open_index,
)
from modelyard.retrieval.passage import Passage
from modelyard.retrieval.reading.passages import read_passages
from modelyard.retrieval.reading.sources import SourceFile, find_sources
from modelyard.retrieval.revise import (
    Changes,
    FileChange,
    FileRecord,
    apply_changes,
    build_beside,
    settle_journal,
)

_CODE = frozenset({"code", "keys", "shell", "openapi"})
"""Chunkers of what machines read."""
_COARSEST_CLOCK_NS = 2_000_000_000
_MOST_IN_ONE_TRANSACTION = 50_000
"""Passages; more of them are built beside the old index, where memory has a bound."""
_BUILT_AT_ONCE = 4_096
"""Passages that are cut before they are embedded, sorted by length."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """Files or passages, by what became of them."""

    added: int = 0
    """New."""
    changed: int = 0
    """With other content in the same place."""
    moved: int = 0
    """With the same content in another place."""
    removed: int = 0
    """Gone."""
    reused: int = 0
    """As they were."""

    @property
    def total(self) -> int:
        """How many there are now."""
        return self.added + self.changed + self.moved + self.reused


@dataclass(slots=True, kw_only=True)
class DomainUpdate:
    """What an update of one domain did, or would do."""

    domain: str
    """GROUP/NAME."""
    dry_run: bool
    """Whether nothing was written."""
    built: str | None = None
    """Why the index was built anew; None: it was changed in place."""
    files: Counts = field(default_factory=Counts)
    """Its files."""
    passages: Counts = field(default_factory=Counts)
    """Their passages."""
    embedded: int = 0
    """Texts that the encoder was given."""
    from_cache: int = 0
    """Texts whose vector was known from before."""
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """Files that were left out, by the reason."""
    took_s: float = 0.0
    """How long it took."""

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to do."""
        return (
            self.built is None
            and self.files.reused == self.files.total
            and not (self.files.removed)
        )

    def skip(self, reason: str, path: str) -> None:
        """Leave a file out."""
        self.skipped.setdefault(reason, []).append(path)


def update_domain(
    yard: Yard,
    domain: Domain,
    encoders: Encoders,
    *,
    rebuild: bool = False,
    dry_run: bool = False,
    wait_s: float = 0.0,
    progress: Progress,
) -> DomainUpdate:
    """Bring the index of a domain in step with its files.

    Raises LockHeld when another update of it runs for longer than `wait_s`.
    """
    began = time.monotonic()
    update = DomainUpdate(domain=domain.label, dry_run=dry_run)
    with nullcontext() if dry_run else _alone(yard, domain, wait_s):
        _Updater(yard, domain, encoders, progress, update).run(rebuild=rebuild)
    update.took_s = time.monotonic() - began
    return update


@contextmanager
def _alone(yard: Yard, domain: Domain, wait_s: float) -> Iterator[None]:
    lock = yard.lock(f"search-{domain.group}", domain.name)
    with exclusive_lock(lock, what=f"index {domain.label}", wait_s=wait_s):
        make_folder(domain.index.parent)
        sweep_staging(domain.index.parent, domain.index.name)
        settle_journal(domain.index)
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """A file that was read and cut."""

    record: FileRecord
    known: IndexedFile | None
    """The same path, as the index has it."""
    passages: Sequence[Passage]


class _TooMany(Exception):
    """The changes do not fit into one transaction."""


@dataclass(frozen=True, slots=True)
class _Updater:
    """One update of one domain."""

    yard: Yard
    domain: Domain
    encoders: Encoders
    progress: Progress
    update: DomainUpdate

    def run(self, *, rebuild: bool) -> None:
        """Do it."""
        known = self._known_files()
        sizes = {one.path: (one.size_bytes, one.mtime_ns) for one in known[1]} if known else {}
        sources = find_sources(self.yard, self.domain, known=sizes)
        for reason, paths in sources.skipped.items():
            for path in paths:
                self.update.skip(reason, path)
        files = sources.files
        self.update.built = self._reason_to_build(known, rebuild=rebuild)
        if self.update.built is None:
            assert known is not None
            try:
                self._change(files, {one.path: one for one in known[1]})
                return
            except _TooMany:
                self.update.built = "most of it changed"
                self.update.files, self.update.passages = Counts(), Counts()
        self._build(files)

    def _known_files(self) -> tuple[IndexMeta, list[IndexedFile]] | None:
        """What the index says now; None when there is none that can be read."""
        try:
            with open_index(self.domain.index) as reader:
                return reader.meta, list(reader.files())
        except NoData:
            return None
        except IndexDamaged as error:
            self.progress.warn(f"{error}: it is built anew")
            return None

    def _reason_to_build(
        self, known: tuple[IndexMeta, list[IndexedFile]] | None, *, rebuild: bool
    ) -> str | None:
        if rebuild:
            return "asked for"
        if known is None:
            return "there was none"
        meta = known[0]
        if meta.encoder != self.encoders.fingerprint(self.domain.encoder):
            return "another encoder"
        if meta.dimensions != self.domain.encoder.dimensions:
            return "other dimensions"
        if meta.chunking != self.domain.chunking:
            return "files are cut otherwise"
        return None

    # An index that is built anew.

    def _build(self, files: Sequence[SourceFile]) -> None:
        total = sum(source.size for source in files) or 1
        with self._embedding() as embedding:
            if self.update.dry_run:
                for group, _ in self._groups(files, total):
                    self._count_built(group)
                    embedding.count(passage for cut in group for passage in cut.passages)
            else:
                with build_beside(
                    self.domain.index,
                    encoder=self.encoders.fingerprint(self.domain.encoder),
                    dimensions=self.domain.encoder.dimensions,
                    chunking=self.domain.chunking,
                    code=self._code,
                ) as index:
                    for group, share in self._groups(files, total):
                        passages = (passage for cut in group for passage in cut.passages)
                        vectors = embedding.vectors(passages, share=share)
                        for cut in group:
                            index.add_file(cut.record, cut.passages, vectors)
                        self._count_built(group)
            self._count_embedded(embedding)

    def _groups(
        self, files: Sequence[SourceFile], total_bytes: int
    ) -> Iterator[tuple[list[_Cut], float]]:
        """Files cut, some thousand passages at once, with the share of all that is cut by then."""
        group: list[_Cut] = []
        passages, seen_bytes = 0, 0
        for source in files:
            cut = self._cut(source, None)
            seen_bytes += source.size
            if cut is None:
                continue
            group.append(cut)
            passages += len(cut.passages)
            if passages >= _BUILT_AT_ONCE:
                yield group, seen_bytes / total_bytes
                group, passages = [], 0
        if group:
            yield group, 1.0

    def _count_built(self, group: Sequence[_Cut]) -> None:
        self.update.files.added += len(group)
        self.update.passages.added += sum(len(cut.passages) for cut in group)

    # An index that is changed in place.

    def _change(self, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]) -> None:
        cuts, touched, kept = self._look_for_changes(files, known)
        present = {cut.record.path for cut in cuts} | {one.path for one in kept}
        gone = {path: one for path, one in known.items() if path not in present}
        with open_index(self.domain.index) as reader:
            changes = self._build_changes(reader, cuts, gone)
            self._count_kept(reader, changes, len(kept))
        changes = Changes(files=changes.files, gone=changes.gone, touched=touched)
        if not changes.content_changes and not touched:
            return
        added = [passage for change in changes.files for passage in change.added]
        if self.update.dry_run:
            with self._embedding() as embedding:
                embedding.count(added)
                self._count_embedded(embedding)
            return
        vectors: dict[str, bytes] = {}
        if added:
            with self._embedding() as embedding:
                vectors = embedding.vectors(added)
                self._count_embedded(embedding)
        apply_changes(self.domain.index, changes, vectors, code=self._code)

    def _look_for_changes(
        self, files: Sequence[SourceFile], known: Mapping[str, IndexedFile]
    ) -> tuple[list[_Cut], dict[int, FileRecord], list[IndexedFile]]:
        """Files to write, files that were only touched, and all that keep their passages."""
        cuts: list[_Cut] = []
        touched: dict[int, FileRecord] = {}
        kept: list[IndexedFile] = []
        passages = 0
        for source in files:
            before = known.get(source.shown)
            if before is not None and before.seen and before.seen == _seen(source.path):
                kept.append(before)
                continue
            same = _same_content(source, before) if before else None
            if before is not None and same is not None:
                kept.append(before)
                touched[before.id] = same
                continue
            cut = self._cut(source, before)
            if cut is None:
                continue
            cuts.append(cut)
            passages += len(cut.passages)
            if passages > _MOST_IN_ONE_TRANSACTION:
                raise _TooMany
        return cuts, touched, kept

    def _build_changes(
        self, reader: IndexReader, cuts: Sequence[_Cut], gone: Mapping[str, IndexedFile]
    ) -> Changes:
        """What is to be written; a new file with the bytes of one that is gone has moved."""
        left: defaultdict[str, list[IndexedFile]] = defaultdict(list)
        for one in gone.values():
            left[one.sha256].append(one)
        files = []
        counts = self.update.files
        for cut in cuts:
            before, moved = cut.known, False
            if before is None and left[cut.record.sha256]:
                before, moved = left[cut.record.sha256].pop(0), True
            if before is None:
                counts.added += 1
                self.update.passages.added += len(cut.passages)
                files.append(FileChange(record=cut.record, file_id=None, added=cut.passages))
                continue
            counts.moved += moved
            counts.changed += not moved
            old = reader.passages_of_file(before.id)
            files.append(self._compare(cut, before, old, moved=moved))
        rest = [one.id for some in left.values() for one in some]
        counts.removed += len(rest)
        for file_id in rest:
            self.update.passages.removed += len(reader.passages_of_file(file_id))
        return Changes(files=files, gone=rest)

    def _compare(
        self, cut: _Cut, before: IndexedFile, old: Sequence[IndexedPassage], *, moved: bool
    ) -> FileChange:
        """Which passages of a file stay, which stand elsewhere now, which come and go."""
        waiting: defaultdict[tuple[str, str], list[IndexedPassage]] = defaultdict(list)
        for one in old:
            waiting[one.title, one.text].append(one)
        added: list[Passage] = []
        shifted: list[tuple[int, Passage]] = []
        reused = 0
        for passage in cut.passages:
            same = waiting[passage.title, passage.text]
            if not same:
                added.append(passage)
                continue
            earlier = same.pop(0)
            if _description(earlier) != _description(passage):
                shifted.append((earlier.id, passage))
            else:
                reused += 1
        removed = [one.id for some in waiting.values() for one in some]
        changed = min(len(added), len(removed))
        counts = self.update.passages
        counts.added += len(added) - changed
        counts.changed += changed
        counts.removed += len(removed) - changed
        counts.moved += len(shifted) + (reused if moved else 0)
        counts.reused += 0 if moved else reused
        return FileChange(
            record=cut.record, file_id=before.id, added=added, moved=shifted, removed=removed
        )

    def _count_kept(self, reader: IndexReader, changes: Changes, kept: int) -> None:
        self.update.files.reused += kept
        counts = self.update.passages
        of_changed = counts.changed + counts.moved + counts.removed + counts.reused
        counts.reused += reader.count_passages() - of_changed

    # Reading and embedding.

    def _cut(self, source: SourceFile, known: IndexedFile | None) -> _Cut | None:
        """A file in passages; None, with the reason reported, when it cannot be read."""
        settings = self.domain.settings
        count_tokens = self.encoders.open(self.domain.encoder).count_tokens
        try:
            with Path(source.path).open("rb") as stream:
                found = os.fstat(stream.fileno())
                content: bytes | io.BufferedReader
                if settings.chunker == "logs":
                    hashed = _HashedStream(stream)
                    content = io.BufferedReader(hashed, 1 << 20)
                    passages = read_passages(content, source.shown, settings, count_tokens)
                    while content.read(1 << 20):
                        pass
                    sha256, size_bytes = hashed.sha256.hexdigest(), hashed.size_bytes
                else:
                    content = stream.read()
                    sha256, size_bytes = hashlib.sha256(content).hexdigest(), len(content)
                    passages = read_passages(content, source.shown, settings, count_tokens)
        except FileNotFoundError:
            self.update.skip("gone while it was read", source.shown)
            return None
        except OSError:
            self.update.skip("unreadable", source.shown)
            return None
        record = _record(source, found, sha256, size_bytes=size_bytes)
        return _Cut(record=record, known=known, passages=passages)

    @contextmanager
    def _embedding(self) -> Iterator[Embedding]:
        fingerprint = self.encoders.fingerprint(self.domain.encoder)
        read_only = self.update.dry_run
        with open_cache(self.yard, fingerprint, self.progress, read_only=read_only) as cache:
            yield Embedding(
                settings=self.domain.encoder,
                encoders=self.encoders,
                cache=cache,
                progress=self.progress,
            )

    def _count_embedded(self, embedding: Embedding) -> None:
        self.update.embedded += embedding.embedded
        self.update.from_cache += embedding.from_cache

    @property
    def _code(self) -> bool:
        return self.domain.settings.chunker in _CODE


class _HashedStream(io.RawIOBase):
    """A file that is hashed as it is read: a log is too large to be read twice, or kept."""

    def __init__(self, stream: io.BufferedReader) -> None:
        super().__init__()
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        self.size_bytes += count
        return count


def _description(passage: Passage | IndexedPassage) -> tuple[object, ...]:
    return passage.kind, passage.first_line, passage.last_line, dict(passage.facts)


def _record(
    source: SourceFile, found: os.stat_result, sha256: str, *, size_bytes: int | None = None
) -> FileRecord:
    modified = datetime.fromtimestamp(found.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    settled = max(found.st_ctime_ns, found.st_mtime_ns) < time.time_ns() - _COARSEST_CLOCK_NS
    return FileRecord(
        path=source.shown,
        sha256=sha256,
        size_bytes=found.st_size if size_bytes is None else size_bytes,
        mtime_ns=found.st_mtime_ns,
        modified_at=modified,
        seen=describe(found) if settled else "",
    )


def describe(found: os.stat_result) -> str:
    """What the file system says of a file, as one text."""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def has_changed(source: SourceFile, before: IndexedFile) -> bool:
    """Whether a file has other bytes than the index knows of it."""
    if before.seen and before.seen == _seen(source.path):
        return False
    return _same_content(source, before) is None


def _same_content(source: SourceFile, before: IndexedFile) -> FileRecord | None:
    """The new record of a file whose bytes are those that the index knows."""
    if source.size != before.size_bytes:
        return None
    try:
        with Path(source.path).open("rb") as stream:
            found = os.fstat(stream.fileno())
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None  # cutting it says what is wrong
    return _record(source, found, sha256) if sha256 == before.sha256 else None


def _seen(path: str | os.PathLike[str]) -> str | None:
    try:
        return describe(os.stat(path))  # noqa: PTH116 - half the time of a Path
    except OSError:
        return None
