"""Status says how far an index is from its files, and changes nothing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from index_projects import Docs, make_docs, page
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.layout import Project
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.language import find_language_problem, looks_english
from modelyard.retrieval.status import read_status


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docs:
    made = make_docs(tmp_path / "project")
    for name in ("adapters", "bases"):
        made.write(f"{name}.md", page(name))

    def fingerprint(project: Project, settings: Encoder) -> str:
        return made.encoders.encoder.fingerprint

    monkeypatch.setattr("modelyard.retrieval.status.encoder_fingerprint", fingerprint)
    return made


def test_an_index_that_is_not_there_is_missing(docs: Docs) -> None:
    found = read_status(docs.project, docs.index)
    assert found.state == "missing" and found.breaches(1e9)


def test_an_index_in_step_is_current_however_old(docs: Docs) -> None:
    docs.update()
    found = read_status(docs.project, docs.index)
    assert (found.state, found.files, found.chunks, found.stale_s) == ("current", 2, 6, 0)
    assert not found.breaches(0)
    os.utime(docs.project.root / "docs/bases.md", (1, 1))
    assert read_status(docs.project, docs.index).state == "current"


def test_new_changed_and_gone_files_are_named_with_the_time_since(docs: Docs) -> None:
    docs.write("gone.md", page("gone"))
    docs.update()
    docs.write("new.md", page("new"))
    docs.write("bases.md", page("ground"))
    (docs.project.root / "docs/gone.md").unlink()
    time.sleep(0.05)
    found = read_status(docs.project, docs.index)
    assert found.state == "stale" and len([*found.new, *found.changed, *found.gone]) == 3
    assert (found.new, found.changed, found.gone) == (
        ["docs/new.md"],
        ["docs/bases.md"],
        ["docs/gone.md"],
    )
    assert 0.05 <= found.stale_s < 20
    assert found.breaches(0) and not found.breaches(60)


def test_a_file_that_no_update_can_read_does_not_make_the_index_stale(docs: Docs) -> None:
    (docs.project.root / "docs/old.md").write_bytes(b"# Over\xffview\n")
    docs.update()
    assert read_status(docs.project, docs.index).state == "current"
    docs.write("old.md", "# Overview\n")
    assert read_status(docs.project, docs.index).new == ["docs/old.md"]


def test_another_chunking_or_encoder_is_outdated(docs: Docs) -> None:
    docs.update()
    other = replace(docs.index, settings=replace(docs.index.settings, chunk_tokens=99))
    assert read_status(docs.project, other).reason == "other chunking"
    docs.encoders.encoder.fingerprint = "another"
    assert read_status(docs.project, docs.index).reason == "another encoder"


def test_a_damaged_index_is_unreadable(docs: Docs) -> None:
    docs.update()
    docs.index.path.write_bytes(b"no database" * 1000)
    found = read_status(docs.project, docs.index)
    assert found.state == "unreadable" and found.breaches(0)


ENGLISH = "An adapter is a change to a base model, and it is stored with the version of its base. "
GERMAN = (
    "Ein Adapter ist eine Änderung an einem Basismodell und liegt bei der Version des Modells. "
)
CHINESE = "适配器是对基础模型的修改,它与基础模型的版本一起存储。"


@pytest.mark.parametrize(
    ("text", "is_prose", "expected"),
    [
        (ENGLISH * 40, True, True),
        (GERMAN * 40, True, False),
        (CHINESE * 100, True, False),
        (CHINESE * 100, False, False),
        ("for row in rows: total += row.value\n" * 100, False, True),
        (GERMAN, True, None),
    ],
)
def test_text_looks_english_or_not_or_is_too_short(
    text: str, is_prose: bool, expected: bool | None
) -> None:
    assert looks_english([text], is_prose=is_prose) is expected


def test_an_index_in_another_language_says_so_where_the_encoder_reads_english(docs: Docs) -> None:
    docs.write("german.md", "# Adapter\n\n" + (GERMAN * 3 + "\n\n") * 20)
    docs.update()
    assert read_status(docs.project, docs.index).language is None, "what it reads is not known"
    packaged = replace(docs.index.encoder, source="wheel", model="all-minilm-l6-v2")
    english = replace(docs.index, encoder=packaged)
    with open_index(docs.index.path) as reader:
        assert "mostly not English" in str(find_language_problem(english, reader))
