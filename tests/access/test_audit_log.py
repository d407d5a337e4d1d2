"""The audit log: whatever is done to it without its key shows, and its key is made whole."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from audit_samples import append, entry, tamper
from killed import interruptions
from modelyard.access.audit import AuditLog
from modelyard.access.audit_key import (
    NoAuditKey,
    key_path,
    load_key,
    make_key,
    require_key_possible,
)
from modelyard.access.audit_reading import AuditBroken, export_audit, read_head, verify_audit
from modelyard.access.audit_rows import NO_ROWS, AuditHead, seal_of
from modelyard.core.clock import parse_utc
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with nine rows, and the key beside it."""
    root = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS_AUDIT_KEY", str(root / "key"))
        append(Project(root / "project"), range(1, 10), prompt="Who leads sales?")
    return root


@pytest.fixture
def place(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(filled, tmp_path / "audited")
    monkeypatch.setenv("MODELS_AUDIT_KEY", str(tmp_path / "audited" / "key"))
    return Project(tmp_path / "audited" / "project")


def test_rows_verify_and_the_head_says_how_many(place: Project) -> None:
    head = verify_audit(place)
    assert head.count == 9
    assert AuditHead.parse(str(head)) == head == read_head(place)
    rows = list(export_audit(place))
    assert rows[-1] == {"head": str(head)}
    assert {row["prompt"] for row in rows[:-1]} == {"Who leads sales?"}
    assert append(place, [10]).count == 10
    assert verify_audit(place, expected=head).count == 10


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (("UPDATE entries SET output_tokens = 7 WHERE number = 4",), "row 4 .* was changed"),
        (("UPDATE entries SET organisation = NULL WHERE number = 9",), "row 9 .* was changed"),
        (("UPDATE entries SET seal = 'é' WHERE number = 2",), "row 2 .* was changed"),
        (("DELETE FROM entries WHERE number = 5",), "row 5 .* is missing"),
        (("DELETE FROM entries WHERE number = 1",), "row 1 .* is missing"),
        (
            (
                "DELETE FROM entries WHERE number = 5",
                "UPDATE entries SET number = number - 1 WHERE number > 5",
            ),
            "row 5 .* was changed",
        ),
        (
            ("INSERT INTO entries SELECT 10, at, organisation, key_id, user, route, model, "
             "adapter_digest, status, input_tokens, output_tokens, latency_us, answer_id, "
             "prompt_digest, seal FROM entries WHERE number = 9",),
            "row 10 .* was changed",
        ),
        (
            (
                "UPDATE entries SET number = 100 WHERE number = 3",
                "UPDATE entries SET number = 3 WHERE number = 7",
                "UPDATE entries SET number = 7 WHERE number = 100",
            ),
            "row 3 .* was changed",
        ),
        (("UPDATE prompts SET prompt = 'Nothing' WHERE number = 6",), "row 6 .* another prompt"),
        (("DELETE FROM entries WHERE number > 7",), "a prompt of a row that it has not"),
        (("DELETE FROM log",), "has lost its name"),
        (("DROP TABLE entries",), "no such table: entries"),
        (("DROP TABLE log",), "no such table: log"),
    ],
)  # fmt: skip
def test_what_is_changed_without_the_key_shows(
    place: Project, queries: tuple[str, ...], said: str
) -> None:
    tamper(place, *queries)
    with pytest.raises(AuditBroken, match=said):
        verify_audit(place)


def test_a_cut_tail_and_a_log_written_anew_show_against_a_head(place: Project) -> None:
    head = verify_audit(place)
    tamper(place, "DELETE FROM entries WHERE number > 6", "DELETE FROM prompts")
    assert verify_audit(place).count == 6  # alone it does not show
    with pytest.raises(AuditBroken, match="ends with row 6, and had 9"):
        verify_audit(place, expected=head)
    append(place, range(5))
    with pytest.raises(AuditBroken, match="row 9 of the audit log is not the one"):
        verify_audit(place, expected=head)
    place.audit_log.unlink()
    assert verify_audit(place) == NO_ROWS
    with pytest.raises(AuditBroken, match="ends with row 0"):
        verify_audit(place, expected=head)


def test_seals_recomputed_with_another_key_show(place: Project) -> None:
    with closing(sqlite3.connect(place.audit_log, isolation_level=None)) as connection:
        before = ""
        for row in connection.execute("SELECT * FROM entries ORDER BY number").fetchall():
            before = seal_of(b"another key" * 4, before, row[:-1])
            query = "UPDATE entries SET seal = ? WHERE number = ?"
            connection.execute(query, (before, row[0]))
    with pytest.raises(AuditBroken, match=r"row 1 .* was changed, or was sealed with another key"):
        verify_audit(place)


def test_rows_of_many_threads_are_one_chain(place: Project) -> None:
    numbers: list[int] = []
    with closing(AuditLog(place)) as log, closing(AuditLog(place)) as other:

        def add(which: int) -> None:
            numbers.extend((log, other)[which % 2].append(entry(number)) for number in range(20))

        threads = [threading.Thread(target=add, args=(which,)) for which in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(numbers) == list(range(10, 170))
    assert verify_audit(place).count == 169


def test_what_a_client_sends_never_keeps_a_row_out(place: Project) -> None:
    head = append(place, [1], model="\ud800\x00'\"; DROP", prompt="half a pair \udfff")
    assert verify_audit(place) == head
    assert head.count == 10


def test_a_log_that_was_closed_says_so(place: Project) -> None:
    log = AuditLog(place)
    log.close()
    with pytest.raises(ModelyardError, match="was closed"):
        log.append(entry())


def test_a_key_is_made_whole_or_not_at_all(place: Project, tmp_path: Path) -> None:
    key = key_path("")
    place.audit_log.unlink()
    key.unlink()
    for _ in interruptions(lambda: make_key(place, "new"), "kill"):
        assert not key.exists() or len(key.read_text()) == 65
        make_key(place, "new")  # whatever was left
        assert len(load_key(place, "new")) == 64
        key.unlink()
    assert append(place, [1]) == verify_audit(place)


def test_a_new_key_is_the_users_alone_and_outside(place: Project, tmp_path: Path) -> None:
    assert key_path("").stat().st_mode & 0o777 == 0o600
    os.environ["MODELS_AUDIT_KEY"] = str(place.root / "key")
    with pytest.raises(InvalidInput, match="lies in the project"):
        AuditLog(place)


def test_where_no_key_can_be_made_is_seen_before_and_said_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Project(tmp_path / "new")
    new.local_state.mkdir(parents=True)
    require_key_possible(new)
    (tmp_path / "file").touch()
    for named in (tmp_path / "file" / "audit.key", tmp_path / "file", tmp_path):
        monkeypatch.setenv("MODELS_AUDIT_KEY", str(named))
        with pytest.raises(ModelyardError):
            require_key_possible(new)
    monkeypatch.setenv("MODELS_AUDIT_KEY", "/proc/none/audit.key")
    with pytest.raises(NoAuditKey, match="cannot be made"):
        make_key(new, "new")


@pytest.mark.parametrize("left", ["nothing", "empty", "folder", "pipe"])
def test_rows_are_refused_without_the_key(place: Project, left: str) -> None:
    key = key_path("")
    key.unlink()
    if left == "empty":
        key.touch()
    elif left == "folder":
        key.mkdir()
    elif left == "pipe":
        os.mkfifo(key)
    for use in (lambda: verify_audit(place), lambda: AuditLog(place)):
        with pytest.raises(ModelyardError) as error:
            use()
        assert str(key) in str(error.value)
        assert isinstance(error.value, NoAuditKey) == (left != "empty")


def test_an_export_of_some_time_has_its_rows_and_the_head_of_all(place: Project) -> None:
    days = ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z")
    for number, day in enumerate(days, 10):
        append(place, [number], at=day)

    def exported(**bounds: str) -> list[int]:
        *rows, last = export_audit(place, **bounds)
        assert last == {"head": str(read_head(place))}
        return [row["number"] for row in rows]

    since, until = parse_utc("2026-12-01"), parse_utc("2026-12-02T01:00:00+01:00")
    assert since is not None and until is not None
    assert exported(since=since, until=until) == [11]
    assert exported(since=since) == [11, 12]
    assert exported(until=since) == list(range(1, 11))
    assert parse_utc("yesterday") is None
