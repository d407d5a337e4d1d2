"""What became of a file since it was indexed: a result may point to lines that are there no more.

Only shown results are asked for, so a search pays one look at the file system for each.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from pathlib import Path

from modelyard.core.layout import Project
from modelyard.core.wording import counted
from modelyard.retrieval.opened import Source
from modelyard.retrieval.results import FileState, Result

_LARGEST_NS = 2**63 - 1
"""What an index keeps for a later time."""
_UNKNOWN = "\ufffd"
"""Stands in a shown path for bytes that are no UTF-8, so the file cannot be found by it."""
_HASHED_AT_MOST_BYTES = 2_000_000
"""A larger file whose time has moved counts as changed: reading it would hold up the answer."""


def state_of_file(project: Project, source: Source) -> FileState:
    """Whether the file is as it was indexed; one that was only touched is."""
    path = project.root / source.path
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return "gone"
        if found.st_size != source.size_bytes:
            return "changed"
        if min(found.st_mtime_ns, _LARGEST_NS) == source.mtime_ns:
            return "same"
        return "same" if _has_content(path, source) else "changed"
    except FileNotFoundError:
        return "same" if _UNKNOWN in source.path else "gone"
    except OSError:
        return "changed"  # it cannot be read, as it could be then


def _has_content(path: Path, source: Source) -> bool:
    if source.size_bytes > _HASHED_AT_MOST_BYTES:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256


def note_stale(results: Sequence[Result]) -> list[str]:
    """One note where results are of files that are no longer as they were indexed."""
    told = []
    for state, says in (("changed", "changed"), ("gone", "went")):
        count = len({one.chunk.path for one in results if one.state == state})
        if count:
            told.append(f"{counted(count, 'file')} {says}")
    if not told:
        return []
    indexes = dict.fromkeys(one.index for one in results if one.state != "same")
    command = "models update-embeddings " + " ".join(f"--domain {index}" for index in indexes)
    return [f"{' and '.join(told)} since the index was made: `{command}` brings it up to date"]
