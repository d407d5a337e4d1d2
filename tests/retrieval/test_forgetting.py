"""The embedding cache forgets what no index has used for a week, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from index_projects import Docs, make_docs, page
from modelyard.core.files import exclusive_lock
from modelyard.core.progress import Silent
from modelyard.retrieval.cache import WORTH_BYTES, connect_cache, forget_unused

DAY = 20_000


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    """A project whose cache holds six vectors in use, and three that are not."""
    made = make_docs(tmp_path / "project")
    for name in ("adapters", "bases", "search"):
        made.write(f"{name}.md", page(name))
    made.update()
    (made.project.root / "docs/search.md").unlink()
    made.update()
    return made


def forget(docs: Docs, day: int) -> None:
    """As an update does at its end, on that day, whatever the size of the cache."""
    forget_unused(docs.project, Silent(), today=DAY + day, worth_bytes=1)


def kept(docs: Docs) -> int:
    with closing(connect_cache(docs.project)) as connection:
        return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def test_what_is_unused_for_a_week_is_forgotten(docs: Docs) -> None:
    for day in (0, 1, 6):
        forget(docs, day)
        assert kept(docs) == 9
    forget(docs, 7)
    assert kept(docs) == 6
    assert docs.update(rebuild=True).embedded == 0


def test_what_comes_back_within_the_week_embeds_nothing_and_restarts_its_week(
    docs: Docs,
) -> None:
    forget(docs, 0)
    docs.write("search.md", page("search"))
    assert docs.update().embedded == 0
    forget(docs, 5)
    (docs.project.root / "docs/search.md").unlink()
    docs.update()
    for day in (6, 8, 12):
        forget(docs, day)
    assert kept(docs) == 9
    forget(docs, 13)
    assert kept(docs) == 6


def test_vectors_of_an_encoder_that_no_index_uses_are_forgotten(docs: Docs) -> None:
    docs.encoders.encoder.fingerprint = "another"
    docs.update()
    assert kept(docs) == 15
    for day in (0, 7):
        forget(docs, day)
    assert kept(docs) == 6


def test_it_is_asked_once_a_day_and_only_of_a_large_cache(docs: Docs) -> None:
    forget(docs, 0)
    docs.write("search.md", page("search"))
    docs.update()
    forget(docs, 0)  # would see that all are used again
    with closing(connect_cache(docs.project)) as connection:
        marked = connection.execute("SELECT count(*) FROM vectors WHERE unused_since NOT NULL")
        assert marked.fetchone() == (3,)
    (docs.project.root / "docs/search.md").unlink()
    docs.update()
    forget_unused(docs.project, Silent(), today=DAY + 99)
    assert kept(docs) == 9


def test_an_index_that_cannot_be_read_loses_no_vector(docs: Docs) -> None:
    docs.index.path.with_name("broken.index").write_bytes(b"no database" * 1000)
    for day in (0, 7):
        forget(docs, day)
    assert kept(docs) == 9


def test_it_never_waits_for_another_one(docs: Docs) -> None:
    forget(docs, 0)
    with exclusive_lock(docs.project.lock("search", "embedding-cache-sweep"), what="other"):
        forget(docs, 7)
    assert kept(docs) == 9


def test_the_file_shrinks_when_most_of_it_was_forgotten(docs: Docs) -> None:
    for number in range(300):
        docs.write(f"many/{number}.md", page(f"subject {number}", 1))
    docs.update()
    for path in (docs.project.root / "docs/many").iterdir():
        path.unlink()
    docs.update()
    before = docs.project.embedding_cache.stat().st_size
    for day in (0, 7):
        forget(docs, day)
    assert kept(docs) == 6
    assert docs.project.embedding_cache.stat().st_size < before / 2


def test_an_update_asks_for_it_once_the_cache_is_large(docs: Docs) -> None:
    with closing(connect_cache(docs.project)) as connection:
        connection.execute("INSERT INTO encoders (fingerprint) VALUES ('large')")
        connection.execute(
            "INSERT INTO vectors (encoder, digest, vector) VALUES "
            "((SELECT max(id) FROM encoders), x'00', zeroblob(?))",
            (WORTH_BYTES,),
        )
    docs.write("new.md", page("new"))
    docs.update()
    with closing(connect_cache(docs.project)) as connection:
        assert connection.execute("SELECT count(*) FROM sweeps").fetchone() == (1,)
        connection.execute("UPDATE vectors SET unused_since = 1 WHERE unused_since NOT NULL")
        connection.execute("DELETE FROM sweeps")
    docs.write("newer.md", page("newer"))
    docs.update()
    assert kept(docs) == 12
    assert docs.project.embedding_cache.stat().st_size < WORTH_BYTES


def test_a_cache_of_the_first_schema_keeps_its_vectors(docs: Docs) -> None:
    with closing(sqlite3.connect(docs.project.embedding_cache)) as connection:
        connection.execute("ALTER TABLE vectors DROP COLUMN unused_since")
        connection.execute("DROP TABLE sweeps")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    done = docs.update(rebuild=True)
    assert (done.embedded, done.from_cache) == (0, 6)
    forget(docs, 0)
    assert kept(docs) == 9
