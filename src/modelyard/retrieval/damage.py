"""Failures of an index file: the errors that are raised for them, and the search for damage.

SQLite keeps no checksums. Found are pages that do not fit together, rows that belong to nothing,
and a text that is not what was embedded; a changed bit of a vector is not.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelyard.core.errors import ModelyardError, NoData
from modelyard.core.layout import read_index_name
from modelyard.core.os_errors import NoSpace
from modelyard.retrieval.chunk import Chunk

_PAGES = ("its pages do not fit together", "PRAGMA quick_check(1)")
_ROWS = (
    ("no facts", "SELECT id FROM passages WHERE NOT json_valid(facts)"),
    ("no file", "SELECT id FROM passages WHERE file_id NOT IN (SELECT id FROM files)"),
    ("no vector", "SELECT id FROM passages EXCEPT SELECT passage_id FROM vectors"),
    ("no chunk", "SELECT passage_id FROM vectors EXCEPT SELECT id FROM passages"),
    (
        "no whole vector",
        "SELECT passage_id FROM vectors WHERE length(vector) != 2 * CAST("
        "(SELECT value FROM meta WHERE key = 'dimensions') AS INTEGER)",
    ),
    ("no words", "SELECT id FROM passages EXCEPT SELECT id FROM title_words_docsize"),
    ("no words", "SELECT id FROM passages EXCEPT SELECT id FROM text_words_docsize"),
    ("no chunk", "SELECT id FROM title_words_docsize EXCEPT SELECT id FROM passages"),
    ("no chunk", "SELECT id FROM text_words_docsize EXCEPT SELECT id FROM passages"),
)
_WORDS = (
    ("no chunk", "SELECT doc FROM temp.title_places EXCEPT SELECT id FROM passages"),
    ("no chunk", "SELECT doc FROM temp.text_places EXCEPT SELECT id FROM passages"),
)
"""Every word of the index; checked where a search has attached its tables of positions."""
_LEAST_FREE_BYTES = 65_536
"""SQLite's shared memory file takes 32 kB, and a change takes a few pages."""


class IndexMissing(NoData):
    """There is no index at the path."""


class IndexDamaged(ModelyardError):
    """The file is not an index, or its content is not what was written."""


class IndexOfAnotherSchema(IndexDamaged):
    """A version of modelyard with other tables wrote it."""


class Faulty(ValueError):
    """A fault of the file that was found while reading it, described in words."""


@contextmanager
def index_errors(path: Path) -> Iterator[None]:
    """Turn failures of SQLite that are not our bugs into errors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        of_the_disk = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))
        if name.startswith("SQLITE_FULL") or (of_the_disk and _is_full(path)):
            raise NoSpace(
                f"no space left on the disk of {path.parent}",
                hint="free some space and run the same command again; the old index still answers",
            ) from error
        # SQLite refuses to write a file that can be written only when its header is damaged.
        can_write = all(os.access(place, os.W_OK) for place in (path, path.parent))
        if _means_damage(error, name) or (name == "SQLITE_READONLY" and can_write):
            raise damaged(path, f"cannot be read: {error}") from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            message, hint = "is in use by another process", "run the same command again"
        elif name.startswith("SQLITE_READONLY_ROLLBACK"):
            message = "an update was interrupted, and it cannot be rolled back on a read-only disk"
            hint = "run `models update-embeddings` where the file can be written"
        elif name.startswith("SQLITE_READONLY"):
            message = "cannot be written: the file, its folder or its disk is read-only"
            hint = "run it where the file can be written, or check its disk and its owner"
        elif of_the_disk or name.startswith(("SQLITE_PERM", "SQLITE_AUTH")):
            message, hint = f"cannot be read or written: {error}", "check its disk and its owner"
        else:
            raise
        raise ModelyardError(message, where=str(path), hint=hint) from error


def damaged(path: Path, message: str) -> IndexDamaged:
    """The error for an index or a cache whose bytes are not what was written."""
    if path.suffix == ".index":
        hint = (
            f"`models update-embeddings --rebuild --domain {index_label(path)}` rebuilds it "
            "(with the same `--env`)"
        )
    else:
        hint = "remove it: the next update creates a new one"
    return IndexDamaged(message, where=str(path), hint=hint)


@contextmanager
def damage_errors(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Raise IndexDamaged for an error that damage in the file explains, else the same error."""
    try:
        yield
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        fault = str(error) if isinstance(error, Faulty) else find_fault(connection)
        if fault is None:
            raise
        raise damaged(path, f"is damaged: {fault}") from error


def _means_damage(error: sqlite3.Error, name: str) -> bool:
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_FORMAT")):
        return True
    # Python's own error has no name, and SQLite reports a damaged schema as an error in SQL.
    return str(error).startswith(
        ("Could not decode", "malformed", "unsupported file format", "no such table", "no such col")
    )


def _is_full(path: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES
    return False


def index_label(path: Path) -> str:
    """The label of the index at a path: GROUP/NAME."""
    named = read_index_name(path)
    return f"{path.parent.name}/{named.name if named else path.stem}"


def find_broken_page(connection: sqlite3.Connection) -> str | None:
    """Whether the pages of the file fit together: 0.08 s for 20,000 chunks in 70 MB."""
    return _ask(connection, *_PAGES)


def find_fault(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the file, as far as it can be found; reads all of it, 0.3 s for 70 MB.

    With the tables of `postings.attach_places` it also reads every word, for ten times as long.
    """
    questions = (_PAGES, *_ROWS, *(_WORDS if _has_places(connection) else ()))
    for what, question in questions:
        if fault := _ask(connection, what, question):
            return fault
    rows = connection.execute("SELECT id, title, text, digest FROM passages")
    for number, title, text, digest in rows:
        chunk = Chunk(title=title, text=text, kind="", first_line=0, last_line=0)
        if chunk.digest != digest:
            return f"chunk {number} is not as it was written"
    return None


def _ask(connection: sqlite3.Connection, what: str, question: str) -> str | None:
    """`what`, with the place, unless the answer is that of a sound index: `ok`, or no row."""
    found = connection.execute(question).fetchone()
    if found is None or found[0] == "ok":
        return None
    return f"{what} ({' '.join(str(found[0]).split())})"


def _has_places(connection: sqlite3.Connection) -> bool:
    asked = "SELECT 1 FROM sqlite_temp_schema WHERE name = 'text_places'"
    return connection.execute(asked).fetchone() is not None
