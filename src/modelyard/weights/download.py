"""What all downloads share: the progress, and how one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.core.errors import ModelyardError
from modelyard.core.files import folder_size_bytes
from modelyard.core.progress import Progress


class SourceFailed(ModelyardError):
    """A source cannot provide a base or an encoder; the message is the reason."""


_EVERY_S = 0.25


@contextmanager
def showing_growth(
    folder: Path, progress: Progress, *, label: str, total_bytes: int | None
) -> Iterator[None]:
    """Report how far `folder` has grown towards `total_bytes` while the block runs."""
    if total_bytes is None:
        yield
        return
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY_S):
            try:
                # A file may vanish between being listed and being measured.
                size = folder_size_bytes(folder)
            except OSError:
                continue
            if size < total_bytes:
                progress.advance(size)

    progress.begin(label, total_bytes, "bytes")
    watcher = threading.Thread(target=watch, name="download progress", daemon=True)
    watcher.start()
    try:
        yield
        progress.advance(total_bytes)
    finally:
        stop.set()
        watcher.join()
        progress.end()
