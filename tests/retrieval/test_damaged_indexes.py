"""An index that was truncated, half copied or changed by a bit: reported, and rebuilt."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from serial_trees import chunks_of_version, content_of, make_serial_docs

from index_projects import Docs, all_chunks
from killed import SOAK
from modelyard.core.errors import ModelyardError
from modelyard.core.files import write_atomic
from modelyard.core.progress import Silent
from modelyard.retrieval.damage import IndexDamaged
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.indexes import load_indexes
from modelyard.retrieval.search import Searcher
from modelyard.retrieval.status import read_status
from modelyard.retrieval.update import update_index
from toy_encoder import ToyEncoders

QUERIES = ("what does file f05 say", "f03.md", '"part 1"')


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    made = make_serial_docs(tmp_path / "project", 0)
    made.update()
    return made


def read_all(docs: Docs) -> None:
    with open_index(docs.index.path) as reader:
        list(reader.files())
        content_of(all_chunks(reader))
        reader.vectors()


def search_all(docs: Docs) -> None:
    searcher = Searcher(docs.project, encoders=ToyEncoders())
    try:
        for query in QUERIES:
            searcher.search(query, top=30)
    finally:
        searcher.close()


def outcome_of_use(docs: Docs) -> str:
    """Reading, searching and updating end well or say what is wrong, and how to repair it.

    "reported" or "unnoticed": what an unnoticed damage changed is not checked.
    """
    outcome = "unnoticed"
    for work in (read_all, search_all):
        try:
            work(docs)
        except ModelyardError as error:
            outcome = "reported"
            assert isinstance(error, IndexDamaged), repr(error)
            assert error.hint and "update-embeddings" in error.hint
    docs.update()  # mends what can be found
    docs.update(rebuild=True)
    with open_index(docs.index.path) as reader:
        assert content_of(all_chunks(reader)) == chunks_of_version(0)
    return outcome


def test_a_flipped_bit_never_ends_in_a_traceback(docs: Docs, tmp_path: Path) -> None:
    whole = docs.index.path.read_bytes()
    outcomes: Counter[str] = Counter()
    chance = random.Random(3)
    for number in range(40 * SOAK):
        changed = bytearray(whole)
        # The first page holds the schema, and every page begins with what its tree is made of.
        page = 0 if number % 4 == 0 else 4096 * chance.randrange(len(whole) // 4096)
        within = chance.randrange(4096 if number % 2 else 100)
        changed[page + within] ^= 1 << chance.randrange(8)
        docs.index.path.write_bytes(changed)
        outcomes[outcome_of_use(docs)] += 1
    print(f"{dict(outcomes)} of {40 * SOAK} flipped bits")
    assert outcomes["reported"]


def test_a_file_that_was_truncated_is_reported(docs: Docs) -> None:
    whole = docs.index.path.read_bytes()
    chance = random.Random(4)
    whole_pages = len(whole) - 4096  # what is missing of the last one may be empty
    lengths = [1, 15, 16, 99, 100, 4095, 4096, len(whole) // 2, whole_pages]
    lengths += [chance.randrange(1, whole_pages) for _ in range(10 * SOAK)]
    for length in lengths:
        docs.index.path.write_bytes(whole[:length])
        assert outcome_of_use(docs) == "reported", f"cut short to {length} bytes"


def test_an_index_copied_while_it_changed_never_ends_in_a_traceback(docs: Docs) -> None:
    """Its first half from before an update, its second from after it."""
    before = docs.index.path.read_bytes()
    docs.write("here/new.md", "# New\n\n" + "Another file says this.\n\n" * 40)
    docs.update()
    after = docs.index.path.read_bytes()
    (docs.project.root / "docs/here/new.md").unlink()
    for place in range(4096, len(after), 4096 * max(1, 8 // SOAK)):
        docs.index.path.write_bytes(before[:place] + after[place:])
        outcome_of_use(docs)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"# no index\n" * 500, b"SQLite format 3\0"]
)
def test_a_file_that_is_no_index_is_reported(docs: Docs, content: bytes) -> None:
    docs.index.path.write_bytes(content)
    assert outcome_of_use(docs) == "reported"


def test_another_programs_database_is_reported(docs: Docs) -> None:
    docs.index.path.unlink()
    with closing(sqlite3.connect(docs.index.path)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
        connection.execute("INSERT INTO meta VALUES ('schema', 'x')")
        connection.commit()
    assert outcome_of_use(docs) == "reported"


def test_a_folder_in_the_place_of_an_index_is_reported_everywhere(docs: Docs) -> None:
    docs.index.path.unlink()
    docs.index.path.mkdir()
    for work in (docs.update, partial(docs.update, dry_run=True), partial(search_all, docs)):
        with pytest.raises(ModelyardError, match="is a folder, where an index belongs") as raised:
            work()
        assert str(docs.index.path) in str(raised.value)
    assert read_status(docs.project, docs.index).state == "unreadable"
    docs.index.path.rmdir()
    docs.update()
    read_all(docs)


def test_a_journal_without_its_index_is_put_away(docs: Docs) -> None:
    shutil.move(docs.index.path, docs.index.path.with_name("elsewhere"))
    journal = docs.index.path.with_name(f"{docs.index.path.name}-journal")
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 600)
    docs.update()
    assert not journal.exists()
    read_all(docs)


def test_a_text_that_is_not_what_was_written_is_reported(docs: Docs) -> None:
    whole = docs.index.path.read_bytes()
    docs.index.path.write_bytes(whole.replace(b"f05 version 0 says", b"f05 version 9 says"))
    for work in (read_all, search_all):
        with pytest.raises(IndexDamaged, match="is not as it was written"):
            work(docs)


def test_a_damage_that_only_the_update_meets_is_mended_by_it(docs: Docs) -> None:
    """The tree of the vectors is gone: files can be listed, and a change cannot be written."""
    with closing(sqlite3.connect(docs.index.path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'text_words_data'"
        ).fetchone()
    with docs.index.path.open("r+b") as stream:
        stream.seek((root - 1) * 4096)
        stream.write(b"\xff" * 4096)
    docs.write("here/new.md", "# New\n\nAnother file.\n")
    done = update_index(
        docs.project,
        docs.index,
        docs.encoders,  # type: ignore[arg-type]
        check=False,
        progress=Silent(),
    )
    assert done.built == "it was damaged"
    with open_index(docs.index.path) as reader:
        assert any("Another file" in chunk.text for chunk in all_chunks(reader))


def zero_middle(index: Path) -> None:
    """Nothing but zeros in the middle of the file, where the meta table and the list end before."""
    size = index.stat().st_size
    with index.open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(b"\0" * (size // 4))


def change_a_text(index: Path) -> None:
    changed = index.read_bytes().replace(b"f05 version 0 says", b"f05 version 9 says")
    index.write_bytes(changed)


def test_an_update_without_any_change_finds_damage_and_rebuilds(docs: Docs) -> None:
    whole = docs.rows()
    zero_middle(docs.index.path)
    assert docs.update(dry_run=True).built == "it was damaged"
    assert docs.update().built == "it was damaged"
    assert docs.rows() == whole
    assert docs.update().unchanged


@pytest.mark.parametrize("damage", [zero_middle, change_a_text])
def test_status_finds_damage_that_a_glance_does_not(
    docs: Docs, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = docs.encoders.encoder.fingerprint
    monkeypatch.setattr(
        "modelyard.retrieval.status.encoder_fingerprint", lambda project, settings: fingerprint
    )
    damage(docs.index.path)
    found = read_status(docs.project, docs.index)
    assert found.state == "unreadable" and found.breaches(1e9)
    docs.update(rebuild=damage is change_a_text)
    assert read_status(docs.project, docs.index).state == "current"


def test_an_index_of_another_schema_is_rebuilt_for_that_reason(docs: Docs) -> None:
    with closing(sqlite3.connect(docs.index.path)) as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
        connection.commit()
    assert docs.update().built == "another modelyard wrote it"
    assert docs.update().unchanged


def test_what_to_do_about_damage_names_the_index_and_no_other(docs: Docs) -> None:
    zero_middle(docs.index.path)
    with pytest.raises(IndexDamaged) as raised:
        search_all(docs)
    assert "--rebuild --domain texts/docs" in (raised.value.hint or "")


@pytest.mark.parametrize("damage", [zero_middle, change_a_text, Path.unlink])
@pytest.mark.parametrize("name", ["docs", "more"])
def test_one_damaged_index_of_two_is_left_out_of_a_search_with_a_note(
    docs: Docs, damage: Callable[[Path], None], name: str
) -> None:
    add_index(docs)
    index = load_indexes(docs.project)[f"texts/{name}"].path
    whole = docs.index.path.read_bytes()
    damage(index)
    searcher = Searcher(docs.project, encoders=ToyEncoders())
    for _ in range(2):
        found = searcher.search("what does file f05 say", top=30)
        assert found.results and f"texts/{name}" not in {result.index for result in found.results}
        notes = [note for note in found.notes if "not searched" in note]
        assert len(notes) == 1 and f"texts/{name}" in notes[0]
    write_atomic(index, whole)
    assert len(searcher.search("what does file f05 say", top=30).asked) == 2
    searcher.close()


@pytest.mark.parametrize("damage", [zero_middle, change_a_text])
def test_a_search_that_no_index_is_left_for_fails_and_says_why(
    docs: Docs, damage: Callable[[Path], None]
) -> None:
    damage(add_index(docs))
    damage(docs.index.path)
    with pytest.raises(IndexDamaged, match=rf"{docs.index.path.name}: "):
        search_all(docs)


def add_index(docs: Docs) -> Path:
    """A second index over the same files, and its index."""
    config = docs.project.configs / "embedding_models/texts.yaml"
    text = config.read_text()
    config.write_text(text + text[text.index("  docs:") :].replace("  docs:", "  more:", 1))
    place = load_indexes(docs.project)["texts/more"].path
    shutil.copy(docs.index.path, place)
    return place
