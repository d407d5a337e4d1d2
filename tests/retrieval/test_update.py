"""An update takes up what changed, embeds nothing twice, and ends where a fresh build would."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from index_projects import SECRET, Docs, all_chunks, make_docs, page
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.retrieval.damage import IndexDamaged, IndexMissing
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.reading.sources import SourceFile
from modelyard.retrieval.update import NothingToIndex


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    made = make_docs(tmp_path / "project")
    for name in ("adapters", "bases", "search"):
        made.write(f"{name}.md", page(name))
    return made


def age(docs: Docs) -> None:
    """Let the index trust what the file system says: its files were written long before."""
    with sqlite3.connect(docs.index.path) as connection:
        for number, path in connection.execute("SELECT id, path FROM files").fetchall():
            found = (docs.project.root / path).stat()
            seen = f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
            connection.execute("UPDATE files SET seen = ? WHERE id = ?", (seen, number))
    connection.close()


def assert_equals_a_fresh_build(docs: Docs) -> None:
    found = docs.rows()
    assert docs.update(rebuild=True).built == "asked for"
    assert found == docs.rows()


def test_the_first_update_builds_the_index(docs: Docs) -> None:
    done = docs.update()
    assert done.built == "there was none"
    assert done.files.added == 3
    assert done.chunks.added == done.embedded == docs.embedded() == 9
    with open_index(docs.index.path) as reader:
        assert reader.count_chunks() == 9
        assert reader.meta.snapshot == 1
        found = reader.chunks_of_file(next(reader.files()).id)
        assert [finding.first_line for finding in found] == [1, 5, 9]


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("dry_run", [False, True])
def test_sources_that_match_nothing_empty_no_index(
    docs: Docs, rebuild: bool, dry_run: bool
) -> None:
    docs.update()
    before = docs.rows()
    shutil.move(docs.project.root / "docs", docs.project.root / "pages")
    with pytest.raises(NothingToIndex, match="has 3 files, and no file matches: nothing was"):
        docs.update(rebuild=rebuild, dry_run=dry_run)
    assert docs.rows() == before
    done = docs.update(rebuild=rebuild, dry_run=dry_run, allow_empty=True)
    assert (docs.rows() == before) == dry_run
    assert rebuild or done.files.removed == 3


def test_sources_of_which_all_is_left_out_empty_no_index(docs: Docs) -> None:
    docs.update()
    (docs.project.root / ".gitignore").write_text("*.md\n")
    with pytest.raises(NothingToIndex, match=r"all that its sources match is left out \(ignored"):
        docs.update()


def test_other_sources_that_match_nothing_take_over_no_index(docs: Docs) -> None:
    docs.update()
    settings = replace(docs.index.settings, sources=("dox/**/*.md",))
    docs.index = replace(
        docs.index, settings=settings, path=docs.index.path.with_name("docs@00000000.index")
    )
    with pytest.raises(NothingToIndex):
        docs.update()
    assert not docs.index.path.exists()


def test_an_unchanged_run_does_nothing_and_opens_no_encoder(docs: Docs) -> None:
    docs.update()
    docs.encoders.opened = 0
    age(docs)
    before = docs.index.path.stat().st_mtime_ns
    done = docs.update()
    assert done.unchanged
    assert done.files.reused == 3 and done.chunks.reused == 9
    assert docs.encoders.opened == 0
    assert docs.index.path.stat().st_mtime_ns == before


def test_a_touched_file_is_unchanged(docs: Docs) -> None:
    docs.update()
    age(docs)
    os.utime(docs.project.root / "docs/bases.md", (1, 1))
    done = docs.update()
    assert done.unchanged and done.embedded == 0
    assert_equals_a_fresh_build(docs)


def test_an_edit_with_the_size_and_the_time_of_before_is_seen(docs: Docs) -> None:
    docs.update()
    age(docs)
    path = docs.project.root / "docs/bases.md"
    found = path.stat()
    path.write_text(path.read_text().replace("works", "fails"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert docs.update().files.changed == 1
    assert_equals_a_fresh_build(docs)


def test_an_edit_embeds_its_changed_chunk_only(docs: Docs) -> None:
    docs.update()
    embedded = docs.embedded()
    docs.write("bases.md", page("bases").replace("part 1 says", "part 1 tells"))
    done = docs.update()
    assert done.built is None
    assert (done.files.changed, done.files.reused) == (1, 2)
    assert (done.chunks.changed, done.chunks.reused, done.embedded) == (1, 8, 1)
    assert docs.embedded() == embedded + 1
    assert_equals_a_fresh_build(docs)


def test_lines_put_above_move_the_chunks_below(docs: Docs) -> None:
    docs.update()
    docs.write("bases.md", "# new\n\nA new beginning of the page.\n\n" + page("bases"))
    done = docs.update()
    assert (done.chunks.added, done.chunks.moved, done.embedded) == (1, 3, 1)
    assert_equals_a_fresh_build(docs)


def test_a_rename_embeds_nothing(docs: Docs) -> None:
    docs.update()
    embedded = docs.embedded()
    docs.project.root.joinpath("docs/bases.md").rename(docs.project.root / "docs/ground.md")
    done = docs.update()
    assert (done.files.moved, done.files.removed, done.files.added) == (1, 0, 0)
    assert done.chunks.moved == 3
    assert docs.embedded() == embedded
    assert_equals_a_fresh_build(docs)


def test_a_duplicate_is_embedded_once(docs: Docs) -> None:
    docs.update()
    embedded = docs.embedded()
    docs.write("copy.md", page("bases"))
    done = docs.update()
    assert (done.files.added, done.chunks.added, done.embedded) == (1, 3, 0)
    assert done.from_cache == 3
    assert docs.embedded() == embedded
    assert_equals_a_fresh_build(docs)


def test_a_deleted_file_is_gone_at_once(docs: Docs) -> None:
    docs.update()
    docs.project.root.joinpath("docs/bases.md").unlink()
    done = docs.update()
    assert (done.files.removed, done.chunks.removed) == (1, 3)
    assert not any("bases" in repr(row) for row in docs.rows())
    assert_equals_a_fresh_build(docs)


def test_a_dry_run_says_what_an_update_does_and_writes_nothing(docs: Docs) -> None:
    planned = docs.update(dry_run=True)
    assert not docs.index.path.exists() and not docs.project.local_state.exists()
    done = docs.update()
    assert (planned.built, planned.files, planned.chunks) == (
        done.built,
        done.files,
        done.chunks,
    )
    assert planned.embedded == done.embedded
    docs.write("bases.md", page("ground"))
    rows = docs.rows()
    planned = docs.update(dry_run=True)
    assert rows == docs.rows()
    done = docs.update()
    assert (planned.chunks, planned.embedded) == (done.chunks, done.embedded)


def test_another_encoder_or_chunking_rebuilds_the_index(docs: Docs) -> None:
    docs.update()
    docs.encoders.encoder.fingerprint = "another"
    done = docs.update()
    assert done.built == "another encoder" and done.embedded == 9
    settings = replace(docs.index.settings, chunk_tokens=30)
    docs.index = replace(docs.index, settings=settings)
    assert docs.update().built == "other chunking"


def test_too_many_changes_are_built_beside(docs: Docs, monkeypatch: pytest.MonkeyPatch) -> None:
    docs.update()
    monkeypatch.setattr("modelyard.retrieval.updating.changes._MOST_IN_ONE_TRANSACTION", 4)
    monkeypatch.setattr("modelyard.retrieval.updating.changes._BUILT_AT_ONCE", 4)
    for name in ("adapters", "bases"):
        docs.write(f"{name}.md", page("other " + name))
    done = docs.update()
    assert done.built == "most of it changed"
    assert done.files.total == 3 and done.embedded == 6
    assert_equals_a_fresh_build(docs)


def test_a_damaged_index_and_a_damaged_cache_are_rebuilt(docs: Docs) -> None:
    docs.update()
    rows = docs.rows()
    docs.index.path.write_bytes(b"no database" * 1000)
    with pytest.raises(IndexDamaged), open_index(docs.index.path):
        pass
    assert docs.update().built == "it was damaged"
    assert docs.rows() == rows
    for suffix in ("", "-wal", "-shm"):
        docs.project.embedding_cache.with_name(f"embedding-cache.db{suffix}").unlink(
            missing_ok=True
        )
    docs.project.embedding_cache.write_bytes(b"no database" * 1000)
    assert docs.update(rebuild=True).embedded == 9
    assert docs.rows() == rows


def test_there_is_no_index_before_the_first_update(docs: Docs) -> None:
    with pytest.raises(IndexMissing), open_index(docs.index.path):
        pass


def test_a_second_update_says_who_is_at_it(docs: Docs) -> None:
    lock = docs.project.lock("search-texts", "docs")
    with (
        exclusive_lock(lock, what="other"),
        pytest.raises(LockHeld, match=f"index texts/docs is in use by process {os.getpid()}"),
    ):
        docs.update()


def test_unreadable_files_and_files_that_go_while_read_are_skipped(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.update()
    for name in ("bases", "search"):
        docs.write(f"{name}.md", page("longer " + name))
    source_open = SourceFile.open

    def broken(self: SourceFile) -> object:
        if self.path.endswith("bases.md"):
            raise FileNotFoundError(self)
        if self.path.endswith("search.md"):
            raise PermissionError(self)
        return source_open(self)

    monkeypatch.setattr(SourceFile, "open", broken)
    done = docs.update()
    assert done.skipped["gone while it was read"] == ["docs/bases.md"]
    assert done.skipped["unreadable"] == ["docs/search.md"]
    assert done.files.removed == 2 and done.files.reused == 1


def test_a_file_in_a_broken_encoding_is_skipped_and_reported_each_time(docs: Docs) -> None:
    path = docs.project.root / "docs/old.md"
    path.write_bytes("# Überblick\n\nDas Gerät fällt aus.\n".encode("latin-1"))
    for _ in range(2):
        done = docs.update()
        assert done.skipped == {"broken encoding": ["docs/old.md"]}
        assert done.files.total == 3
    path.write_text("# Überblick\n\nDas Gerät fällt aus.\n", encoding="utf-16")
    assert docs.update().files.added == 1
    path.write_bytes(b"# Over\xffview\n")
    assert docs.update().files.removed == 1
    assert_equals_a_fresh_build(docs)


def test_of_a_log_only_the_broken_characters_are_lost(docs: Docs) -> None:
    docs.index = replace(docs.index, settings=replace(docs.index.settings, chunker="logs"))
    docs.write("good.md", "2026-01-01 ERROR disk é is full\n" * 3)
    path = docs.project.root / "docs/bad.md"
    path.write_bytes("2026-01-01 ERROR disk é was full\n".encode("latin-1") * 3)
    done = docs.update()
    assert done.skipped == {"characters in a broken encoding": ["docs/bad.md"]}
    assert done.files.total == 5
    assert any("was full" in repr(row) for row in docs.rows())


def test_a_pdf_without_text_is_reported(docs: Docs) -> None:
    docs.write("scan.md", "%PDF-1.4\nrubbish")
    assert docs.update().skipped == {"PDF without text": ["docs/scan.md"]}


def test_a_dry_run_without_the_encoder_counts_files_and_opens_nothing(docs: Docs) -> None:
    docs.encoders.here = False
    planned = docs.update(dry_run=True)
    assert planned.unknown == "the encoder toy is not on this machine; an update fetches it"
    assert (planned.built, planned.files.added, planned.chunks.total) == ("there was none", 3, 0)
    docs.update()
    docs.write("bases.md", page("ground"))
    (docs.project.root / "docs/search.md").rename(docs.project.root / "docs/find.md")
    docs.write("new.md", page("new"))
    (docs.project.root / "docs/adapters.md").unlink()
    docs.encoders.opened = 0
    planned = docs.update(dry_run=True)
    assert docs.encoders.opened == 0 and planned.unknown and not planned.unchanged
    done = docs.update()
    assert planned.files == done.files
    assert (done.files.changed, done.files.moved, done.files.added) == (1, 1, 1)


def test_a_planted_secret_is_nowhere_in_the_bytes(docs: Docs) -> None:
    docs.write("secret.md", f"# Keys\n\nThe token is {SECRET} and nothing else.\n")
    docs.update()
    docs.write("secret.md", f"# Keys\n\nThe new token is {SECRET} and nothing else.\n")
    docs.update()
    assert any("nothing else" in repr(row) for row in docs.rows())
    kept = [*docs.index.path.parent.iterdir(), *docs.project.local_state.rglob("*")]
    assert SECRET.encode() not in b"".join(item.read_bytes() for item in kept if item.is_file())
    assert not any(SECRET in text for text in docs.encoders.encoder.encoded)


def test_a_reader_keeps_its_snapshot_while_an_update_waits(docs: Docs) -> None:
    docs.update()
    with open_index(docs.index.path) as reader:
        version = reader.meta.version
        docs.update(rebuild=True)
        assert len(all_chunks(reader)) == 9
        with open_index(docs.index.path) as newer:
            assert newer.meta.version != version


def test_a_hundred_random_edits_end_where_a_fresh_build_would(docs: Docs) -> None:
    chance = random.Random(5)
    names = [f"{letter}.md" for letter in "abcdefgh"]
    for _ in range(100):
        place = docs.project.root / "docs" / chance.choice(names)
        what = chance.randrange(4)
        if what == 0:
            place.unlink(missing_ok=True)
        elif what == 1 and place.exists():
            place.rename(docs.project.root / "docs" / chance.choice(names))
        else:
            text = "".join(page(chance.choice("uvwxyz"), 1) for _ in range(chance.randrange(5)))
            docs.write(place.name, text)
        if chance.random() < 0.3:
            docs.update()
    docs.update()
    assert_equals_a_fresh_build(docs)


def test_ten_thousand_unchanged_files_take_less_than_a_second(docs: Docs) -> None:
    for number in range(10_000):
        docs.write(f"{number // 100}/{number}.md", f"Note {number} about nothing much.\n")
    docs.update()
    age(docs)
    began = time.process_time()
    done = docs.update()
    took_s = time.process_time() - began
    assert done.unchanged and done.files.total == 10_003
    assert took_s < 1.0
    docs.write("7/700.md", "# Seven\n\nQuite another note.\n")
    began = time.process_time()
    assert docs.update().embedded == 1
    assert time.process_time() - began < 2.0
