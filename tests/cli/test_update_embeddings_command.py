"""`models update-embeddings` and `models index status` as a person and a program see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.layout import Project
from modelyard.retrieval.indexes import load_indexes
from toy_encoder import ToyEncoder

Models = Callable[..., int]
UPDATE = ("update-embeddings", "--domain", "documentation", "--incremental")


@pytest.fixture
def docs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = project.configs / "embedding_models" / "texts.yaml"
    config.parent.mkdir()
    config.write_text(
        "description: For tests\n"
        "encoder: {source: wheel, model: all-minilm-l6-v2, dimensions: 384, max_tokens: 256}\n"
        "domains:\n"
        "  documentation:\n"
        "    description: Prose\n    sources: ['docs/**/*.md']\n    chunker: markdown\n"
        "  notes:\n"
        "    description: Notes\n    sources: ['notes/*.md']\n    chunker: markdown\n"
    )
    folder = project.root / "docs"
    folder.mkdir()
    (folder / "one.md").write_text("# One\n\nThe first of all.\n")
    (folder / "two.md").write_text("# Two\n\nThe second of all.\n")
    (folder / "raw.md").write_bytes(b"\0\1\2")
    toy = ToyEncoder(dimensions=384)
    for name in ("fingerprint", "known_fingerprint"):
        monkeypatch.setattr(
            f"modelyard.encoders.encoder.Encoders.{name}", lambda self, settings: toy.fingerprint
        )
    monkeypatch.setattr(
        "modelyard.encoders.encoder.Encoders.open", lambda self, settings, texts=0: toy
    )
    monkeypatch.setattr(
        "modelyard.retrieval.status.encoder_fingerprint", lambda project, settings: toy.fingerprint
    )
    return folder


def test_the_command_of_the_readme_builds_changes_and_says_unchanged(
    docs: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*UPDATE) == 0
    said = capsys.readouterr().out
    assert "texts/documentation: rebuilt (there was none): 2 files (2 added)" in said
    assert "embedded 2" in said and "skipped, binary: 1 (docs/raw.md)" in said
    assert models(*UPDATE) == 0
    assert "texts/documentation: unchanged, 2 files, 2 chunks" in capsys.readouterr().out
    (docs / "two.md").write_text("# Two\n\nThe second of many.\n")
    assert models(*UPDATE, "--json") == 0
    found = json.loads(capsys.readouterr().out)["domains"][0]
    assert found["files"]["changed"] == found["passages"]["changed"] == found["embedded"] == 1
    assert not found["unchanged"] and found["built"] is None


def test_sources_that_match_no_file_are_said(
    docs: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    for page in [*docs.iterdir()]:
        page.unlink()
    assert models(*UPDATE) == 0
    assert "0 files, for none matches its `sources`; 0 chunks" in capsys.readouterr().out


def test_a_dry_run_makes_no_index(
    docs: Path, project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("update-embeddings", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "would be rebuilt (there was none): 2 files (2 added)" in said
    assert "chunks not counted: the encoder all-minilm-l6-v2 is not on this machine" in said
    assert not (project.models / "embeddings").exists()


@pytest.mark.parametrize(
    "words", [("--all", "--domain", "notes"), ("--incremental", "--rebuild"), ("--domain", "x")]
)
def test_what_contradicts_itself_is_refused(
    docs: Path, models: Models, words: tuple[str, ...]
) -> None:
    assert models("update-embeddings", *words) == 2


def test_status_tells_cron_when_an_index_is_stale(
    docs: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("index", "status") == 5
    assert models(*UPDATE) == 0
    asked = ("index", "status", "--domain", "documentation")
    assert models(*asked, "--max-age", "0 s") == 0
    assert models("index", "status", "--max-age", "1 h") == 4, "notes has no index"
    capsys.readouterr()
    (docs / "new.md").write_text("# New\n")
    assert models(*asked, "--json") == 0
    found = json.loads(capsys.readouterr().out)["domains"][0]
    assert (found["state"], found["new"]) == ("stale", ["docs/new.md"])
    assert models(*asked, "--max-age", "1 h") == 0
    assert models(*asked, "--max-age", "0 s") == 4
    assert "texts/documentation (stale)" in capsys.readouterr().err
    assert models(*asked, "--max-age", "soon") == 2


def test_damage_is_told_to_cron_and_mended_by_what_the_hint_says(
    docs: Path, project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models(*UPDATE) == 0
    index = load_indexes(project)["texts/documentation"].path
    size = index.stat().st_size
    with index.open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(b"\0" * (size // 4))
    asked = ("index", "status", "--domain", "documentation", "--max-age", "1 h")
    assert models(*asked) == 4
    said = capsys.readouterr().err
    assert "texts/documentation (unreadable)" in said
    assert "models update-embeddings --domain texts/documentation, and with --rebuild" in said
    assert models(*UPDATE) == 0
    assert "rebuilt (it was damaged): 2 files (2 added)" in capsys.readouterr().out
    assert models(*asked) == 0


def test_production_uses_what_was_deployed_and_development_the_draft(
    docs: Path, project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    """An edit of a draft changes nothing in production until it is deployed."""
    dry_run = ("update-embeddings", "--domain", "notes", "--dry-run", "--json", "--env")
    draft = project.configs / "embedding_models" / "texts.yaml"
    notes = project.root / "notes"
    notes.mkdir()
    (notes / "one.md").write_text("# One\n")
    (notes / "two.txt").write_text("Two\n")

    def files_in(environment: str) -> int:
        assert models(*dry_run, environment) == 0
        return int(json.loads(capsys.readouterr().out)["domains"][0]["files"]["added"])

    assert models(*dry_run, "production") == 1
    assert "nothing is deployed to production: models deploy-config" in capsys.readouterr().err
    assert models("deploy-config", "--all", "--env", "production", "--yes") == 0
    draft.write_text(draft.read_text().replace("notes/*.md", "notes/*"))
    capsys.readouterr()
    assert files_in("production") == 1
    assert files_in("development") == 2
    assert models("deploy-config", "texts", "--env", "production", "--yes") == 0
    capsys.readouterr()
    assert files_in("production") == 2


def test_two_environments_share_an_index_until_their_settings_differ(
    docs: Path, project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is taken over and removed is said, before it is done and after."""
    draft = project.configs / "embedding_models" / "texts.yaml"
    assert models("deploy-config", "--all", "--env", "production", "--yes") == 0
    assert models(*UPDATE) == 0
    first = load_indexes(project)["texts/documentation"].path
    capsys.readouterr()

    def environments() -> list[str]:
        assert models("index", "status", "--domain", "documentation", "--json") == 0
        found = json.loads(capsys.readouterr().out)["domains"][0]
        assert found["path"] == project.show(load_indexes(project)["texts/documentation"].path)
        return list(found["environments"])

    assert environments() == ["development", "production"]
    draft.write_text(draft.read_text().replace("docs/**/*.md", "docs/o*.md"))
    assert models(*UPDATE, "--dry-run") == 0
    first_shown = project.show(first)
    assert f"would be changed, taken over from {first_shown}: 1 file" in capsys.readouterr().out
    assert models(*UPDATE, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["domains"][0]["taken_over"], found["removed"]) == (first_shown, [])
    assert environments() == ["development"]
    for glob in ("docs/o*.md", "docs/*.md"):
        draft.write_text(draft.read_text().replace("docs/o*.md", glob))
        assert models(*UPDATE) == 0
        assert models("deploy-config", "texts", "--env", "production", "--yes") == 0
        capsys.readouterr()
        assert environments() == ["development", "production"]
    assert models(*UPDATE, "--dry-run") == 0
    assert f"{first_shown}: would be removed, no environment needs it" in capsys.readouterr().out
    assert first.exists()
    assert models(*UPDATE) == 0
    assert f"{first_shown}: removed, no environment needs it" in capsys.readouterr().out
    assert not first.exists()
