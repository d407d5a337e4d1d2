"""`models prepare-data` as a person and as a program see it."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.chatdata.dataset import load_dataset
from modelyard.core.layout import Project

Models = Callable[..., int]


@pytest.fixture
def tickets(project: Project) -> Path:
    path = project.root / "tickets.csv"
    teams = ("hardware", "accounts", "phones")
    lines = [f"Ticket {n},It does not work,{teams[n % 3]}\n" for n in range(60)]
    path.write_text("subject,body,team\n" + "".join(lines))
    return path


ASKED = ("--prompt", r"{subject}\n{body}", "--label", "team", "--out", "datasets/tickets")


def test_a_table_becomes_a_dataset_and_the_next_command_is_named(
    project: Project, models: Models, tickets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("prepare-data", str(tickets), *ASKED) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("datasets/tickets: holds ")
    assert printed.out.endswith("next: models fine-tune --dataset tickets\n")
    assert "read tickets.csv" in printed.err
    row = load_dataset(project, "tickets").train[0]
    assert row.first_question == "Ticket 0\nIt does not work"
    assert row.fields == {"label": "hardware"}

    assert models("prepare-data", str(tickets), *ASKED) == 0
    assert capsys.readouterr().out.startswith("datasets/tickets: unchanged (")


def test_a_dry_run_says_what_would_be_written(
    project: Project, models: Models, tickets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models("prepare-data", str(tickets), *ASKED, "--dry-run") == 0
    assert capsys.readouterr().out.startswith("datasets/tickets: would hold ")
    assert not project.datasets.exists()


def test_json_has_the_documented_shape(
    models: Models, tickets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tickets.open("a") as stream:
        for number in range(20):
            for opening in ("I", "Well I"):
                complaint = f"{opening} dropped my brand new phone number {number} in deep water"
                stream.write(f"{complaint},again,phones\n")
    assert models("prepare-data", str(tickets), *ASKED, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert set(value["near_duplicates"][0]) == {"source", "other", "similarity"}
    assert value["train_rows"] + value["evaluation_rows"] == 100
    Path("bad.jsonl").write_text('{"prompt": "a?", "completion": "b"}\n{}\n')
    words = ("prepare-data", "bad.jsonl", "--out", "bad", "--skip-bad-rows", "--json")
    assert models(*words) == 0
    (bad_row,) = json.loads(capsys.readouterr().out)["bad_rows"]
    assert set(bad_row) == {"message", "where", "hint"}


def test_what_was_found_is_warned_of(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f'{{"prompt": "Mail {n}@example.org?", "completion": "Yes."}}' for n in range(8)]
    (project.root / "rows.jsonl").write_text("\n".join([*rows, rows[0], "oops"]))
    words = ("prepare-data", "rows.jsonl", "--out", "mails", "--skip-bad-rows")
    assert models(*words) == 0
    printed = capsys.readouterr()
    assert "left out, equal to an earlier row  1" in printed.out
    assert (
        "8 places with what looks like a secret or an e-mail address:\n  rows.jsonl:1"
        in printed.err
    )
    assert "rows.jsonl:10: is not JSON" in printed.err


def test_what_data_says_is_not_obeyed_by_the_terminal(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"\x1b[2Jquestion": "a", "\x9banswer": "b"}
    (project.root / "rows.jsonl").write_text(json.dumps(row))
    assert models("prepare-data", "rows.jsonl", "--out", "rows") == 2
    printed = capsys.readouterr().err
    assert "its keys are \\x1b[2Jquestion, \\x9banswer" in printed
    assert "\x1b[2J" not in printed and "\x9b" not in printed


def test_equal_problems_are_one_line_and_others_are_listed_forty_at_a_time(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "rows.jsonl").write_text("oops\n" * 1000)
    assert models("prepare-data", "rows.jsonl", "--out", "rows") == 2
    printed = capsys.readouterr().err
    assert "1,000 problems in the sources; nothing was written" in printed
    assert printed.count("is not JSON") == 1
    assert "(1,000 places: rows.jsonl:1, rows.jsonl:2, rows.jsonl:3, ...)" in printed
    different = [json.dumps({f"k{number}": 1}) for number in range(100)]
    (project.root / "rows.jsonl").write_text("\n".join(different))
    assert models("prepare-data", "rows.jsonl", "--out", "rows") == 2
    printed = capsys.readouterr().err
    assert "its keys are k39\n" in printed and "its keys are k40\n" not in printed
    assert "... and 60 more" in printed
    assert not project.datasets.exists()


def test_a_table_with_well_known_columns_is_told_the_command(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.dumps({"question": f"What is {n}?", "answer": f"{n}."}) for n in range(40)]
    (project.root / "rows.jsonl").write_text("\n".join(rows))
    assert models("prepare-data", "rows.jsonl", "--out", "rows") == 2
    printed = capsys.readouterr().err
    told = "models prepare-data rows.jsonl --prompt '{question}' --answer '{answer}' --out NAME"
    assert printed.count(told) == 1
    assert models(*shlex.split(told.removeprefix("models ").replace("NAME", "rows"))) == 0
    assert len(load_dataset(project, "rows").train) < 40


def test_rows_come_through_a_pipe(
    project: Project,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = "".join(f'{{"prompt": "What is {n}?", "completion": "{n}."}}\n' for n in range(40))
    for said in ("holds", "unchanged"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.encode())))
        assert models("prepare-data", "-", "--out", "piped") == 0
        assert f"datasets/piped: {said}" in capsys.readouterr().out
    assert load_dataset(project, "piped").train[0].source == "datasets/piped/train.jsonl:1"


FINDINGS = [
    {"prompt": f"Write to m{n}@example.org about {{{{order}}}}?", "completion": " Yes.", "id": n}
    for n in range(20)
]


def test_the_second_run_tells_what_the_first_one_told(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(row) for row in [*FINDINGS, FINDINGS[0]]]
    (project.root / "rows.jsonl").write_text("\n".join([*lines, '{"prompt": ["a", "b"]}']))
    words = ("prepare-data", "rows.jsonl", "--out", "rows", "--skip-bad-rows")
    told = []
    for _ in range(2):
        assert models(*words) == 0
        printed = capsys.readouterr()
        told.append([line for line in printed.err.splitlines() if "read rows" not in line])
        assert "left out, equal to an earlier row  1" in printed.out
        assert "left out, not valid                1" in printed.out
        assert "rows read                          22" in printed.out
    assert told[0] == told[1]
    said = "\n".join(told[0])
    assert "20 places with what looks like a secret or an e-mail address" in said
    assert "kept and not learned: key `id`, in 20 rows" in said
    assert "20 rows with placeholders that were not filled in" in said
    assert "20 rows with whitespace around a text, which is learned as it is" in said
    values = []
    for _ in range(2):
        assert models(*words, "--json") == 0
        values.append(json.loads(capsys.readouterr().out))
    assert values[0] == values[1] and values[0]["unchanged"]
    assert len(values[0]["flagged"]) == 20


def test_a_share_that_chance_cuts_down_is_told_one_that_keeps_enough(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = (1, 7, 8, 10, 14, 22, 31, 34, 42, 49, 54, 57)  # the place of one alone is below 0.25
    rows = [json.dumps({"prompt": f"Colour {n}?", "completion": "Red."}) for n in colours]
    (project.root / "rows.jsonl").write_text("\n".join(rows))
    words = ("prepare-data", "rows.jsonl", "--out", "rows", "--eval-share")
    assert models(*words, "0.25") == 0
    said = "few evaluation rows: --eval-share 0.25 of 12 rows takes 1; --eval-share"
    printed = " ".join(capsys.readouterr().err.split())
    found = re.search(rf"{said} (0\.\d+) would keep (\d) for evaluation", printed)
    assert found and int(found[2]) >= 3
    assert models(*words, found[1]) == 0
    assert f"{found[2]} evaluation rows\n" in capsys.readouterr().out


def test_a_dataset_that_is_too_small_for_its_share_is_told_one_that_fits(
    project: Project, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.dumps({"prompt": f"Colour {n}?", "completion": "Red."}) for n in (1, 2, 5, 7)]
    (project.root / "rows.jsonl").write_text("\n".join(rows))
    assert models("prepare-data", "rows.jsonl", "--out", "rows") == 0
    printed = capsys.readouterr().err
    found = re.search(
        r"--eval-share 0.1 of 4 rows takes none; --eval-share (0\.\d+) would", printed
    )
    assert found
    assert models("prepare-data", "rows.jsonl", "--out", "rows", "--eval-share", found[1]) == 0
    assert "1 evaluation row\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gone.csv", "--out", "a"), "there is no such file"),
        (("/dev/null", "--out", "a"), "/dev/null: is a device"),
        (("tickets.csv", "--out", "../a b"), "not a valid dataset name"),
        (("tickets.csv", "--out", "a", "--eval-share", "5"), "between 0 and 1"),
        (("tickets.csv", "--out", "a", "--label", "team"), "need --prompt"),
        (("tickets.csv", "--out", "a", "--prompt", "{body}"), "exactly one"),
        (("tickets.csv", "--out", "a", "--prompt", "{bdy}", "--label", "team"), "mean 'body'"),
        (("tickets.csv", "--out", "a"), "is in no accepted format; its keys are subject"),
        (("tickets.csv",), "--out"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    models: Models,
    tickets: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    assert models("prepare-data", *words) == 2
    assert said in capsys.readouterr().err
