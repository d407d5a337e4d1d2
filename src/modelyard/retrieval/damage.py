"""What can be wrong with the bytes of an index, looked for in the file itself.

SQLite keeps no checksums: pages that do not fit together are found, rows that belong to nothing,
and a text that is not what was embedded. A changed bit of a vector is not.
"""

from __future__ import annotations

import hashlib
import sqlite3

from modelyard.retrieval.chunk import embedded_text

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
"""Every word of the index; asked where a search has attached its tables of places."""


def find_broken_page(connection: sqlite3.Connection) -> str | None:
    """Whether the pages of the file fit together: 0.08 s for 20,000 chunks in 70 MB."""
    return _ask(connection, *_PAGES)


def find_fault(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the file, as far as it shows; reads all of it, some 0.3 s for 70 MB.

    With the tables of `postings.attach_places` it also reads every word, for ten times as long.
    """
    questions = (_PAGES, *_ROWS, *(_WORDS if _has_places(connection) else ()))
    answers = (_ask(connection, what, question) for what, question in questions)
    fault = next((answer for answer in answers if answer is not None), None)
    return fault or _find_changed_text(connection)


def _ask(connection: sqlite3.Connection, what: str, question: str) -> str | None:
    """`what`, with the place, unless the answer is that of a whole index: `ok`, or none."""
    found = connection.execute(question).fetchone()
    if found is None or found[0] == "ok":
        return None
    return f"{what} ({' '.join(str(found[0]).split())})"


def _has_places(connection: sqlite3.Connection) -> bool:
    asked = "SELECT 1 FROM sqlite_temp_schema WHERE name = 'text_places'"
    return connection.execute(asked).fetchone() is not None


def _find_changed_text(connection: sqlite3.Connection) -> str | None:
    for number, title, text, digest in connection.execute(
        "SELECT id, title, text, digest FROM passages"
    ):
        if not is_as_written(title, text, digest):
            return f"chunk {number} is not as it was written"
    return None


def is_as_written(title: str, text: str, digest: str) -> bool:
    """Whether a chunk says what its own hash is of."""
    return hashlib.sha256(embedded_text(title, text).encode()).hexdigest() == digest
