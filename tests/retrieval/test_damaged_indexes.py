"""An index that was cut short, half copied or changed by a bit: told, and built anew."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from index_yards import Docs
from serial_trees import make_serial_docs, told, told_by
from toy_encoder import ToyEncoder

from killed import SOAK
from modelyard.core.errors import ModelyardError
from modelyard.retrieval.index import IndexDamaged, open_index
from modelyard.retrieval.search import Searcher

QUERIES = ("what does file f05 say", "f03.md", '"part 1"')


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    made = make_serial_docs(tmp_path / "yard", 0)
    made.update()
    return made


def read_all(docs: Docs) -> None:
    with open_index(docs.domain.index) as reader:
        list(reader.files())
        told(reader.all_passages())
        reader.vectors()


def search_all(docs: Docs) -> None:
    searcher = Searcher(docs.yard, open_encoder=lambda yard, settings: ToyEncoder())
    try:
        for query in QUERIES:
            searcher.search(query, top=30)
    finally:
        searcher.close()


def outcome_of_use(docs: Docs) -> str:
    """Reading, searching and updating end well or say what is wrong, and how to mend it.

    "told" or "unnoticed": what an unnoticed damage changed is not looked at.
    """
    outcome = "unnoticed"
    for work in (read_all, search_all):
        try:
            work(docs)
        except ModelyardError as error:
            outcome = "told"
            assert isinstance(error, IndexDamaged), repr(error)
            assert error.hint and "update-embeddings" in error.hint
    try:
        docs.update()
    except ModelyardError as error:
        assert isinstance(error, IndexDamaged), repr(error)
        assert "--rebuild" in (error.hint or "")
    docs.update(rebuild=True)
    with open_index(docs.domain.index) as reader:
        assert told(reader.all_passages()) == told_by(0)
    return outcome


def test_a_flipped_bit_never_ends_in_a_traceback(docs: Docs, tmp_path: Path) -> None:
    whole = docs.domain.index.read_bytes()
    outcomes: Counter[str] = Counter()
    chance = random.Random(3)
    for number in range(40 * SOAK):
        changed = bytearray(whole)
        # The first page holds the schema, and every page begins with what its tree is made of.
        page = 0 if number % 4 == 0 else 4096 * chance.randrange(len(whole) // 4096)
        within = chance.randrange(4096 if number % 2 else 100)
        changed[page + within] ^= 1 << chance.randrange(8)
        docs.domain.index.write_bytes(changed)
        outcomes[outcome_of_use(docs)] += 1
    print(f"{dict(outcomes)} of {40 * SOAK} flipped bits")
    assert outcomes["told"]


def test_a_file_that_was_cut_short_is_told(docs: Docs) -> None:
    whole = docs.domain.index.read_bytes()
    chance = random.Random(4)
    whole_pages = len(whole) - 4096  # what is missing of the last one may be empty
    lengths = [1, 15, 16, 99, 100, 4095, 4096, len(whole) // 2, whole_pages]
    lengths += [chance.randrange(1, whole_pages) for _ in range(10 * SOAK)]
    for length in lengths:
        docs.domain.index.write_bytes(whole[:length])
        assert outcome_of_use(docs) == "told", f"cut short to {length} bytes"


def test_an_index_copied_while_it_changed_never_ends_in_a_traceback(docs: Docs) -> None:
    """Its first half from before an update, its second from after it."""
    before = docs.domain.index.read_bytes()
    docs.write("here/new.md", "# New\n\n" + "Another file says this.\n\n" * 40)
    docs.update()
    after = docs.domain.index.read_bytes()
    (docs.yard.root / "docs/here/new.md").unlink()
    for place in range(4096, len(after), 4096 * max(1, 8 // SOAK)):
        docs.domain.index.write_bytes(before[:place] + after[place:])
        outcome_of_use(docs)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"# no index\n" * 500, b"SQLite format 3\0"]
)
def test_a_file_that_is_no_index_is_told(docs: Docs, content: bytes) -> None:
    docs.domain.index.write_bytes(content)
    assert outcome_of_use(docs) == "told"


def test_another_programs_database_is_told(docs: Docs) -> None:
    docs.domain.index.unlink()
    with closing(sqlite3.connect(docs.domain.index)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
        connection.execute("INSERT INTO meta VALUES ('schema', 'x')")
        connection.commit()
    assert outcome_of_use(docs) == "told"


def test_a_folder_in_the_place_of_an_index_is_told(docs: Docs) -> None:
    docs.domain.index.unlink()
    docs.domain.index.mkdir()
    with pytest.raises(ModelyardError) as raised:
        docs.update()
    assert str(docs.domain.index) in str(raised.value)
    docs.domain.index.rmdir()
    docs.update()
    read_all(docs)


def test_a_journal_without_its_index_is_put_away(docs: Docs) -> None:
    shutil.move(docs.domain.index, docs.domain.index.with_name("elsewhere"))
    journal = docs.domain.index.with_name("docs.index-journal")
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 600)
    docs.update()
    assert not journal.exists()
    read_all(docs)


def test_a_text_that_is_not_what_was_written_is_told(docs: Docs) -> None:
    whole = docs.domain.index.read_bytes()
    docs.domain.index.write_bytes(whole.replace(b"f05 version 0 says", b"f05 version 9 says"))
    for work in (read_all, search_all):
        with pytest.raises(IndexDamaged, match="is not as it was written"):
            work(docs)


def test_a_damage_that_only_the_update_meets_is_mended_by_it(docs: Docs) -> None:
    """The tree of the vectors is gone: files can be listed, and a change cannot be written."""
    with closing(sqlite3.connect(docs.domain.index)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'text_words_data'"
        ).fetchone()
    with docs.domain.index.open("r+b") as stream:
        stream.seek((root - 1) * 4096)
        stream.write(b"\xff" * 4096)
    docs.write("here/new.md", "# New\n\nAnother file.\n")
    done = docs.update()
    assert done.built == "it was damaged"
    with open_index(docs.domain.index) as reader:
        assert any("Another file" in one.text for one in reader.all_passages())
