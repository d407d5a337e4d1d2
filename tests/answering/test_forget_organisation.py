"""An organisation is forgotten: its text is in no file, others keep theirs, and nothing is half."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter_samples import facts, fill_with
from answer_samples import make_answer, make_request
from killed import interruptions
from modelyard.adapters.gc import load_pins, pin_version
from modelyard.adapters.promote import promote_version
from modelyard.adapters.remove import adapters_of
from modelyard.adapters.versions import list_adapters, load_version, register_version
from modelyard.answering.answer_cache import find, keep
from modelyard.answering.forget_organisation import Forgotten, forget_organisation
from modelyard.answering.recorded_prompts import find_prompt, record_prompt
from modelyard.chatdata.feedback import Feedback, claim_feedback, list_feedback, record_feedback
from modelyard.configs.kinds.integration import RecordPrompts
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.core.clock import utc_now
from modelyard.core.errors import InvalidInput
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.forgotten import load_forgotten
from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.monitoring.fold import fold
from modelyard.monitoring.samples import read_samples
from modelyard.records.sample import Sample
from modelyard.records.spool import Recorder

ORG, OTHER = "marigold", "edelweiss"
CACHE = AnswerCache(enabled=True)
ON = RecordPrompts(enabled=True)
TEXT = {ORG: "Marigold words. " * 40, OTHER: "Edelweiss words. " * 40}


def sample(org: str | None, number: int, **more: Any) -> Sample:
    values = {"answer_id": f"{org}-{number}", "organisation": org, "model": "model:gpt4"}
    facts = {"answered_at_ms": number, "latency_s": 0.1, "outcome": "answered"}
    return Sample(**{**values, **facts, **more})


def fill(project: Project) -> None:
    """Everything of two organisations, and an answer of none."""
    recorder = Recorder(project)
    for number in range(6):
        for org in (ORG, OTHER, None):
            recorder.record(sample(org, number))
            recorder.record(sample(org, number, kind="call", answer_id=f"{org}-call-{number}"))
        if number == 2:
            fold(project)  # some are in traffic.db, some in the spool
    recorder.close()
    for org in (ORG, OTHER):
        for number in range(3):
            answer_id = f"{org}-{number}"
            request = make_request(TEXT[org], organisation=org)
            assert record_prompt(project, ON, request, answer_id=answer_id, answer="Yes.") is None
            keep(project, CACHE, org, str(number), make_answer(TEXT[org]))
            row = Feedback(prompt=f"{number} {TEXT[org]}", answer="No.", rating="good", org=org)
            named = answer_id if number == 2 else None
            record_feedback(project, [replace(row, answer_id=named)])
        for run in (1, 2):
            register_version(
                project, f"{org}-tone", fill=fill_with(), provenance=facts(f"{run}", org=org)
            )
        promote_version(project, load_version(project, f"{org}-tone", 2))
        pin_version(project, f"{org}-tone", 1)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled project, which tests copy."""
    root = tmp_path_factory.mktemp("start") / "project"
    for name in ("configs", "models"):
        (root / name).mkdir(parents=True)
    fill(Project(root))
    return root


@pytest.fixture
def filled(start: Path, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(start, tmp_path / "filled", symlinks=True)))


def texts_of(project: Project) -> bytes:
    """The content of every file of local state and of every adapter."""
    folders = (project.local_state, project.models)
    places = (place for folder in folders for place in folder.rglob("*"))
    return b"".join(place.read_bytes() for place in places if place.is_file())


def counts(found: Forgotten) -> tuple[int, int, int, int]:
    return found.samples, found.prompts, found.feedback, found.answers


def holdings(project: Project, org: str) -> tuple[int, int, int, int]:
    """Samples, recorded prompts, feedback and kept answers."""
    return (
        len(list(read_samples(project, filters={"organisation": org, "kind": "answer"}))),
        sum(find_prompt(project, f"{org}-{number}") is not None for number in range(3)),
        len(list_feedback(project, org=org)),
        sum(find(project, CACHE, org, str(number)) is not None for number in range(3)),
    )


def test_a_dry_run_says_what_would_go_and_changes_nothing(filled: Project) -> None:
    found = forget_organisation(filled, ORG, dry_run=True, adapters=True)
    assert counts(found) == (6, 3, 3, 3)
    assert [(one.name, one.versions) for one in found.adapters] == [("marigold-tone", (1, 2))]
    assert holdings(filled, ORG) == (6, 3, 3, 3)
    assert list_adapters(filled) == ["edelweiss-tone", "marigold-tone"]


def test_what_was_forgotten_is_recorded_without_its_name(filled: Project) -> None:
    forget_organisation(filled, ORG, adapters=True)
    with open_state(filled) as state:
        forgotten = load_forgotten(state)
    now, later = utc_now(), "9999-01-01T00:00:00Z"
    assert not forgotten.covers("organisation", OTHER, "2026-11-01T00:00:00Z")
    assert forgotten.covers("organisation", ORG, "2026-11-01T00:00:00Z")
    assert forgotten.covers("adapter", f"{ORG}-tone", "2026-11-01T00:00:00Z")
    assert not forgotten.covers("organisation", ORG, later)
    assert all(ORG not in digest and at <= now for digest, at in forgotten.times.items())


def test_nothing_of_it_is_left_in_any_file_and_others_keep_theirs(filled: Project) -> None:
    assert b"Marigold words" in texts_of(filled)
    found = forget_organisation(filled, ORG, adapters=True)
    assert counts(found) == (6, 3, 3, 3)
    left = texts_of(filled)
    assert b"Marigold words" not in left
    assert b'"organisation":"marigold"' not in left
    assert (holdings(filled, ORG), holdings(filled, OTHER)) == ((0, 0, 0, 0), (6, 3, 3, 3))
    assert len(list(read_samples(filled, filters={"organisation": None}))) == 12
    assert list_adapters(filled) == ["edelweiss-tone"]
    assert not filled.trained_link("marigold-tone").is_symlink()
    assert "marigold-tone" not in load_pins(filled)
    again = forget_organisation(filled, ORG, adapters=True)
    assert again.is_empty


def test_adapters_stay_unless_they_are_asked_for_and_are_named(filled: Project) -> None:
    found = forget_organisation(filled, ORG)
    assert found.adapters == ()
    assert list_adapters(filled) == ["edelweiss-tone", "marigold-tone"]
    places = {left.place: left.what for left in found.left}
    assert "2 versions; --adapters removes it" in places["models/versions/marigold-tone"]


def test_configs_that_name_a_removed_adapter_are_named(filled: Project) -> None:
    folder = filled.configs / "language_models"
    folder.mkdir()
    for org in (ORG, OTHER):
        (folder / f"{org}.yaml").write_text(
            f"description: Here\nprovider: local\nmodel: tiny\nadapter: {org}-tone@2\n"
            "context_tokens: 512\nmax_output_tokens: 64\n"
        )
    assert "development" not in str(forget_organisation(filled, ORG, dry_run=True).left)
    found = forget_organisation(filled, ORG, adapters=True)
    assert [left.place for left in found.left if "names the adapter" in left.what] == [
        "language_models/marigold in development"
    ]


def test_numbers_of_removed_versions_are_never_used_again(filled: Project) -> None:
    forget_organisation(filled, ORG, adapters=True)
    made = register_version(
        filled, "marigold-tone", fill=fill_with(), provenance=facts("9", org=OTHER)
    )
    assert made.number == 3


def test_what_is_not_removed_is_named_with_its_place(filled: Project) -> None:
    claim_feedback(filled, "lessons", list_feedback(filled, org=ORG)[:1])
    for name, org in (("lessons", None), ("notes", ORG), ("theirs", OTHER)):
        folder = filled.dataset(name)
        folder.mkdir(parents=True)
        card = f"---\norg: {org}\n---\n" if org else "Words alone.\n"
        (folder / "DATASET.md").write_text(card)
    for name, org in (("exp_001", ORG), ("exp_002", OTHER), ("exp_003", ORG)):
        folder = filled.experiment(name)
        folder.mkdir(parents=True)
        record = "hosted.json" if name == "exp_003" else "run.json"
        sent = {"file_id": "file-7"} if name == "exp_003" else {}
        (folder / record).write_text(json.dumps({"org": org, **sent}))
    (filled.experiment("exp_002") / "hosted.json").write_text("{broken")
    with open_state(filled) as state:
        state.execute("INSERT INTO spending VALUES ('production', ?, '2026-11-30', 5, 0)", (ORG,))
    left = forget_organisation(filled, ORG, adapters=True).left
    places = [each.place for each in left]
    assert places[:-1] == [
        "datasets/lessons",
        "datasets/notes",
        "experiments/exp_001",
        "experiments/exp_003",
        ".models/state.db",
    ]
    assert "backups" in places[-1]
    assert "its provider holds file-7: remove them there" in left[3].what


def test_lines_are_blanked_while_another_process_appends_to_them(project: Project) -> None:
    recorder = Recorder(project)  # has the segment open until the end, so that it stays
    for number in range(3):
        recorder.record(sample(ORG, number))
        recorder.record(sample(OTHER, number))
    assert forget_organisation(project, ORG).samples == 3
    (segment,) = project.traffic_segments
    assert b"marigold" not in segment.read_bytes()
    recorder.record(sample(OTHER, 3))
    recorder.close()
    assert len(list(read_samples(project))) == 4
    assert fold(project).skipped_ever == 0


@pytest.mark.parametrize("org", ["marigol", "marigold2", "mari_old", "marigold-tone"])
def test_a_name_that_is_only_like_it_removes_nothing(filled: Project, org: str) -> None:
    assert forget_organisation(filled, org, adapters=True).is_empty
    assert holdings(filled, ORG) == (6, 3, 3, 3)
    assert list_adapters(filled) == ["edelweiss-tone", "marigold-tone"]


@pytest.mark.parametrize("org", ["", "..", "a/b", "Marigold", "%"])
def test_what_is_no_name_is_refused(project: Project, org: str) -> None:
    with pytest.raises(InvalidInput, match="organisation name"):
        forget_organisation(project, org)


def test_a_project_that_never_answered_has_nothing_to_forget(project: Project) -> None:
    assert forget_organisation(project, ORG, adapters=True).is_empty
    assert not project.answer_cache.exists()
    assert not project.recorded_prompts.exists()


def test_an_adapter_of_two_organisations_is_of_neither(filled: Project) -> None:
    (manifest,) = filled.adapter_version("marigold-tone", 1).glob("MANIFEST.json")
    assert adapters_of(filled, ORG) == {"marigold-tone": (1, 2)}
    written = json.loads(manifest.read_text())
    manifest.chmod(0o644)
    manifest.write_text(json.dumps({**written, "org": OTHER}))
    assert "marigold-tone" not in {**adapters_of(filled, ORG), **adapters_of(filled, OTHER)}


def test_while_its_feedback_becomes_a_dataset_the_command_says_who_works_with_it(
    filled: Project,
) -> None:
    lock = filled.lock("feedback-of", ORG)
    with exclusive_lock(lock, what="feedback"), pytest.raises(LockHeld, match="in use"):
        forget_organisation(filled, ORG)
    assert forget_organisation(filled, ORG).feedback == 3


def restore(project: Project, start: Path) -> None:
    shutil.rmtree(project.root)
    shutil.copytree(start, project.root, symlinks=True)


def test_killed_at_any_call_the_same_command_completes_it(filled: Project, start: Path) -> None:
    def forget() -> None:
        forget_organisation(filled, ORG, adapters=True)

    for call in interruptions(forget, "kill", most=3000):
        assert holdings(filled, OTHER) == (6, 3, 3, 3), call
        forget()
        left = texts_of(filled)
        assert b"Marigold words" not in left, call
        assert b'"organisation":"marigold"' not in left, call
        assert holdings(filled, ORG) == (0, 0, 0, 0), call
        assert list_adapters(filled) == ["edelweiss-tone"], call
        assert not list(filled.versions.rglob(".staging-*")), call
        assert holdings(filled, OTHER) == (6, 3, 3, 3), call
        restore(filled, start)
