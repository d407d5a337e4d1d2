"""From a file to its chunks and its hash, read once; what cannot be read is reported."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.configs.kinds.embedding_models import IndexSettings
from modelyard.retrieval.chunk import Chunk
from modelyard.retrieval.reading.chunks import read_chunks, reads_as_log
from modelyard.retrieval.reading.decoding import has_broken_characters
from modelyard.retrieval.reading.lines import CountTokens
from modelyard.retrieval.reading.sources import NotAFile, SourceFile
from modelyard.retrieval.revise import FileRecord
from modelyard.retrieval.updating.comparing import make_record
from modelyard.retrieval.updating.outcome import IndexUpdate

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CutFile:
    """A file that was read and cut."""

    record: FileRecord
    """What the index keeps of it."""
    chunks: Sequence[Chunk]
    """Its chunks, in the order of their lines."""


def cut_file(
    source: SourceFile, settings: IndexSettings, count_tokens: CountTokens, update: IndexUpdate
) -> CutFile | None:
    """A file in chunks; None, with the reason reported, when it cannot be read."""
    try:
        with source.open() as stream:
            found = os.fstat(stream.fileno())
            if settings.chunker == "logs":
                return _cut_log(source, found, stream, settings, count_tokens, update)
            content = stream.read(settings.max_file_size_bytes + 1)
    except FileNotFoundError:
        update.skip("gone while it was read", source.shown)
        return None
    except NotAFile:
        update.skip("not a file", source.shown)
        return None
    except OSError:
        update.skip("unreadable", source.shown)
        return None
    if len(content) > settings.max_file_size_bytes:  # it grew since the folders were read
        update.skip("too large", source.shown)
        return None
    if has_broken_characters(content):
        if not reads_as_log(source.shown, settings):
            update.skip("broken encoding", source.shown)
            return None
        update.skip("characters in a broken encoding", source.shown)

    def report(reason: str) -> None:
        update.skip(reason, source.shown)

    chunks = read_chunks(content, source.shown, settings, count_tokens, report=report)
    sha256 = hashlib.sha256(content).hexdigest()
    record = make_record(source, found, sha256, size_bytes=len(content))
    return CutFile(record=record, chunks=chunks)


def can_be_read(source: SourceFile, settings: IndexSettings) -> bool:
    """Whether `cut_file` would not leave the file out."""
    try:
        with source.open() as stream:
            is_log = reads_as_log(source.shown, settings)
            return is_log or not has_broken_characters(stream.read())
    except OSError:
        return False


def _cut_log(
    source: SourceFile,
    found: os.stat_result,
    stream: io.BufferedReader,
    settings: IndexSettings,
    count_tokens: CountTokens,
    update: IndexUpdate,
) -> CutFile:
    """A log in chunks: it may be too large to be held, and one broken line does not lose it."""
    watched = _WatchedStream(stream)
    content = io.BufferedReader(watched, _BLOCK_BYTES)
    chunks = read_chunks(content, source.shown, settings, count_tokens)
    while content.read(_BLOCK_BYTES):
        pass
    if watched.is_broken:
        update.skip("characters in a broken encoding", source.shown)
    sha256 = watched.sha256.hexdigest()
    record = make_record(source, found, sha256, size_bytes=watched.size_bytes)
    return CutFile(record=record, chunks=chunks)


class _WatchedStream(io.RawIOBase):
    """A file that is hashed and checked for broken characters as it is read, block by block."""

    def __init__(self, stream: io.BufferedReader) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.is_broken = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer)
        block = memoryview(buffer)[:count]
        self.sha256.update(block)
        self.size_bytes += count
        if not self.is_broken:
            try:
                self._decoder.decode(block, final=not count)
            except UnicodeDecodeError:
                self.is_broken = True
        return count
