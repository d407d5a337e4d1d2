"""`models feedback` and `prepare-data --from-feedback` as a person and as a program see them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.chatdata.feedback import list_feedback as recorded
from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.records.sample import Sample
from modelyard.records.spool import Recorder

Models = Callable[..., int]
ONE = ("--prompt", "Who leads sales?", "--answer", "Ann.")


def test_from_an_answer_to_a_dataset_that_learns_its_correction(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    corrected = (*ONE, "--correction", "Bob.", "--org", "acme", "--adapter", "sales@3")
    assert models("feedback", "add", *corrected) == 0
    assert capsys.readouterr().out == "recorded 1 row (id 1), a training row\n"
    assert models("feedback", "list") == 0
    listed = capsys.readouterr().out
    assert "correction" in listed and "sales@3" in listed and "Who leads sales?" in listed
    assert listed.endswith("1 in all, 1 training row that no dataset has used\n")

    prepare = ("prepare-data", "--from-feedback", "--org", "acme", "--out", "datasets/sales")
    assert models(*prepare) == 0
    printed = capsys.readouterr().out
    assert "feedback     1 row, id 1; 1 used for the first time" in printed
    assert printed.endswith("next: models fine-tune --from sales --dataset sales\n")
    assert models(*prepare) == 0
    assert "datasets/sales: unchanged, no new feedback (1 training row" in capsys.readouterr().out
    assert models("feedback", "list", "--unused", "--org", "acme") == 0
    assert "There is no unused feedback of organisation acme" in capsys.readouterr().out


def test_the_same_feedback_again_changes_nothing_and_says_so(
    models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("feedback", "add", *ONE, "--rating", "bad") == 0
    assert "kept, and no training row" in capsys.readouterr().out
    assert models("feedback", "add", *ONE, "--rating", "bad") == 0
    assert capsys.readouterr().out == "unchanged: this was recorded before\n"


def test_an_adapter_is_the_same_with_and_without_its_kind(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sales@3", "adapter:sales@3", "adapter:sales", "sales"):
        assert models("feedback", "add", *ONE, "--adapter", name) == 0
    assert [row.adapter for row in recorded(project)] == ["sales@3", "sales"]
    with open_state(project) as state:  # as the version before stored it
        state.execute("UPDATE feedback SET adapter = 'adapter:' || adapter")
    capsys.readouterr()
    assert models("feedback", "add", *ONE, "--adapter", "sales@3") == 0
    assert capsys.readouterr().out == "unchanged: this was recorded before\n"


def test_a_file_is_recorded_as_a_whole_or_not_at_all(
    project: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [json.dumps({"prompt": f"{n}?", "answer": "x", "rating": "good"}) for n in range(3)]
    Path("rows.jsonl").write_text("\n".join([*lines, '{"prompt": "y"}', "oops"]))
    assert models("feedback", "add", "--file", "rows.jsonl") == 2
    said = capsys.readouterr().err
    assert "the file is not valid; nothing was recorded" in said
    assert "rows.jsonl:4: 'answer' is required" in said and "rows.jsonl:5: is not JSON" in said
    assert recorded(project) == ()
    Path("rows.jsonl").write_text("\n".join([*lines, lines[0]]))
    assert models("feedback", "add", "--file", "rows.jsonl", "--dry-run") == 0
    assert capsys.readouterr().out.startswith("would record 3 rows, 3 of them training rows")
    assert recorded(project) == ()
    piped = io.TextIOWrapper(io.BytesIO(Path("rows.jsonl").read_bytes()))
    monkeypatch.setattr("sys.stdin", piped)
    assert models("feedback", "add", "--file", "-", "--dry-run") == 0
    assert capsys.readouterr().out.startswith("would record 3 rows, 3 of them training rows")
    assert models("feedback", "add", "--file", "rows.jsonl") == 0
    said = capsys.readouterr().out
    assert said.startswith("recorded 3 rows (id 1 to 3), 3 of them training rows")
    assert "left out, recorded before: 1" in said


def test_one_text_may_come_from_stdin(
    project: Project, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Two\nlines.\n"))
    assert models("feedback", "add", "--prompt", "How?", "--answer", "-") == 0
    assert recorded(project)[0].answer == "Two\nlines."


def test_json_has_the_documented_shapes(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    def answer_of(*words: str) -> dict[str, object]:
        assert models(*words, "--json") == 0
        value = json.loads(capsys.readouterr().out)
        return value[0] if isinstance(value, list) else value

    added = answer_of("feedback", "add", *ONE, "--rating", "good")
    listed = answer_of("feedback", "list")
    prepared = answer_of("prepare-data", "--from-feedback", "--out", "sales")
    assert (added["ids"], listed["lesson"], listed["used_in"]) == ([1], "Ann.", None)
    assert prepared["feedback"] == {
        "rows": 1,
        "new_rows": 1,
        "first_id": 1,
        "last_id": 1,
        "adapter": None,
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("feedback", "add"), 2, "'prompt' is required"),
        (("feedback", "add", *ONE, "--rating", "god"), 2, "--rating: 'rating' must be one of"),
        (("feedback", "add", *ONE, "--org", "../x"), 2, "--org: 'org' '../x' is not a valid"),
        (("feedback", "add", *ONE, "--correction", "\x1b"), 2, "control character \\x1b"),
        (("feedback", "add", "--prompt", "-", "--answer", "-"), 2, "stdin holds one text"),
        (("feedback", "add", *ONE, "--file", "x"), 2, "--prompt and --answer cannot be given"),
        (("feedback", "add", "--file", "gone.jsonl"), 2, "gone.jsonl: there is no such file"),
        (("feedback", "list", "--org", "A b"), 2, "not a valid organisation name"),
        (("prepare-data", "--from-feedback", "--out", "x"), 5, "there is no unused feedback"),
        (("prepare-data", "--out", "x"), 2, "nothing was named to prepare"),
        (("prepare-data", "a.csv", "--from-feedback", "--out", "x"), 2, "not from both"),
    ],
)
def test_what_cannot_be_done_says_why(
    project: Project,
    models: Models,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert models(*words) == code
    assert said in capsys.readouterr().err
    assert not project.datasets.exists() and recorded(project) == ()


def test_an_answer_is_rated_by_its_id_without_a_text(
    models: Models, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder, answer_id = Recorder(project), "0a1b2c3d4e5f6071"
    recorder.record(
        Sample(
            answer_id=answer_id,
            organisation="acme",
            model="sales@3",
            answered_at_ms=1,
            latency_s=0.1,
            outcome="answered",
        )
    )
    recorder.close()
    rate = ("feedback", "add", "--answer-id", answer_id, "--rating", "good")
    assert models(*rate) == 0
    assert "recorded 1 row (id 1), kept, and no training row: it has no prompt" in (
        capsys.readouterr().out
    )
    assert models(*rate) == 0
    assert "unchanged: this was recorded before" in capsys.readouterr().out
    assert models("feedback", "list") == 0
    assert f"answer {answer_id}" in capsys.readouterr().out
    assert models("feedback", "list", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["answer_id"], listed["prompt"], listed["org"]) == (answer_id, None, "acme")
    assert models("feedback", "add", "--answer-id", answer_id, "--correction", "Bob.") == 2
    assert "--prompt" in capsys.readouterr().err
    assert models("feedback", "add", "--answer-id", "../x", "--rating", "good") == 2
    assert "--answer-id: 'answer_id' is no id of an answer" in capsys.readouterr().err
    assert len(recorded(project)) == 1
