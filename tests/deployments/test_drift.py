"""What was changed by hand where nothing should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from deploy_samples import (
    deploy_config,
    edit,
    require_agreement,
    switch_config,
    write_deploy_project,
)
from modelyard.core.layout import Project
from modelyard.core.state import open_state
from modelyard.deployments.drift import DriftedFile, find_drift
from modelyard.deployments.effective import load_effective
from modelyard.deployments.revisions import NotDeployed

FOLDER = ".models/deployed/test"


@pytest.fixture
def place(tmp_path: Path) -> Project:
    project = write_deploy_project(tmp_path / "project")
    deploy_config(project, environment="test", every_config=True)
    switch_config(project, profile="high_accuracy", environment="test")
    return project


def found(place: Project) -> list[tuple[str, str]]:
    return [(file.what, file.path) for file in drift(place)]


def drift(place: Project) -> tuple[DriftedFile, ...]:
    return find_drift(place, "test").files


def test_nothing_is_found_where_nothing_was_touched(place: Project) -> None:
    assert drift(place) == ()


def test_a_changed_setting_is_told_and_changes_no_answer(place: Project) -> None:
    file = place.deployed("test") / "language_models" / "gpt4.yaml"
    file.write_text(file.read_text().replace("timeout: 60 seconds", "timeout: 1 second"))
    (changed,) = drift(place)
    assert (changed.what, changed.path) == ("changed", f"{FOLDER}/language_models/gpt4.yaml")
    assert [(setting.key, setting.before, setting.after) for setting in changed.settings] == [
        ("timeout", "60 seconds", "1 second")
    ]
    model = load_effective("test", None, project=place).model.settings
    assert model.timeout_s == 60.0


def test_files_with_the_comments_of_an_earlier_modelyard_can_be_repaired(place: Project) -> None:
    file = place.deployed("test") / "language_models" / "gpt4.yaml"
    earlier = file.read_text().replace("# Written by", "# Put here by")
    file.write_text(earlier)
    with open_state(place) as state:
        recorded = json.loads(state.execute("SELECT files FROM config_revisions").fetchall()[-1][0])
        recorded["language_models/gpt4.yaml"] = hashlib.sha256(earlier.encode()).hexdigest()
        state.execute("UPDATE config_revisions SET files = ?", (json.dumps(recorded),))
    assert drift(place) == ()
    file.write_text("nothing")
    assert found(place) == [("changed", f"{FOLDER}/language_models/gpt4.yaml")]
    deploy_config(place, environment="test", every_config=True)
    assert drift(place) == ()


def test_a_changed_comment_and_a_broken_file_are_found_too(place: Project) -> None:
    folder = place.deployed("test")
    with (folder / "integration.yaml").open("a") as stream:
        stream.write("# by hand\n")
    (folder / "language_models" / "claude.yaml").write_bytes(b"\xff{")
    assert found(place) == [
        ("changed", f"{FOLDER}/integration.yaml"),
        ("changed", f"{FOLDER}/language_models/claude.yaml"),
    ]


def test_a_changed_choice_of_a_profile_is_told(place: Project) -> None:
    file = place.deployed("test") / "profiles.yaml"
    file.write_text("code_analysis: balanced\n")
    (changed,) = drift(place)
    assert ("code_analysis", "high_accuracy", "balanced") in [
        (setting.key, setting.before, setting.after) for setting in changed.settings
    ]


def test_missing_and_extra_files_are_found(place: Project) -> None:
    folder = place.deployed("test")
    (folder / "profiles.yaml").unlink()
    (folder / "language_models" / "mine.yaml").write_text("x: 1\n")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "integration.yaml").unlink()
    (folder / "integration.yaml").mkdir()
    assert found(place) == [
        ("unreadable", f"{FOLDER}/integration.yaml"),
        ("missing", f"{FOLDER}/profiles.yaml"),
        ("extra", f"{FOLDER}/language_models/mine.yaml"),
        ("extra", f"{FOLDER}/link"),
    ]


def test_a_file_that_became_a_link_is_changed(place: Project) -> None:
    file = place.deployed("test") / "integration.yaml"
    other = place.root / "elsewhere.yaml"
    other.write_text(file.read_text())
    file.unlink()
    file.symlink_to(other)
    assert found(place) == [("changed", f"{FOLDER}/integration.yaml")]


@pytest.mark.parametrize("how", ["gone", "elsewhere", "a folder", "nothing left"])
def test_a_link_that_does_not_lead_to_the_revision_is_found(place: Project, how: str) -> None:
    link = place.deployed("test")
    target = link.resolve()
    link.unlink()
    if how == "elsewhere":
        link.symlink_to(".revisions/test-1")
    elif how == "a folder":
        target.rename(link)
    elif how == "nothing left":
        for path in sorted(target.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        target.rmdir()
    assert found(place)[0] == ("link", FOLDER)
    assert (len(found(place)) > 1) == (how == "nothing left")


def test_the_next_deployment_mends_what_was_changed(place: Project) -> None:
    folder = place.deployed("test")
    (folder / "profiles.yaml").unlink()
    (folder / "extra.yaml").write_text("x: 1\n")
    edit(place, "language_models/gpt4_config", "60 seconds", "61 seconds")
    deploy_config(place, ["gpt4"], environment="test")
    require_agreement(place)
    os.unlink(place.deployed("test"))  # noqa: PTH108
    edit(place, "language_models/gpt4_config", "61 seconds", "62 seconds")
    deploy_config(place, ["gpt4"], environment="test")
    require_agreement(place)


def test_deploying_what_is_live_already_mends_what_was_changed(place: Project) -> None:
    folder = place.deployed("test")
    outside = place.root / "outside"
    (folder / "language_models").rename(outside)
    before = {path.name: path.read_text() for path in outside.iterdir()}
    (folder / "language_models").symlink_to(outside)
    (outside / "gpt4.yaml").write_text("changed: here\n")
    (folder / "profiles.yaml").unlink()
    (folder / "integration.yaml").unlink()
    (folder / "integration.yaml").mkdir()
    (folder / "extra.yaml").write_text("x: 1\n")
    done = deploy_config(place, ["gpt4"], environment="test")
    assert done.revision is None
    assert {(f"{FOLDER}/extra.yaml", "extra"), (f"{FOLDER}/profiles.yaml", "missing")} < {
        (file.path, file.what) for file in done.repaired
    }
    assert {file.path for file in done.repaired} >= {
        f"{FOLDER}/{name}" for name in ("integration.yaml", "language_models")
    }
    require_agreement(place)
    assert (outside / "gpt4.yaml").read_text() == "changed: here\n"
    restored = {path.name: path.read_text() for path in (folder / "language_models").iterdir()}
    assert restored == before
    assert deploy_config(place, ["gpt4"], environment="test").repaired == ()


@pytest.mark.parametrize("how", ["gone", "elsewhere", "nothing left"])
def test_a_link_that_leads_elsewhere_is_mended_too(place: Project, how: str) -> None:
    link = place.deployed("test")
    if how != "gone":
        shutil.rmtree(link.resolve())
    if how != "nothing left":
        link.unlink()
    if how == "elsewhere":
        link.symlink_to("/etc")
        assert {what for what, _ in found(place)} == {"link", "missing"}
    repaired = deploy_config(place, ["gpt4"], environment="test").repaired
    assert FOLDER in {file.path for file in repaired}
    require_agreement(place)


def test_nothing_deployed_is_said(place: Project) -> None:
    with pytest.raises(NotDeployed, match="nothing is deployed to production"):
        find_drift(place, "production")
