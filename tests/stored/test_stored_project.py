"""A project that an older version wrote is read and used by this one, each kind of file of it.

The archive is what the version of November 2026 left on a disk, and is never made again; how it
came to be says make_stored_project.py. It is unpacked elsewhere than it was made, with other times
of change of its folders, as a project that was moved or restored from a backup.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.training_info import card_front, load_training_info
from modelyard.adapters.versions import resolve_version
from modelyard.core.layout import Project
from modelyard.settings.cards import render_card
from modelyard.training.experiment import RunFolder, load_run
from small_disk import mounted_disk, remount

ARCHIVE = Path(__file__).with_name("project-2026-11.tar.xz")
DOMAINS = ["texts/handbook", "texts/code", "texts/logs"]
FINISHED = {"flowers": "flowers@1", "flowers-corrected": "flowers@2"}
PREPARED = {
    "flowers": (
        *("sources/flowers.jsonl", "--eval-share", "0.2"),
        *("--org", "garden", "--license", "CC0-1.0"),
    ),
    "corrections": ("--from-feedback", "--org", "garden", "--eval-share", "0.25"),
}

QUICK = ("--config", "configs/fine_tuning/quick.yaml")

Models = Callable[..., int]
Result = Callable[..., Any]


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies in the archive; each test works on a copy."""
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(ARCHIVE) as archive:
        # Python 3.11.2 has no filters; where they are, one must be named.
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)
        archive.extractall(folder)
    return folder / "project"


@pytest.fixture
def project(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stored project; the current folder is inside it."""
    root = tmp_path / "somewhere" / "else"
    shutil.copytree(unpacked, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def result(models_here: Models, capsys: pytest.CaptureFixture[str]) -> Result:
    """Run `models ... --json`, which must end well (or with `code`), and read what it printed."""

    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        ended = models_here(*words, "--json")
        printed = capsys.readouterr()
        assert ended == code, printed.err
        return json.loads(printed.out)

    return run


def files_below(folder: Path) -> dict[str, bytes]:
    """The content of every file in a folder, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def moves(result: Result) -> list[tuple[str, int | None, int]]:
    """What became of the adapter, oldest first."""
    found = result("adapters", "history", "flowers")
    return [(one["action"], one["from_version"], one["to_version"]) for one in found]


MOVED = [("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1), ("promote", 1, 2)]


# Adapters: versions, links, history, pins


def test_the_adapter_is_listed_with_both_versions(project: Path, result: Result) -> None:
    found = result("adapters", "list")
    (flowers,) = found["adapters"]
    assert (flowers["name"], flowers["org"], flowers["in_use"]) == ("flowers", "garden", 2)
    assert flowers["problem"] is None
    first, second = flowers["versions"]
    assert (first["number"], first["pinned"], first["parent"]) == (1, True, None)
    assert (second["number"], second["pinned"], second["parent"]) == (2, False, "flowers@1")
    assert second["data"]["name"] == "corrections"
    assert second["evaluation"]["tuned"]["loss"] < second["evaluation"]["base"]["loss"]
    assert found["bases"]["tiny"]["measured"]
    assert result("adapters", "list", "--org", "nobody")["adapters"] == []


def test_records_are_written_as_they_were(project: Path) -> None:
    """What is read of a run or a version and written again has the same bytes."""

    def as_json(values: Any) -> str:
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    here = Project(project)
    for name in FINISHED:
        folder = here.experiment(name)
        run = load_run(RunFolder(folder))
        assert run is not None
        assert as_json(run.record.to_mapping()) == (folder / "run.json").read_text()
        evaluation = run.load_evaluation()
        assert evaluation is not None
        assert as_json(evaluation.to_mapping()) == (folder / "validation.json").read_text()
        version = resolve_version(here, FINISHED[name])
        manifest = (version.path / "MANIFEST.json").read_text()
        assert as_json(version.manifest.to_mapping()) == manifest
        text = (version.path / "TRAINING_INFO.md").read_text()
        info = load_training_info(version.path)
        assert info.evaluation is not None
        assert info.evaluation.figures_mapping() == evaluation.figures_mapping()
        front = card_front(version.manifest, info, spec=run.record.identity.spec)
        assert text.startswith(render_card(front, "").removesuffix("\n"))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("validation.json", '"mean":', '"average":', "'difference.mean' is required"),
        ("validation.json", '"rows":', '"rows"', "is not JSON: Expecting"),
        ("validation.json", '"tuned_right": 0', '"tuned_right": null', "must be a whole number"),
        ("run.json", '"device": "cpu"', '"device": 1', "'choices.device' must be text, not 1"),
        ("run.json", '"run_id"', '"id"', "'run_id' is required"),
    ],
)
def test_a_damaged_record_is_named_with_its_file_and_key(
    project: Path,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    file: str,
    old: str,
    new: str,
    message: str,
) -> None:
    path = project / "experiments" / "flowers" / file
    path.write_text(path.read_text().replace(old, new))
    assert models_here("fine-tune", "--dataset", "flowers", "--org", "garden", *QUICK) == 1
    told = capsys.readouterr().err
    assert "of this run is damaged" in told
    assert f"flowers/{file}" in told
    assert message in told


def test_a_card_with_a_figure_missing_is_damaged_and_not_unevaluated(
    project: Path, models_here: Models, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    card = project / "models" / "versions" / "flowers" / "1" / "TRAINING_INFO.md"
    card.chmod(0o640)
    card.write_text(card.read_text().replace("    loss: ", "    lost: ", 1))
    problem = result("adapters", "show", "flowers@1")["problem"]
    assert "1/TRAINING_INFO.md:" in problem
    assert "'evaluation.base.loss' is required" in problem
    assert models_here("adapters", "show", "flowers@1") == 0
    assert "never evaluated" not in capsys.readouterr().out
    assert models_here("adapters", "diff", "flowers@1", "flowers@2") == 1
    assert "'evaluation.base.loss' is required" in capsys.readouterr().err


def test_a_version_is_shown_with_what_its_files_say(project: Path, result: Result) -> None:
    shown = result("adapters", "show", "flowers")
    assert (shown["name"], shown["in_use"], shown["rows"]) == ("flowers@2", True, 26)
    assert shown["manifest"]["spec"]["lora"]["rank"] == 2
    assert shown["manifest"]["parent"] == "flowers@1"
    assert [one["sequence"] for one in shown["history"]] == [2, 3, 4]
    assert result("adapters", "show", "flowers@1")["pinned"]


def test_every_byte_of_every_version_is_still_right(project: Path, result: Result) -> None:
    checked = result("adapters", "verify", "--all")
    assert [(one["version"], one["ok"]) for one in checked] == [
        ("flowers@1", True),
        ("flowers@2", True),
    ]


def test_a_changed_byte_is_still_found(project: Path, result: Result) -> None:
    card = project / "models" / "versions" / "flowers" / "1" / "TRAINING_INFO.md"
    card.chmod(0o600)
    card.write_text(card.read_text().replace("garden", "Garden"))
    first, second = result("adapters", "verify", "--all", code=1)
    assert (first["ok"], second["ok"]) == (False, True)
    assert "TRAINING_INFO.md" in first["problems"][0]["where"]


def test_a_rollback_goes_on_from_the_stored_history(project: Path, result: Result) -> None:
    assert moves(result) == MOVED
    done = result("adapters", "rollback", "flowers", "--reason", "again")
    assert (done["from_version"], done["to_version"], done["sequence"]) == (2, 1, 5)
    assert (project / "models" / "trained" / "flowers").resolve().name == "1"
    assert moves(result) == [*MOVED, ("rollback", 2, 1)]
    forced = ("--force", "--reason", "and forth")
    assert result("adapters", "promote", "flowers@2", *forced)["sequence"] == 6
    assert moves(result)[-1] == ("promote", 1, 2)


def test_a_stored_pin_is_taken_away(project: Path, result: Result) -> None:
    assert not result("adapters", "pin", "flowers@1")["changed"]
    assert result("adapters", "unpin", "flowers@1")["changed"]
    assert not result("adapters", "show", "flowers@1")["pinned"]


def test_nothing_that_was_in_use_is_removed(project: Path, result: Result) -> None:
    (adapter,) = result("adapters", "gc", "--keep", "1")["adapters"]
    assert adapter["removed"] == []
    assert sorted(one["version"] for one in adapter["kept"]) == [1, 2]


def test_two_stored_versions_are_compared(project: Path, result: Result) -> None:
    found = result("adapters", "diff", "flowers@1", "flowers@2")
    assert found["norm"] > 0
    assert {one["name"] for one in found["spec"]} >= {"data.replay_share"}


def test_the_stored_adapter_answers(project: Path, result: Result) -> None:
    asked = ("generate", "What is number 3 called?", "--max-new-tokens", "4", "--compare-base")
    base, adapter = result(*asked, "--adapter", "flowers")["answers"]
    assert (base["model"], adapter["model"]) == ("tiny", "flowers@2")
    assert adapter["answer"].startswith("It")
    assert adapter["answer"] != base["answer"]


def test_the_stored_adapter_is_measured_as_it_was(project: Path, result: Result) -> None:
    measured = result("evaluate", "--adapter", "flowers@1", "--dataset", "flowers")
    kept = json.loads((project / "experiments" / "flowers" / "validation.json").read_text())
    assert measured["fingerprint"] == kept["fingerprint"]
    assert measured["tuned"]["loss"] == pytest.approx(kept["tuned"]["loss"], rel=1e-3)


@pytest.mark.parametrize("form", ["peft", "merged", "gguf-lora"])
def test_a_stored_version_is_exported(
    project: Path, result: Result, tmp_path: Path, form: str
) -> None:
    where = str(tmp_path / "out")
    assert result("adapters", "export", "flowers@1", "--to", where, "--format", form)["files"]


# The registry


def test_versions_come_from_the_stored_registry(
    project: Path,
    tmp_path: Path,
    models_here: Models,
    result: Result,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = (project / "registry").as_uri()
    other = tmp_path / "other"
    assert models_here("init", str(other)) == 0
    monkeypatch.chdir(other)
    pulled = result("adapters", "pull", "flowers", registry)  # the one that was in use
    assert (pulled["version"], pulled["org"], pulled["changed"]) == (2, "garden", True)
    assert result("adapters", "pull", "flowers@1", registry)["version"] == 1
    for number in (1, 2):
        place = Path("models") / "versions" / "flowers" / str(number)
        assert files_below(other / place) == files_below(project / place)


def test_the_stored_registry_takes_what_is_pushed(
    project: Path, tmp_path: Path, result: Result
) -> None:
    registry = (project / "registry").as_uri()
    again = result("adapters", "push", "flowers", registry)
    assert (again["version"], again["added"], again["uploaded"]) == (2, False, [])
    result("adapters", "rollback", "flowers")
    assert result("adapters", "push", "flowers", registry)["tags"] == {"in-use": 1}


# Experiments and datasets


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_experiment_is_done_at_once_and_says_so(
    project: Path,
    models_here: Models,
    result: Result,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    again = ("fine-tune", "--config", f"experiments/{name}/spec.yaml")
    before = files_below(project / "experiments"), files_below(project / "models")
    assert models_here(*again, "--offline") == 0
    assert f"{FINISHED[name]} is already trained and registered" in capsys.readouterr().out
    done = result(*again)
    assert (done["version"], done["already_done"]) == (FINISHED[name], True)
    assert done["evaluation"]["rows"] > 0
    assert result(*again, "--dry-run")["would"]["action"] == "nothing"
    assert (files_below(project / "experiments"), files_below(project / "models")) == before


def test_the_command_that_began_an_experiment_still_means_it(
    project: Path, models_here: Models, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ("fine-tune", "--dataset", "flowers", "--org", "garden")
    assert result(*again, *QUICK)["already_done"]
    assert models_here(*again, *QUICK, "--set", "lora.rank=4") != 0
    assert "lora.rank was 2, and is 4 now" in capsys.readouterr().err


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(project: Path, result: Result) -> None:
    again = ("fine-tune", "--config", "experiments/stopped/spec.yaml")
    kept = [path.name for path in (project / "experiments/stopped/checkpoints").iterdir()]
    newest = max(int(name.removeprefix("checkpoint-")) for name in kept)
    planned = result(*again, "--dry-run")
    assert (planned["would"]["action"], planned["would"]["after_step"]) == ("resume", newest)
    done = result(*again)
    assert (done["version"], done["already_done"]) == ("stopped@1", False)
    metrics = (project / "experiments" / "stopped" / "metrics.jsonl").read_text().splitlines()
    steps = [row["step"] for row in map(json.loads, metrics) if "loss" in row]
    assert steps == list(range(1, planned["steps"] + 1))


@pytest.mark.parametrize(("name", "rows"), [("flowers", (28, 12)), ("corrections", (18, 7))])
def test_a_prepared_dataset_is_checked_for_training(
    project: Path, result: Result, name: str, rows: tuple[int, int]
) -> None:
    words = ("--config", "configs/fine_tuning/quick.yaml", "--adapter", "new")
    found = result("fine-tune", "--dataset", name, *words, "--check")
    assert (found["rows"]["train"], found["rows"]["eval"]) == rows
    assert found["tokens"]["trained"] > 0


def test_a_dataset_whose_sources_are_the_same_is_not_made_again(
    project: Path, result: Result
) -> None:
    before = files_below(project / "datasets")
    assert result("prepare-data", *PREPARED["flowers"], "--out", "flowers")["unchanged"]
    assert files_below(project / "datasets") == before


def test_a_stored_version_is_continued(project: Path, result: Result) -> None:
    words = ("--config", "configs/fine_tuning/quick.yaml", "--set", "schedule.max_steps=1")
    parent = ("--from", "flowers@2", "--replay", "0.2", "--experiment", "third")
    done = result(
        *("fine-tune", "--dataset", "flowers", "--adapter", "flowers", "--org", "garden"),
        *words,
        *parent,
    )
    assert done["version"] == "flowers@3"
    shown = result("adapters", "show", "flowers@3")
    assert shown["manifest"]["parent"] == "flowers@2"


# Feedback


def test_feedback_is_listed_with_where_it_was_used(project: Path, result: Result) -> None:
    rows = result("feedback", "list")
    assert [one["id"] for one in rows] == list(range(1, 28))
    assert {one["used_in"] for one in rows[:25]} == {"corrections"}
    assert rows[24]["rating"] == "good"
    unused = result("feedback", "list", "--unused")
    assert [one["prompt"] for one in unused] == ["Which flower is blue?", "Who?"]
    assert [one["correction"] for one in unused] == ["It is an iris.", None]


def test_feedback_that_was_recorded_is_not_recorded_again(project: Path, result: Result) -> None:
    again = result("feedback", "add", "--file", "sources/feedback.jsonl")
    assert (again["added"], again["repeated"]) == (0, 25)


def test_a_dataset_made_of_feedback_takes_what_is_new(project: Path, result: Result) -> None:
    made = result("prepare-data", *PREPARED["corrections"], "--out", "corrections")
    del made["feedback"]["adapter"]
    assert made["feedback"] == {"rows": 26, "new_rows": 1, "first_id": 1, "last_id": 26}
    assert (made["train_rows"], made["evaluation_rows"]) == (19, 7)
    assert [one["id"] for one in result("feedback", "list", "--unused")] == [27]


# Configs, and what is live


def test_the_configs_are_valid(project: Path, models_here: Models) -> None:
    assert models_here("validate-config") == 0
    for environment in ("development", "test", "production"):
        assert models_here("validate-config", "--env", environment) == 0


def test_a_setting_is_explained_from_its_line(project: Path, result: Result) -> None:
    (found,) = result("explain", "timeout", "gpt4", "--env", "production", "--draft")["settings"]
    assert (found["value"], found["parsed"], found["layer"]) == ("30 seconds", 30.0, "production")
    assert found["where"] == "configs/language_models/gpt4_config.yaml:20:5"


def test_a_stored_revision_has_the_lines_of_its_draft_as_long_as_they_say_the_same(
    project: Path, result: Result
) -> None:
    """The version that deployed it kept no lines."""

    def live() -> tuple[str, str, str, int]:
        (found,) = result("explain", "timeout", "gpt4", "--env", "production")["settings"]
        return found["value"], found["layer"], found["where"], found["revision"]

    draft = project / "configs" / "language_models" / "gpt4_config.yaml"
    assert live() == (
        "30 seconds",
        "production",
        "configs/language_models/gpt4_config.yaml:20:5",
        1,
    )
    draft.write_text(draft.read_text().replace("timeout: 30 seconds", "timeout: 31 seconds"))
    assert live() == ("30 seconds", "deployed config", "language_models/gpt4", 1)
    draft.unlink()
    assert live() == ("30 seconds", "deployed config", "language_models/gpt4", 1)
    assert result("config", "show", "gpt4", "--env", "production")["settings"]["timeout"]


def test_every_revision_stands_in_the_history(project: Path, result: Result) -> None:
    found = {
        (one["environment"], one["revision"], one["action"], one["live"], one["reason"])
        for one in result("deployments")
    }
    assert found == {
        ("development", 1, "deploy", False, "first"),
        ("development", 2, "deploy", False, None),
        ("development", 3, "switch", True, "more care"),
        ("test", 1, "deploy", False, None),
        ("test", 2, "switch", False, None),
        ("test", 3, "undo", True, None),
        ("production", 1, "deploy", True, "release 1"),
    }


def test_nothing_drifted_and_what_is_changed_by_hand_is_found(
    project: Path, result: Result
) -> None:
    assert [one["files"] for one in result("deployments", "--drift")] == [[], [], []]
    live = project / ".models" / "deployed" / "production" / "language_models" / "gpt4.yaml"
    live.write_text(live.read_text().replace("30 seconds", "31 seconds"))
    drifted = {one["environment"]: one["files"] for one in result("deployments", "--drift", code=4)}
    (file,) = drifted["production"]
    (setting,) = file["settings"]
    assert (file["what"], setting["key"]) == ("changed", "timeout")
    assert not drifted["test"] and not drifted["development"]


def test_a_switch_is_taken_back_and_made_again(project: Path, result: Result) -> None:
    undone = result("switch-config", "--undo")
    assert (undone["revision"], undone["goes_back_to"]) == (4, 2)
    (profile,) = undone["profiles"]
    assert (profile["domain"], profile["before"]) == ("code_analysis", "high_accuracy")
    words = ("switch-config", "--profile", "high_accuracy", "--domain", "code_analysis")
    assert result(*words)["revision"] == 5
    link = project / ".models" / "deployed" / "development"
    assert link.resolve().name == "development-5"
    assert [one["files"] for one in result("deployments", "--drift")] == [[], [], []]


def test_the_configs_that_are_live_are_still_the_same_as_the_files(
    project: Path, result: Result
) -> None:
    assert not result("deploy-config", "--all", "--env", "test")["changes"]


def test_a_deployment_is_rolled_back_to_a_stored_revision(project: Path, result: Result) -> None:
    done = result("deploy-config", "--rollback", "--to", "2", "--env", "test")
    assert (done["revision"], done["goes_back_to"]) == (4, 2)
    (newest,) = [one for one in result("deployments", "--env", "test") if one["live"]]
    assert (newest["action"], newest["from_revision"]) == ("rollback", 2)
    assert newest["profiles"][0]["domain"] == "code_analysis"


def test_revisions_of_the_history_are_compared(project: Path, result: Result) -> None:
    (profile,) = result("config", "diff", "test@1", "test@2")["profiles"]
    assert (profile["key"], profile["after"]) == ("code_analysis", "high_accuracy")
    found = result("config", "diff", "development@1", "production")
    assert [one["config"] for one in found["configs"]] == ["language_models/gpt4"]


@pytest.mark.parametrize(
    ("command", "environment", "revision"),
    [("deploy", "production", 2), ("switch", "development", 4)],
)
def test_a_stored_plan_is_carried_out(
    project: Path, result: Result, command: str, environment: str, revision: int
) -> None:
    plan = f"plans/{command}.json"
    done = result(f"{command}-config", "--plan-file", plan, "--yes")
    assert (done["environment"], done["revision"]) == (environment, revision)
    (live,) = [one for one in result("deployments", "--env", environment) if one["live"]]
    assert live["revision"] == revision


# Search


def test_the_stored_index_answers_and_nothing_is_made_anew(project: Path, result: Result) -> None:
    before = files_below(project / "models" / "embeddings")
    found = result("search", "roll back an adapter", "--top", "9")
    first = found["results"][0]
    assert (first["domain"], first["path"]) == ("texts/handbook", "docs/handbook.md")
    assert (first["first_line"], first["last_line"], first["state"]) == (5, 7, "same")
    assert first["scores"]["dense"] > 0.9
    assert ["terms of another version" in note for note in found["notes"]] == [True] * 3
    assert {one["domain"] for one in found["results"]} == set(DOMAINS)
    assert files_below(project / "models" / "embeddings") == before


@pytest.mark.parametrize(
    ("query", "domain", "place"),
    [("count_flowers", "code", "tools/count.py"), ("out of memory", "logs", "logs/service.log")],
)
def test_each_kind_of_file_is_found(
    project: Path, result: Result, query: str, domain: str, place: str
) -> None:
    first = result("search", query, "--domain", domain, "--no-rerank")["results"][0]
    assert first["path"] == place
    assert first["facts"]


def test_the_stored_indexes_hold_their_files_and_are_to_be_updated_once(
    project: Path, result: Result
) -> None:
    """Since then Markdown is read as CommonMark, and more secrets are known."""
    found = result("embeddings", "status", "--max-age", "0 s", code=4)["domains"]
    assert [(one["domain"], one["state"]) for one in found] == [
        (name, "outdated") for name in DOMAINS
    ]
    assert {one["reason"] for one in found} == {"other chunking"}
    assert [one["files"] for one in found] == [2, 1, 1]
    assert [len([*one["new"], *one["changed"], *one["gone"]]) for one in found] == [0, 0, 0]
    result("update-embeddings")
    found = result("embeddings", "status", "--max-age", "0 s")["domains"]
    assert [(one["state"], one["files"]) for one in found] == [
        ("current", files) for files in (2, 1, 1)
    ]


def test_an_update_without_changes_embeds_nothing(project: Path, result: Result) -> None:
    for built in ("other chunking", None):
        found = result("update-embeddings")["domains"]
        assert [one["domain"] for one in found] == DOMAINS
        for one in found:
            assert one["unchanged"] == (built is None)
            assert (one["built"], one["embedded"]) == (built, 0)


def test_the_stored_indexes_are_taken_over_by_the_environments_that_have_them(
    project: Path, result: Result
) -> None:
    """They were one file for all environments; their vectors are used, cache or not."""
    (project / ".models" / "embedding-cache.db").unlink()
    stored = [f"models/embeddings/{name}.index" for name in DOMAINS]
    assert result("update-embeddings", "--dry-run")["removed"] == sorted(stored)
    done = result("update-embeddings")
    assert [one["embedded"] for one in done["domains"]] == [0, 0, 0]
    assert done["removed"] == sorted(stored)
    for environment in ("development", "test"):
        found = result("index", "status", "--max-age", "0 s", "--env", environment)["domains"]
        assert [one["environments"] for one in found] == [["development", "test"]] * 3
        assert result("search", "roll back an adapter", "--env", environment)["notes"] == []


def test_files_with_other_times_of_change_are_the_same_files(project: Path, result: Result) -> None:
    for path in (*project.glob("docs/*"), *project.glob("tools/*"), *project.glob("logs/*")):
        os.utime(path)
    found = result("search", "roll back an adapter")
    assert {one["state"] for one in found["results"]} == {"same"}
    assert [one["changed"] for one in result("embeddings", "status")["domains"]] == [[], [], []]
    assert [one["embedded"] for one in result("update-embeddings")["domains"]] == [0, 0, 0]


def test_an_edited_file_embeds_only_what_changed(project: Path, result: Result) -> None:
    handbook = project / "docs" / "handbook.md"
    handbook.write_text(handbook.read_text().replace("is run", "is kept"))
    (found,) = result("update-embeddings", "--domain", "handbook")["domains"]
    assert (found["files"]["added"], found["embedded"]) == (2, 1)


def test_an_index_that_is_gone_is_built_from_the_stored_cache(
    project: Path, result: Result
) -> None:
    for path in (project / "models" / "embeddings").glob("*/*"):
        path.unlink()
    found = result("update-embeddings")["domains"]
    assert [one["embedded"] for one in found] == [0, 0, 0]
    assert [one["from_cache"] for one in found] == [4, 3, 2]


# The base, and the project as a whole


def test_the_base_is_found_by_its_card(project: Path, result: Result) -> None:
    found = result("base", "show", "tiny", "--verify")
    assert found["at_hand"] and found["verified"]
    manifest = json.loads((project / "models/versions/flowers/1/MANIFEST.json").read_text())
    assert found["fingerprint"] == manifest["base"]["fingerprint"]


def test_nothing_follows_a_link_to_where_the_project_was_made(project: Path) -> None:
    links = [path for path in project.rglob("*") if path.is_symlink()]
    assert len(links) == 4
    assert all(not link.readlink().is_absolute() and link.exists() for link in links)


def test_the_project_can_be_named_by_the_old_variable(
    project: Path, tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELS_YARD", str(project))
    assert result("adapters", "list")["adapters"][0]["name"] == "flowers"


def test_the_project_can_be_named_by_the_old_option(project: Path, tmp_path: Path) -> None:
    for words in (("--yard", str(project)), (f"--yard={project}",)):
        command = [sys.executable, "-m", "modelyard", *words, "adapters", "list", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert json.loads(done.stdout)["adapters"][0]["name"] == "flowers"


def test_a_project_on_a_read_only_disk_is_read(
    unpacked: Path, tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted_disk(tmp_path / "disk", "8m") as disk:
        shutil.copytree(unpacked, disk / "project", symlinks=True)
        remount(disk, "ro")
        monkeypatch.chdir(disk / "project")
        assert all(one["ok"] for one in result("adapters", "verify", "--all"))
        assert len(result("deployments")) == 7
        assert result("switch-config", "--undo", "--dry-run")["changes"]
        assert result("search", "roll back an adapter")["results"][0]["state"] == "same"
        assert {one["files"] for one in result("embeddings", "status")["domains"]} == {1, 2}
        again = ("fine-tune", "--config", "experiments/flowers/spec.yaml", "--dry-run")
        assert result(*again)["would"]["action"] == "nothing"
        monkeypatch.chdir(tmp_path)
