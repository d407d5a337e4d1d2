"""`models report EXPERIMENT`: the figures of a run, and its page made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_runs import run_here

from html_pages import Page
from modelyard.core.layout import Project


def section(html: str, heading: str) -> str:
    return next(t for t in Page(html).texts["section"] if t.strip().startswith(heading))


def test_a_missing_page_is_made_again_from_what_the_run_left(finished: Project) -> None:
    page = finished.experiment("flowers") / "report.html"
    before = page.read_text()
    page.unlink()
    ended = run_here("report", "flowers")
    assert ended.returncode == 0
    assert "perplexity" in ended.stdout
    again = page.read_text()
    assert Page(again).headline() == Page(before).headline()
    for heading in ("Evaluation", "Training", "Answers", "Data", "Spec"):
        if f">{heading}</h2>" in before:
            assert section(again, heading) == section(before, heading)


def test_a_page_that_is_there_is_given_as_it_is(finished: Project, tmp_path: Path) -> None:
    page = finished.experiment("flowers") / "report.html"
    copy = tmp_path / "copy.html"
    before = page.read_bytes()
    assert run_here("report", "flowers", "--html", str(copy)).returncode == 0
    assert copy.read_bytes() == before == page.read_bytes()


def test_json_names_the_version_and_its_figures(finished: Project) -> None:
    printed = json.loads(run_here("report", "flowers", "--json").stdout)
    assert (printed["adapter"], printed["version"]) == ("flowers", 1)
    assert printed["report"] == "experiments/flowers/report.html"
    assert printed["evaluation"]["rows"] == 6


@pytest.mark.parametrize(
    ("damage", "said", "code"),
    [
        ("no record", "its run is not finished", 5),
        ("no folder", "there is no experiment 'flowers'", 2),
        ("half a data report", "data_report.json: the data report of this run is damaged", 1),
        ("no version", "MANIFEST.json: is missing", 1),
        ("hosted", "a provider trained this adapter", 5),
    ],
)
def test_what_cannot_be_reported_is_an_error_with_its_place(
    finished: Project, damage: str, said: str, code: int
) -> None:
    folder = finished.experiment("flowers")
    (folder / "report.html").unlink()
    match damage:
        case "no record":
            (folder / "run.json").unlink()
        case "no folder":
            folder.rename(folder.with_name("other"))
        case "half a data report":
            (folder / "data_report.json").write_text('{"dataset": "flowers"')
        case "no version":
            finished.adapter_version("flowers", 1).rename(finished.root / "gone")
        case "hosted":
            (folder / "hosted.json").write_text("{}")
    ended = run_here("report", "flowers")
    assert ended.returncode == code
    assert said in ended.stderr
