"""An index belongs to its settings: environments with equal ones share it, and never others."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from deploy_samples import deploy_config, rollback
from index_projects import ENCODER, Row, page, rows_of
from killed import interruptions
from modelyard.configs.kinds.embedding_models import Encoder, IndexSettings
from modelyard.configs.kinds.language_models import RateLimits
from modelyard.core.errors import NoData, ProblemsFound
from modelyard.core.files import exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.retrieval import sharing
from modelyard.retrieval.index_file import open_index
from modelyard.retrieval.indexes import (
    SearchIndex,
    index_lock,
    load_indexes,
    settings_digest,
)
from modelyard.retrieval.search import Searcher
from modelyard.retrieval.sharing import load_index_use, remove_unneeded
from modelyard.retrieval.status import read_status
from modelyard.retrieval.update import update_index
from modelyard.retrieval.updating.job import IndexUpdate
from modelyard.retrieval.watch import keep_up_to_date
from toy_encoder import ToyEncoders

CONFIG = """\
description: For tests
encoder: {source: path, model: toy, dimensions: 64, max_tokens: 256}
domains:
  docs:
    description: Documents
    sources: ["docs/**/*.md"]
    chunker: markdown
    chunk_tokens: 40
environments:
  production:
    encoder:
      batch_size: 64
"""
DEPLOYED = ("development", "production")


@dataclass
class Texts:
    """A project with one index, its encoders, and what is done to it in an environment."""

    project: Project
    encoders: ToyEncoders = field(default_factory=ToyEncoders)

    def index(self, environment: str = "development") -> SearchIndex:
        return load_indexes(self.project, environment)["texts/docs"]

    def update(self, environment: str = "development", **options: bool) -> IndexUpdate:
        """As `models update-embeddings --env` does."""
        index = self.index(environment)
        done = update_index(
            self.project,
            index,
            self.encoders,  # type: ignore[arg-type]
            progress=Silent(),
            **options,
        )
        self.remove([index], dry_run=options.get("dry_run", False))
        return done

    def remove(
        self, updated: list[SearchIndex], *, of_all: bool = True, dry_run: bool = False
    ) -> list[str]:
        found = remove_unneeded(
            self.project, updated, of_all=of_all, dry_run=dry_run, progress=Silent()
        )
        return [path.name for path in found]

    def found(self, environment: str = "development", query: str = "how does it work") -> set[str]:
        """The files that a search finds."""
        with closing(Searcher(self.project, environment=environment, encoders=self.encoders)) as it:  # type: ignore[arg-type]
            return {result.chunk.path for result in it.search(query, top=50).results}

    def edit(self, before: str, after: str) -> None:
        """Edit the draft."""
        draft = self.project.configs / "embedding_models/texts.yaml"
        assert before in draft.read_text()
        draft.write_text(draft.read_text().replace(before, after))

    def deploy(self, environment: str = "production") -> None:
        deploy_config(self.project, environment=environment, every_config=True)

    def files(self) -> list[str]:
        """The names of all files beside the indexes."""
        return sorted(path.name for path in (self.project.embeddings / "texts").iterdir())

    def embedded(self) -> int:
        return len(self.encoders.encoder.encoded)


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    project = Project(tmp_path / "project")
    draft = project.configs / "embedding_models/texts.yaml"
    draft.parent.mkdir(parents=True)
    draft.write_text(CONFIG)
    project.models.mkdir()
    (project.root / "toy").mkdir()
    for name in ("docs/adapters.md", "docs/bases.md", "guides/first.md"):
        place = project.root / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(page(place.stem))
    return Texts(project)


@pytest.fixture
def former(texts: Texts) -> Path:
    """The index as a version of 2026-11 left it: one file for all environments."""
    texts.update()
    index = texts.index()
    index.path.rename(index.former_path)
    with closing(sqlite3.connect(index.former_path)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'terms'")
        connection.commit()
    return index.former_path


def fresh_rows(texts: Texts, environment: str = "development") -> list[Row]:
    """What an index built from nothing says."""
    index = texts.index(environment)
    beside = replace(index, name="fresh", path=index.path.with_name("fresh@00000000.index"))
    update_index(texts.project, beside, texts.encoders, progress=Silent())  # type: ignore[arg-type]
    try:
        return rows_of(beside.path)
    finally:
        beside.path.unlink()


# The name of a file


OTHER_ENCODERS = {
    "source": "hub",
    "model": "other",
    "dimensions": 32,
    "max_tokens": 99,
    "query_prefix": "query: ",
    "document_prefix": "text: ",
    "endpoint": "https://api.example.com/v1",
    "stays_local": True,
    "precision": "fp32",
    "batch_size": 5,
    "api_key": "env:KEY",
    "price_per_million_usd": 1.0,
    "limits": RateLimits(requests_per_minute=5),
}
OTHER_SETTINGS = {
    "sources": ("guides/*.md",),
    "exclude": ("docs/a.md",),
    "chunker": "code",
    "chunk_tokens": 50,
    "max_file_size_bytes": 5,
    "redact": False,
    "description": "Other",
    "fusion": None,
    "rank_below": ("docs/a.md",),
    "recency_half_life_s": 90.0,
}
RANKING = {"description", "fusion", "rank_below", "recency_half_life_s"}
RUNNING = {
    *("precision", "batch_size", "api_key"),
    *("price_per_million_usd", "limits", "stays_local"),
}
SETTINGS = IndexSettings(description="Documents", sources=("docs/*.md", "README.md"))


def test_watching_removes_what_no_environment_needs_once_all_is_up_to_date(texts: Texts) -> None:
    texts.update()
    left = texts.files()
    texts.edit("chunk_tokens: 40", "chunk_tokens: 30")
    stop = threading.Event()
    index = texts.index()
    following = keep_up_to_date(
        texts.project,
        [index],
        texts.encoders,  # type: ignore[arg-type]
        progress=Silent(),
        stop=stop,
    )
    assert next(following).index == "texts/docs"
    stop.set()
    assert next(following, None) is None
    assert texts.files() == [index.path.name] != left


def test_every_setting_is_known_to_decide_the_content_or_not() -> None:
    assert {item.name for item in fields(Encoder)} == OTHER_ENCODERS.keys()
    assert {item.name for item in fields(IndexSettings)} == OTHER_SETTINGS.keys()


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_the_digest_is_of_what_is_indexed(name: str) -> None:
    other = replace(SETTINGS, **{name: OTHER_SETTINGS[name]})
    same = settings_digest(SETTINGS, ENCODER) == settings_digest(other, ENCODER)
    assert same == (name in RANKING)


@pytest.mark.parametrize("name", OTHER_ENCODERS)
def test_the_digest_is_of_what_makes_the_vectors(name: str) -> None:
    other = replace(ENCODER, **{name: OTHER_ENCODERS[name]})
    same = settings_digest(SETTINGS, ENCODER) == settings_digest(SETTINGS, other)
    assert same == (name in RUNNING)


def test_the_order_of_globs_makes_no_other_index() -> None:
    other = replace(SETTINGS, sources=("README.md", "docs/*.md", "README.md"))
    assert settings_digest(SETTINGS, ENCODER) == settings_digest(other, ENCODER)


# Environments


def test_environments_with_equal_settings_share_an_index(texts: Texts) -> None:
    texts.deploy()
    texts.update()
    embedded = texts.embedded()
    assert texts.found("production") == {"docs/adapters.md", "docs/bases.md"}
    done = texts.update("production")
    assert done.unchanged and texts.embedded() == embedded
    assert texts.files() == [texts.index("production").path.name]
    assert load_index_use(texts.project).environments_of(texts.index()) == [*DEPLOYED]


def test_a_draft_edit_never_changes_what_production_finds(texts: Texts) -> None:
    """The two environments update and search in turn."""
    texts.deploy()
    texts.update("production")
    before = rows_of(texts.index("production").path)
    texts.edit('"docs/**/*.md"', '"guides/*.md"')
    assert texts.found("production") == {"docs/adapters.md", "docs/bases.md"}
    texts.update()
    for _ in range(2):
        assert texts.found() == {"guides/first.md"}
        assert texts.found("production") == {"docs/adapters.md", "docs/bases.md"}
        assert rows_of(texts.index("production").path) == before
        for environment in DEPLOYED:
            assert texts.update(environment).unchanged
    (texts.project.root / "guides/second.md").write_text(page("second"))
    (texts.project.root / "docs/cards.md").write_text(page("cards"))
    assert texts.update("production").files.added == 1
    assert texts.found() == {"guides/first.md"}
    texts.update()
    assert texts.found() == {"guides/first.md", "guides/second.md"}
    assert texts.found("production") == {"docs/adapters.md", "docs/bases.md", "docs/cards.md"}
    assert len(texts.files()) == 2
    texts.deploy()
    assert texts.found("production") == {"guides/first.md", "guides/second.md"}, "built already"


def test_a_search_without_an_index_says_which_command_makes_it(texts: Texts) -> None:
    texts.deploy()
    texts.edit("chunk_tokens: 40", "chunk_tokens: 50")
    texts.update()
    with pytest.raises(NoData, match="no index yet in production: texts/docs") as raised:
        texts.found("production")
    assert raised.value.hint == (
        "`models update-embeddings --domain texts/docs --env production` makes what is missing"
    )
    assert read_status(texts.project, texts.index("production")).state == "missing"


def test_a_search_reads_each_draft_once(texts: Texts) -> None:
    texts.update()
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from modelyard.core.layout import Project\n"
        "from modelyard.retrieval.search import Searcher\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, words: event == 'open' and opened.append(str(words[0])))\n"
        "Searcher(Project(Path(sys.argv[1])))\n"
        "print(sum(path.endswith('texts.yaml') for path in opened))\n"
    )
    words = [sys.executable, "-c", program, str(texts.project.root)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"docs/**/*.md"', '"docs/**/*.md", "guides/*.md"'),
        ('"docs/**/*.md"', '"docs/a*.md"'),
        ("chunker: markdown", "chunker: markdown\n    exclude: [docs/adapters.md]"),
        ("chunk_tokens: 40", "chunk_tokens: 20"),
    ],
)
def test_an_index_of_other_settings_is_what_a_fresh_one_would_be(
    texts: Texts, before: str, after: str
) -> None:
    texts.update()
    others = rows_of(texts.index().path)
    texts.deploy()
    texts.edit(before, after)
    dry = texts.update(dry_run=True)
    done = texts.update()
    assert (dry.files, dry.chunks, dry.embedded) == (done.files, done.chunks, done.embedded)
    assert (dry.built, dry.taken_over) == (done.built, done.taken_over)
    copied = "tokens" not in before
    assert (done.taken_over is not None, done.built is None) == (copied, copied)
    assert rows_of(texts.index().path) == fresh_rows(texts)
    assert rows_of(texts.index("production").path) == others
    with open_index(texts.index().path) as here, open_index(texts.index("production").path) as two:
        assert here.meta.identity != two.meta.identity


def test_what_one_environment_leaves_out_does_not_stay_in_its_copy(texts: Texts) -> None:
    """Not even in the free pages of the file."""
    (texts.project.root / "docs/secret.md").write_text("# Plan\n\nThe verysecretplan.\n")
    texts.update()
    texts.edit('"docs/**/*.md"', '"docs/[ab]*.md"')
    assert texts.update().taken_over
    assert b"verysecretplan" not in texts.index().path.read_bytes()


def test_known_vectors_are_used_without_the_cache(texts: Texts) -> None:
    texts.deploy()
    texts.update()
    embedded = texts.embedded()
    texts.edit("chunk_tokens: 40", "chunk_tokens: 41")
    for path in texts.project.local_state.glob("embedding-cache.db*"):
        path.unlink()
    assert texts.update(dry_run=True).embedded == 0
    done = texts.update()
    assert (done.built, done.embedded, done.from_cache) == ("other chunking", 0, 6)
    assert texts.embedded() == embedded
    for path in texts.project.local_state.glob("embedding-cache.db*"):
        path.unlink()
    assert texts.update(rebuild=True).embedded == 6, "an index that is rebuilt is not trusted"


def test_other_rules_for_terms_rebuild_an_index_in_its_place_without_embedding(
    texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers until then, and the note says how to bring it up to date."""
    texts.update()
    embedded, place = texts.embedded(), texts.index().path
    for module in ("search", "index_writer", "updating.earlier"):
        monkeypatch.setattr(f"modelyard.retrieval.{module}.TERMS_VERSION", 3)
    with closing(Searcher(texts.project, encoders=texts.encoders)) as searcher:  # type: ignore[arg-type]
        found = searcher.search("adapters")
        assert found.results and "terms of another version" in found.notes[0]
        for path in texts.project.local_state.glob("embedding-cache.db*"):
            path.unlink()
        assert texts.update().built == "other terms"
        assert searcher.search("adapters").notes == ()
    assert texts.embedded() == embedded
    assert texts.files() == [place.name]


# Indexes of the version before


def test_a_former_index_answers_until_it_is_rebuilt_without_embedding(
    texts: Texts, former: Path
) -> None:
    embedded = texts.embedded()
    texts.deploy()
    for environment in DEPLOYED:
        assert texts.found(environment) == {"docs/adapters.md", "docs/bases.md"}
    with closing(Searcher(texts.project, encoders=texts.encoders)) as searcher:  # type: ignore[arg-type]
        before = searcher.search("how does it work")
        done = texts.update()
        assert (done.built, done.embedded) == ("other terms", 0)
        after = searcher.search("how does it work")
    assert [result.chunk for result in before.results] == [result.chunk for result in after.results]
    assert texts.embedded() == embedded
    assert texts.files() == [texts.index().path.name], "both environments have it now"


def test_a_former_index_stays_while_an_environment_has_no_other(texts: Texts, former: Path) -> None:
    texts.deploy()
    texts.edit('"docs/**/*.md"', '"docs/a*.md"')
    texts.update()
    assert texts.found() == {"docs/adapters.md"}
    assert texts.found("production") == {"docs/adapters.md", "docs/bases.md"}
    assert former.exists()
    assert texts.remove([texts.index("production")], dry_run=True) == [former.name]
    assert texts.update("production").taken_over, "the newest that fits, whichever it is"
    assert texts.found("production") == {"docs/adapters.md", "docs/bases.md"}
    assert not former.exists()


def test_a_former_index_of_other_chunking_is_chunked_again_with_its_vectors(
    texts: Texts, former: Path
) -> None:
    embedded = texts.embedded()
    for path in texts.project.local_state.glob("embedding-cache.db*"):
        path.unlink()
    texts.edit("chunk_tokens: 40", "chunk_tokens: 41")
    done = texts.update()
    assert (done.built, done.from_cache) == ("other chunking", 6)
    assert texts.embedded() == embedded


def test_other_rules_for_secrets_rebuild_the_indexes_that_hide_them(
    texts: Texts, former: Path
) -> None:
    with closing(sqlite3.connect(former)) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'redaction'")
        connection.commit()
    embedded = texts.embedded()
    assert texts.found() == {"docs/adapters.md", "docs/bases.md"}
    assert texts.update(dry_run=True).built == "other rules for secrets"
    texts.edit("chunker: markdown", "chunker: markdown\n    redact: false")
    done = texts.update()
    assert (done.built, done.embedded) == ("other chunking", 0), "redact is part of it"
    with closing(sqlite3.connect(texts.index().path)) as connection:
        connection.execute("UPDATE meta SET value = 1 WHERE key = 'redaction'")
        connection.commit()
    assert texts.update().unchanged, "nothing is hidden there"
    assert texts.embedded() == embedded


def test_a_damaged_former_index_is_passed_over(texts: Texts, former: Path) -> None:
    former.write_bytes(b"no database" * 1000)
    assert texts.update().built == "there was none"
    assert texts.found() == {"docs/adapters.md", "docs/bases.md"}


# Files that nobody needs


def test_a_file_that_no_environment_names_is_removed(texts: Texts) -> None:
    texts.update()
    (first,) = texts.files()
    texts.edit("chunk_tokens: 40", "chunk_tokens: 20")
    assert texts.remove([texts.index()], dry_run=True) == [first]
    assert texts.files() == [first]
    texts.update()
    assert texts.files() == [texts.index().path.name]


def test_what_is_deployed_stays_and_what_was_before_it_too(texts: Texts) -> None:
    texts.deploy()
    texts.update("production")
    for tokens in (50, 60, 70):
        texts.edit(f"chunk_tokens: {tokens - 10}", f"chunk_tokens: {tokens}")
        texts.update()
        assert len(texts.files()) <= 3
        assert texts.found("production")
        texts.deploy()
        texts.update("production")
        assert len(texts.files()) == 2, "the live one, and the one before it"
        assert texts.found("production")
    rollback(texts.project, environment="production")
    assert texts.found("production") == {"docs/adapters.md", "docs/bases.md"}


def deploy_tokens(texts: Texts, *sizes: int, described: bool = False) -> list[str]:
    """Deploy each size of chunks to production, and then another description; their files."""
    made = []
    for size in sizes:
        draft = texts.project.configs / "embedding_models/texts.yaml"
        draft.write_text(CONFIG.replace("chunk_tokens: 40", f"chunk_tokens: {size}"))
        texts.update()
        texts.deploy()
        made.append(texts.index("production").path.name)
    if described:
        texts.edit("description: Documents", "description: Pages")
        texts.deploy()
    return made


def test_rollbacks_find_their_index_past_a_revision_that_changed_none(texts: Texts) -> None:
    made = deploy_tokens(texts, 40, 41, described=True)
    for expected in reversed(made):
        texts.update()
        rollback(texts.project, environment="production")
        assert texts.index("production").path.name == expected
        assert texts.found("production")
    texts.update("production")
    assert texts.files() == sorted(made), "and one may go forward again"


def test_after_a_rollback_the_revision_that_was_left_stays_and_the_one_before_it(
    texts: Texts,
) -> None:
    made = deploy_tokens(texts, 40, 41, 42)
    rollback(texts.project, environment="production")
    texts.edit("chunk_tokens: 42", "chunk_tokens: 43")
    texts.update()
    assert texts.files() == sorted([*made, texts.index().path.name])


def test_a_name_that_no_config_declares_is_removed_only_when_all_are_updated(texts: Texts) -> None:
    texts.update()
    left = texts.index().path.with_name("gone@0123abcd.index")
    copies = [left.with_name(name) for name in ("gone.index", "docs@backup.index", "docs.bak")]
    for place in (left, *copies):
        shutil.copy(texts.index().path, place)
    assert texts.remove([texts.index()], of_all=False) == []
    assert texts.remove([texts.index()]) == [left.name]
    assert all(copy.exists() for copy in copies), "which nobody made here"


def test_nothing_is_removed_while_the_configs_of_an_environment_are_not_valid(
    texts: Texts,
) -> None:
    texts.deploy()
    texts.update("production")
    index = texts.index("production")
    left = index.path.with_name("docs@0123abcd.index")
    shutil.copy(index.path, left)
    texts.edit("chunker: markdown", "chunker: nonsense")
    with pytest.raises(ProblemsFound):
        texts.index()
    assert texts.remove([index]) == []
    assert texts.update("production").unchanged
    texts.edit("chunker: nonsense", "chunker: markdown")
    assert texts.remove([index]) == [left.name]


def test_nothing_is_removed_while_it_is_not_known_what_is_deployed(texts: Texts) -> None:
    texts.update()
    left = texts.index().path.with_name("docs@0123abcd.index")
    shutil.copy(texts.index().path, left)
    index = texts.index()
    texts.project.state_db.write_bytes(b"no database" * 1000)
    assert texts.remove([index]) == []
    assert left.exists()


def test_a_file_whose_index_is_being_updated_is_left(texts: Texts) -> None:
    texts.update()
    left = texts.index().path.with_name("docs@0123abcd.index")
    shutil.copy(texts.index().path, left)
    with exclusive_lock(index_lock(texts.project, "texts", "docs"), what="index"):
        assert texts.remove([texts.index()]) == []
    assert texts.remove([texts.index()]) == [left.name]


@pytest.fixture
def no_longer_needed(texts: Texts) -> Path:
    """The file of the settings that the drafts had before."""
    texts.update()
    left = texts.index().path
    texts.edit("chunk_tokens: 40", "chunk_tokens: 41")
    update_index(texts.project, texts.index(), texts.encoders, progress=Silent())  # type: ignore[arg-type]
    assert texts.remove([texts.index()], dry_run=True) == [left.name]
    return left


def before_removal(texts: Texts, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """What another process does after the decision: edit back, update, deploy, edit again."""
    going_on = getattr(sharing, place)

    def interrupted(*words: Any, **options: Any) -> Any:
        monkeypatch.setattr(sharing, place, going_on)
        texts.edit("chunk_tokens: 41", "chunk_tokens: 40")
        if place == "exclusive_lock":  # the lock is free, so that it can update too
            assert texts.update().unchanged
        texts.deploy()
        texts.edit("chunk_tokens: 40", "chunk_tokens: 41")
        return going_on(*words, **options)

    monkeypatch.setattr(sharing, place, interrupted)


@pytest.mark.parametrize("place", ["exclusive_lock", "remove_index"])
def test_what_is_deployed_after_the_decision_is_not_removed(
    texts: Texts, no_longer_needed: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    updated = [texts.index()]
    before_removal(texts, monkeypatch, place)
    assert texts.remove(updated) == []
    assert texts.index("production").path == no_longer_needed
    assert texts.found("production")
    assert texts.update("production").unchanged
    assert not [name for name in texts.files() if name.startswith(".")]


def test_a_removal_that_is_cut_off_leaves_the_file_or_none(
    texts: Texts, no_longer_needed: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(texts.project.root, start, symlinks=True)
    index = texts.index()
    after = rows_of(no_longer_needed)
    for number in interruptions(lambda: texts.remove([index]), "kill"):
        if no_longer_needed.exists():
            assert rows_of(no_longer_needed) == after, number
        texts.update()
        assert texts.files() == [index.path.name], number
        shutil.rmtree(texts.project.root)
        shutil.copytree(start, texts.project.root, symlinks=True)


# Killed


Interruption = Literal["kill", "fail"]


def interrupted_updates(
    texts: Texts, tmp_path: Path, changing: str, how: Interruption
) -> Iterator[int]:
    """Cut off an update in `changing` at any call; what the other environment finds stays."""
    staying = "production" if changing == "development" else "development"
    start = tmp_path / "start"
    shutil.copytree(texts.project.root, start, symlinks=True)
    kept, after = rows_of(texts.index(staying).path), fresh_rows(texts, changing)

    def put_back() -> None:
        shutil.rmtree(texts.project.root)
        shutil.copytree(start, texts.project.root, symlinks=True)

    put_back()
    for number in interruptions(lambda: texts.update(changing), how):
        assert rows_of(texts.index(staying).path) == kept, number
        # A folder that could not be read is reported, and its files are left out.
        if how == "kill" and texts.index(changing).path.exists():
            assert rows_of(texts.index(changing).path) == after, number
        yield number
        texts.update(changing)
        assert rows_of(texts.index(changing).path) == after, number
        assert rows_of(texts.index(staying).path) == kept, number
        assert texts.files() == sorted(texts.index(item).path.name for item in DEPLOYED), number
        put_back()


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_former_index_answers_until_it_is_taken_over_wherever_that_is_cut_off(
    texts: Texts, former: Path, tmp_path: Path, how: Interruption
) -> None:
    before = rows_of(former)
    texts.deploy()
    texts.edit('"docs/**/*.md"', '"docs/a*.md", "guides/*.md"')
    texts.update()
    for number in interrupted_updates(texts, tmp_path, "production", how):
        if how == "kill":
            assert rows_of(texts.index("production").readable_path) == before, number


@pytest.mark.parametrize("how", ["kill", "fail"])
def test_an_index_of_other_settings_is_taken_over_whole_wherever_that_is_cut_off(
    texts: Texts, tmp_path: Path, how: Interruption
) -> None:
    texts.update()
    texts.deploy()
    texts.edit('"docs/**/*.md"', '"docs/a*.md", "guides/*.md"')
    theirs = texts.index("production").path
    shutil.copy(theirs, theirs.with_name("docs@0123abcd.index"))
    for _ in interrupted_updates(texts, tmp_path, "development", how):
        pass
