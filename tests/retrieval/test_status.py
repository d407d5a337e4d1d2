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
