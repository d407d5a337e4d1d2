"""Answers that are kept: for whom, for how long, in how many bytes, and how they are removed."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answer_samples import SCHEMA, make_answer, make_chunk, make_effective, make_request
from modelyard.answering import answer_cache
from modelyard.answering.answer_cache import answer_key, count_kept, find, keep, purge
from modelyard.answering.prompt import build_messages
from modelyard.answering.request import GivenText, UsedChunk
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project

HOUR_S = 3600.0


def lasting(lifetime_s: float) -> AnswerCache:
    return AnswerCache(enabled=True, lifetime_s=lifetime_s)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of the cache, in seconds."""

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(answer_cache, "utc_now_ms", lambda: int(seconds * 1000))

    return set_clock


def test_a_kept_answer_is_given_again_with_all_that_it_came_with(place: Project) -> None:
    chunk = make_chunk(1, "It is at noon.", is_named=True)
    answer = make_answer("At noon [1].", samples=3, agreed=2, chunks=(chunk,))
    keep(place, lasting(HOUR_S), "acme", "k", answer)
    found = find(place, lasting(HOUR_S), "acme", "k")
    assert found is not None
    assert (found.text, found.samples, found.agreed) == ("At noon [1].", 3, 2)
    assert found.chunks == (chunk,)
    assert (found.id, found.ref) == (answer.id, answer.ref)


def test_no_organisation_gets_the_answer_of_another(place: Project) -> None:
    keep(place, lasting(HOUR_S), "acme", "k", make_answer())
    for other in (None, "acm", "acme2", "ACME", "%"):
        assert find(place, lasting(HOUR_S), other, "k") is None
    keep(place, lasting(HOUR_S), None, "k", make_answer("Of nobody."))
    found = find(place, lasting(HOUR_S), "acme", "k")
    assert found is not None
    assert found.text == "Yes."


def test_an_answer_is_given_no_longer_than_its_lifetime_nor_than_the_present_one(
    place: Project, at: Callable[[float], None]
) -> None:
    at(1000)
    keep(place, lasting(60), None, "k", make_answer())
    at(1059)
    assert find(place, lasting(HOUR_S), None, "k") is not None
    assert find(place, lasting(50), None, "k") is None
    at(1060)
    assert find(place, lasting(HOUR_S), None, "k") is None
    at(900)  # the clock was set back
    assert find(place, lasting(HOUR_S), None, "k") is None


@pytest.mark.parametrize(
    "changes", [{"degraded": True}, {"finish": "length"}, {"finish": "refused"}]
)
def test_only_whole_answers_of_models_are_kept(place: Project, changes: dict[str, Any]) -> None:
    keep(place, lasting(HOUR_S), None, "k", make_answer(**changes))
    assert find(place, lasting(HOUR_S), None, "k") is None


def test_an_answer_with_a_secret_in_it_is_in_no_file(place: Project) -> None:
    secret = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zZ"
    keep(place, lasting(HOUR_S), None, "k", make_answer(f"Your token is {secret}."))
    assert find(place, lasting(HOUR_S), None, "k") is None
    assert not place.local_state.exists()


def test_where_the_cache_is_off_nothing_is_kept_or_given(place: Project) -> None:
    off = AnswerCache(enabled=False)
    keep(place, off, None, "k", make_answer())
    assert not place.answer_cache.exists()
    keep(place, lasting(HOUR_S), None, "k", make_answer())
    assert find(place, off, None, "k") is None


def base_key(**changes: Any) -> str:
    """The key of one request, with some of what decides it changed."""
    effective = make_effective(samples=changes.pop("samples", 1))
    model = effective.model
    if settings := changes.pop("settings", None):
        model = replace(model, settings=replace(model.settings, **settings))
    beside = {name: changes.pop(name, None) for name in ("weights", "adapter_digest")}
    chunks: tuple[UsedChunk, ...] = changes.pop("chunks", ())
    request = make_request(changes.pop("question", "Who?"), **changes)
    messages = build_messages(effective, request, chunks)
    return answer_key(effective, model, request, messages, **beside)


@pytest.mark.parametrize(
    "change",
    [
        {"question": "When?"},
        {"system": "Be brief."},
        {"files": (GivenText(name="a", text="b"),)},
        {"json_schema": SCHEMA},
        {"chunks": (make_chunk(1, "It is at noon."),)},
        {"samples": 3},
        {"weights": "sha256:1"},
        {"adapter_digest": "sha256:2"},
        {"settings": {"model": "gpt-4.1-mini"}},
        {"settings": {"endpoint": "http://127.0.0.1:1/v1"}},
        {"settings": {"provider": "anthropic"}},
        {"settings": {"generation": replace(make_effective().model.settings.generation, seed=1)}},
    ],
)
def test_whatever_decides_an_answer_changes_its_key(change: dict[str, Any]) -> None:
    assert base_key(**change) != base_key()


def test_what_only_decides_who_asks_or_how_long_is_waited_does_not() -> None:
    assert base_key() == base_key()
    assert base_key(settings={"timeout_s": 1.0, "description": "Other words"}) == base_key()


def test_the_file_is_for_its_owner_only_and_so_are_those_beside_it(place: Project) -> None:
    old = os.umask(0)
    try:
        keep(place, lasting(HOUR_S), None, "k", make_answer())
        with sqlite3.connect(place.answer_cache) as reader:
            reader.execute("SELECT * FROM answers").fetchall()
            names = sorted(path.name for path in place.local_state.glob("answer-cache.db*"))
            modes = {stat.S_IMODE((place.local_state / name).stat().st_mode) for name in names}
        reader.close()
    finally:
        os.umask(old)
    assert "answer-cache.db-wal" in names
    assert modes == {0o600}


def test_the_oldest_answers_make_room(place: Project, at: Callable[[float], None]) -> None:
    for second in range(40):
        at(second)
        text = str(second) * 20_000
        keep(place, lasting(HOUR_S), None, str(second), make_answer(text), most_bytes=400_000)
    kept = [find(place, lasting(HOUR_S), None, str(second)) is not None for second in range(40)]
    assert kept == sorted(kept)
    assert 5 <= sum(kept) <= 20
    assert place.answer_cache.stat().st_size < 600_000
    keep(place, lasting(HOUR_S), None, "huge", make_answer("x" * 60_000), most_bytes=400_000)
    assert find(place, lasting(HOUR_S), None, "huge") is None


def test_answers_are_removed_when_their_lifetime_is_over(
    place: Project, at: Callable[[float], None]
) -> None:
    at(0)
    keep(place, lasting(10), "acme", "a", make_answer())
    at(20)
    keep(place, lasting(10), "acme", "b", make_answer())
    assert count_kept(place, "acme") == 1


def test_an_organisation_is_purged_and_its_text_is_in_no_file(place: Project) -> None:
    for number in range(30):
        keep(place, lasting(60), "acme", str(number), make_answer(f"Marigold {number}. " * 90))
    keep(place, lasting(60), "other", "k", make_answer("Edelweiss."))
    assert count_kept(place, "acme") == 30
    assert purge(place, "acme") == 30
    assert (purge(place, "acme"), count_kept(place, "acme")) == (0, 0)
    beside = place.local_state.glob("answer-cache.db*")
    content = b"".join(path.read_bytes() for path in beside)
    assert b"Marigold" not in content
    assert find(place, lasting(60), "other", "k") is not None


def test_a_purge_says_so_while_another_process_reads_what_it_removed(place: Project) -> None:
    keep(place, lasting(60), "acme", "k", make_answer())
    with sqlite3.connect(place.answer_cache, isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM answers").fetchall()
        keep(place, lasting(60), "acme", "l", make_answer())
        with pytest.raises(ModelyardError, match="another process"):
            purge(place, "acme")
        reader.execute("COMMIT")
    reader.close()
    assert purge(place, "acme") == 0
    assert find(place, lasting(60), "acme", "k") is None


def damage(path: Path, kind: str) -> None:
    match kind:
        case "no database":
            path.write_bytes(b"this is no database" * 1000)
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(path.read_bytes()[:5000])
        case "pages":
            content = bytearray(path.read_bytes())
            content[100:] = os.urandom(len(content) - 100)
            path.write_bytes(content)
        case "newer":
            with sqlite3.connect(path) as newer:
                newer.execute("PRAGMA user_version = 99")
            newer.close()
        case "folder":
            path.unlink()
            path.mkdir()
        case "pipe":
            path.unlink()
            os.mkfifo(path)


@pytest.mark.parametrize(
    "kind", ["no database", "empty", "cut", "pages", "newer", "folder", "pipe"]
)
def test_a_damaged_cache_is_no_cache_and_no_error(place: Project, kind: str) -> None:
    keep(place, lasting(60), "acme", "k", make_answer())
    with sqlite3.connect(place.answer_cache) as whole:
        whole.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole.close()
    damage(place.answer_cache, kind)
    assert find(place, lasting(60), "acme", "k") is None
    keep(place, lasting(60), "acme", "k", make_answer())


@pytest.mark.parametrize("kind", ["no database", "cut", "pages"])
def test_purging_a_damaged_cache_removes_it(place: Project, kind: str) -> None:
    keep(place, lasting(60), "acme", "k", make_answer())
    damage(place.answer_cache, kind)
    assert purge(place, "acme") == 0
    assert purge(place, "acme") == 0
    keep(place, lasting(60), "acme", "k", make_answer())
    assert find(place, lasting(60), "acme", "k") is not None


def test_a_cache_that_cannot_be_written_is_no_error(place: Project, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".models").write_text("a file where the folder belongs")
    keep(place, lasting(60), None, "k", make_answer())
    assert find(place, lasting(60), None, "k") is None


def test_threads_share_it(place: Project) -> None:
    def work(name: int) -> None:
        for number in range(20):
            keep(place, lasting(60), None, f"{name}-{number}", make_answer(str(name)))
            find(place, lasting(60), None, f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [find(place, lasting(60), None, f"{name}-19") for name in range(6)]
    assert [answer and answer.text for answer in found] == [str(name) for name in range(6)]


def test_a_key_depends_on_a_text_that_is_no_utf_8() -> None:
    effective, request = make_effective(), make_request("\ud800")
    messages = (Message("user", "\ud800"),)
    assert len(answer_key(effective, effective.model, request, messages)) == 64
