"""What is recorded of requests: only where it is wanted, without secrets, and not for ever."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from answer_samples import make_request
from modelyard.answering import recorded_prompts
from modelyard.answering.recorded_prompts import (
    count_prompts,
    find_prompt,
    forget_prompts,
    record_prompt,
)
from modelyard.answering.request import GivenText, Request
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.integration import RecordPrompts
from modelyard.core.errors import ModelyardError
from modelyard.core.layout import Project

DAY_S = 86_400.0
ON = RecordPrompts(enabled=True, retention_s=DAY_S)
OFF = RecordPrompts(enabled=False, retention_s=DAY_S)
SECRET = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zZ"
ID, OTHER = "0" * 16, "1" * 16


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(recorded_prompts, "utc_now_ms", lambda: int(seconds * 1000))

    return set_clock


def record(
    place: Project, settings: RecordPrompts = ON, question: str = "Who?", id: str = ID
) -> str | None:
    request = make_request(question, organisation="acme")
    return record_prompt(place, settings, request, answer_id=id, answer="Ann.")


def test_nothing_is_recorded_unless_it_is_wanted(place: Project) -> None:
    assert record(place, OFF) is None
    assert not place.recorded_prompts.exists()
    assert find_prompt(place, ID) is None


def test_a_request_is_recorded_whole_under_the_id_of_its_answer(place: Project) -> None:
    request = Request(
        messages=(Message("user", "Who?"), Message("assistant", "Ann."), Message("user", "Why?")),
        system="Be brief.",
        files=(GivenText(name="a.py", text="x = 1"),),
        organisation="acme",
    )
    assert record_prompt(place, ON, request, answer_id=ID, answer="So it is.") is None
    found = find_prompt(place, ID)
    assert found is not None
    assert (found.messages, found.system, found.files) == (
        request.messages,
        request.system,
        request.files,
    )
    assert (found.organisation, found.answer) == ("acme", "So it is.")
    assert stat.S_IMODE(place.recorded_prompts.stat().st_mode) == 0o600


def test_secrets_are_masked_in_every_text_before_they_are_written(place: Project) -> None:
    request = Request(
        messages=(Message("user", f"My key is {SECRET}"),),
        system=f"Use token: {SECRET}",
        files=(GivenText(name=f"{SECRET}.env", text=f"HF_TOKEN={SECRET}\nPORT=80"),),
    )
    record_prompt(place, ON, request, answer_id=ID, answer=f"It is {SECRET}.")
    found = find_prompt(place, ID)
    assert found is not None
    assert "PORT=80" in found.files[0].text
    written = b"".join(path.read_bytes() for path in place.local_state.glob("recorded-prompts*"))
    assert SECRET.encode() not in written
    assert json.dumps(SECRET)[1:-1] not in repr(found)


def test_prompts_are_gone_after_their_retention(
    place: Project, at: Callable[[float], None]
) -> None:
    at(0)
    record(place, question="Marigold? " * 50)
    at(DAY_S - 1)
    assert find_prompt(place, ID) is not None
    at(DAY_S)
    assert find_prompt(place, ID) is None
    record(place, OFF)  # the next answer removes it, though it is not recorded
    assert count_prompts(place, "acme") == 0
    files = place.local_state.glob("recorded-prompts.db*")
    assert b"Marigold" not in b"".join(path.read_bytes() for path in files)


def test_a_retention_that_was_made_shorter_holds_for_what_is_recorded(
    place: Project, at: Callable[[float], None]
) -> None:
    at(0)
    record(place)
    at(120)
    record(place, RecordPrompts(enabled=True, retention_s=60), id=OTHER)
    assert (find_prompt(place, ID), count_prompts(place, "acme")) == (None, 1)


def test_an_organisation_is_forgotten_and_its_text_is_in_no_file(place: Project) -> None:
    for number in range(20):
        record(place, question=f"Marigold {number}? " * 90, id=f"{number:016x}")
    record_prompt(place, ON, make_request("Edelweiss?"), answer_id="f" * 16, answer="Yes.")
    assert forget_prompts(place, "acme") == 20
    assert (forget_prompts(place, "acme"), count_prompts(place, "acme")) == (0, 0)
    files = place.local_state.glob("recorded-prompts.db*")
    assert b"Marigold" not in b"".join(path.read_bytes() for path in files)
    assert find_prompt(place, "f" * 16) is not None


def test_an_answer_does_not_fail_for_its_record(place: Project) -> None:
    record(place)
    place.recorded_prompts.write_bytes(b"no database" * 999)
    said = record(place)
    assert said is not None
    assert "not recorded" in said
    with pytest.raises(ModelyardError, match=r"recorded-prompts\.db"):
        find_prompt(place, ID)


def test_a_record_of_another_version_is_no_record(place: Project) -> None:
    record(place)
    with sqlite3.connect(place.recorded_prompts) as other:
        other.execute("UPDATE prompts SET request = ?", (json.dumps({"turns": []}),))
    other.close()
    assert find_prompt(place, ID) is None


def test_half_of_a_surrogate_pair_is_recorded_as_a_question_mark(place: Project) -> None:
    assert record(place, question="What is \ud83d?") is None
    found = find_prompt(place, ID)
    assert found is not None
    assert found.messages[0].content == "What is ??"
