"""Pushing to a registry in a folder and pulling from it: what arrives, and what stays as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from registry_samples import (
    SILENT,
    add_version,
    blob_of,
    make_project,
    pull,
    push,
    registry_at,
    whole_versions,
)

from adapter_samples import BETTER
from modelyard.adapters.manifest import Manifest, list_files
from modelyard.adapters.promote import promote_version
from modelyard.adapters.recorded import figures_of, record_figures, recorded_figures
from modelyard.adapters.registry.pull import plan_pull, pull_version
from modelyard.adapters.registry.push import plan_push
from modelyard.adapters.registry.registry import (
    ACTIVE,
    LATEST,
    Registry,
    VersionTaken,
    find_remote_version,
    open_registry,
)
from modelyard.adapters.remove import remove_adapter
from modelyard.adapters.versions import active_number, load_version
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.files import LockHeld, exclusive_lock
from modelyard.core.layout import Project
from modelyard.core.progress import Silent
from modelyard.records.provenance import Origin


def test_a_version_arrives_byte_for_byte_and_read_only(
    here: Project, there: Project, registry: Registry
) -> None:
    version = add_version(here, "run-1")
    assert push(here, version, registry).changed
    assert pull(there, registry, "demo@1")
    arrived = load_version(there, "demo", 1)
    assert arrived.manifest == version.manifest
    assert list_files(arrived.path) == list_files(version.path)
    names = [(path / "MANIFEST.json").read_bytes() for path in (version.path, arrived.path)]
    assert names[0] == names[1]
    assert whole_versions(there) == [1]
    assert arrived.manifest.org == "techcorp"
    assert active_number(there, "demo") is None
    assert not there.incoming("demo").exists()


def test_the_same_again_changes_nothing_and_says_so(
    here: Project, there: Project, registry: Registry, store: Path
) -> None:
    version = add_version(here, "run-1")
    push(here, version, registry)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert not push(here, version, registry).changed
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert pull(there, registry, "demo@1")
    assert not pull(there, registry, "demo@1")
    assert not push(there, load_version(there, "demo", 1), registry).changed


def test_a_file_that_is_there_is_not_sent_again(here: Project, registry: Registry) -> None:
    first = push(here, add_version(here, "run-1"), registry)
    second = push(here, add_version(here, "run-2"), registry)
    assert "tokenizer.json" in first.uploads and "tokenizer.json" not in second.uploads
    assert set(second.uploads) == {"TRAINING_INFO.md", "adapter_model.safetensors"}


def test_latest_is_the_highest_number_whatever_the_order(
    here: Project, there: Project, registry: Registry
) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    assert push(here, second, registry).tags == {LATEST: 2}
    assert push(here, first, registry).tags == {}
    assert registry.tag("demo", LATEST) == 2
    assert find_remote_version(registry, "demo").number == 2
    assert pull(there, registry, "demo") and whole_versions(there) == [2]


def test_a_rollback_can_be_pushed_too(here: Project, registry: Registry) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    assert push(here, second, registry, active=True).tags == {LATEST: 2, ACTIVE: 2}
    assert push(here, first, registry, active=True).tags == {ACTIVE: 1}
    assert find_remote_version(registry, "demo").number == 1
    assert not push(here, second, registry).changed
    assert (registry.tag("demo", ACTIVE), registry.tag("demo", LATEST)) == (1, 2)


def test_a_project_that_pulled_goes_on_counting_after_it(
    here: Project, there: Project, registry: Registry
) -> None:
    add_version(here, "run-1")
    push(here, add_version(here, "run-2"), registry)
    pull(there, registry, "demo@2")
    assert add_version(there, "run-3").number == 3


def test_a_number_that_another_version_has_is_never_overwritten(
    here: Project, there: Project, registry: Registry, store: Path
) -> None:
    mine, theirs = add_version(here, "run-1"), add_version(there, "run-1")
    push(here, mine, registry)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(VersionTaken, match="demo@1 is another version there") as refused:
        push(there, theirs, registry, force=True)
    assert "--name demo-2" in (refused.value.hint or "")
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    with pytest.raises(VersionTaken, match="the project has a different demo@1"):
        pull(there, registry, "demo@1")
    assert load_version(there, "demo", 1).manifest == theirs.manifest


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    here: Project, there: Project, store: Path
) -> None:
    version = add_version(here, "run-1")
    assert open_registry(store.as_uri()) is None
    plan = plan_push(here, None, version, active=True)
    assert len(plan.uploads) == 5 and plan.tags == {LATEST: 1, ACTIVE: 1}
    assert not store.exists()
    registry = registry_at(store)
    assert plan_push(here, registry, version, active=True) == plan
    assert list(store.iterdir()) == []
    done = push(here, version, registry, active=True)
    assert (done.uploads, done.tags, done.added) == (plan.uploads, plan.tags, plan.added)
    there_before = sorted(there.root.rglob("*"))
    planned = plan_pull(there, registry, find_remote_version(registry, "demo"), SILENT)
    assert planned.changed and planned.fetched_bytes == done.version.size_bytes
    assert sorted(there.root.rglob("*")) == there_before


def test_what_is_not_there_is_named_with_what_is(
    here: Project, registry: Registry, store: Path
) -> None:
    with pytest.raises(InvalidInput, match="there is no registry here"):
        find_remote_version(registry, "demo")
    push(here, add_version(here, "run-1"), registry)
    with pytest.raises(InvalidInput, match=r"did you mean 'demo'") as refused:
        find_remote_version(registry, "demmo")
    assert refused.value.hint == "there are: demo"
    with pytest.raises(InvalidInput, match="there is no demo@7") as refused:
        find_remote_version(registry, "demo@7")
    assert refused.value.hint == "there are: demo@1"
    for asked in ("0", "01", "-1", "x", "", "1/../1", "²"):
        with pytest.raises(InvalidInput, match="names no version"):
            find_remote_version(registry, f"demo@{asked}")
    for name in ("..", "../demo", "/demo", "Demo", "a/b", ""):
        with pytest.raises(InvalidInput, match=r"not a valid adapter name|names a base model"):
            find_remote_version(registry, name)


def test_an_adapter_belongs_to_one_organisation(
    here: Project, there: Project, registry: Registry
) -> None:
    push(here, add_version(here, "run-1"), registry)
    add_version(there, "run-x", org="rival")
    second = add_version(there, "run-y", org="rival")
    with pytest.raises(ModelyardError, match=r"belongs to organisation techcorp"):
        push(there, second, registry)
    assert registry.numbers("demo") == [1]
    shutil.rmtree(there.adapter_version("demo", 1))
    with pytest.raises(ModelyardError, match=r"belongs to organisation rival"):
        pull(there, registry, "demo")
    assert whole_versions(there) == [2]


def test_a_registry_of_a_newer_layout_is_left_alone(
    here: Project, registry: Registry, store: Path
) -> None:
    (store / "registry.json").write_text("{}")
    with pytest.raises(ModelyardError, match="own file is damaged"):
        registry.is_there()
    (store / "registry.json").write_text('{"layout": 2}')
    with pytest.raises(ModelyardError, match="layout that this modelyard does not know"):
        push(here, add_version(here, "run-1"), registry)
    with pytest.raises(ModelyardError, match="layout that this modelyard does not know"):
        find_remote_version(registry, "demo")
    assert [path.name for path in store.iterdir()] == ["registry.json"]


def test_a_second_push_or_pull_of_an_adapter_waits_or_says_who_is_at_it(
    here: Project, there: Project, registry: Registry
) -> None:
    version = add_version(here, "run-1")
    with exclusive_lock(here.lock("push", "demo"), what="push"), pytest.raises(LockHeld):
        push(here, version, registry)
    push(here, version, registry)
    with exclusive_lock(there.lock("pull", "demo"), what="pull"), pytest.raises(LockHeld):
        pull(there, registry, "demo")
    assert pull(there, registry, "demo")


def test_a_base_at_hand_is_compared_and_the_adapter_proven_to_fit(
    project: Project, saved_adapter: Path, tmp_path: Path, registry: Registry, store: Path
) -> None:
    from adapter_samples import facts
    from modelyard.adapters.tokenizer import template_hash
    from modelyard.adapters.versions import register_version
    from modelyard.weights.local import locate_base

    base = locate_base(project, "tiny")
    assert base is not None

    def fill(staged: Path, manifest: Manifest) -> None:
        shutil.copytree(saved_adapter, staged, dirs_exist_ok=True)
        (staged / "README.md").unlink(missing_ok=True)
        (staged / "TRAINING_INFO.md").write_text("---\nadapter: demo\n---\n")

    def push_trained_on(adapter: str, fingerprint: str) -> None:
        version = register_version(
            project,
            adapter,
            fill=fill,
            provenance=facts(
                adapter,
                base=Origin(name="tiny", fingerprint=fingerprint),
                template_hash=template_hash(saved_adapter),
            ),
        )
        push(project, version, registry)
        shutil.rmtree(project.adapter_versions(adapter))

    push_trained_on("good", base.fingerprint)
    push_trained_on("strange", "sha256:other")
    version = find_remote_version(registry, "good")
    done = pull_version(project, registry, version, progress=SILENT)
    assert done.base is not None
    assert promote_version(project, load_version(project, "good", 1)).moved
    with pytest.raises(ModelyardError, match="another tiny") as refused:
        pull(project, registry, "strange")
    assert "sha256:other" in str(refused.value)

    bare = make_project(tmp_path / "bare")
    said = []

    class Noting(Silent):
        def warn(self, text: str) -> None:
            said.append(text)

    pull_version(bare, registry, find_remote_version(registry, "strange"), progress=Noting())
    assert whole_versions(bare, "strange") == [1]
    assert len(said) == 1 and "tiny, which is not available locally" in said[0]


def test_the_commands_say_what_they_did(here: Project, there: Project, store: Path) -> None:
    version = add_version(here, "run-1")
    promote_version(here, version)

    def models(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "modelyard",
            "--project",
            str(project.root),
            "adapters",
            *words,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    would = models(here, "push", "demo", store.as_uri(), "--dry-run")
    assert "Would push demo@1" in would.stdout and not store.exists()
    done = models(here, "push", "demo", store.as_uri(), "--json")
    result = json.loads(done.stdout)
    assert result["changed"] and result["tags"] == {"latest": 1, "in-use": 1}
    assert "already in" in models(here, "push", "demo", store.as_uri()).stdout
    would = models(there, "pull", "demo", store.as_uri(), "--dry-run")
    assert "Would pull demo@1" in would.stdout and "not available locally" in would.stderr
    done = models(there, "pull", "demo", store.as_uri(), "--json")
    result = json.loads(done.stdout)
    assert (result["changed"], result["org"], result["base_checked"]) == (True, "techcorp", False)
    assert "already here" in models(there, "pull", "demo", store.as_uri()).stdout
    refused = models(there, "pull", "demo", "nowhere")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)


def test_a_file_that_another_version_here_holds_is_not_fetched_again(
    here: Project, there: Project, registry: Registry, store: Path
) -> None:
    first, second = add_version(here, "run-1"), add_version(here, "run-2")
    for version in (first, second):
        push(here, version, registry)
    pull(there, registry, "demo@1")
    remote = find_remote_version(registry, "demo@2")
    plan = plan_pull(there, registry, remote, SILENT)
    own = {"adapter_model.safetensors", "TRAINING_INFO.md"}
    assert plan.fetched_bytes == sum(
        entry.size_bytes for name, entry in second.manifest.files.items() if name in own
    )
    shared = there.adapter_version("demo", 1) / "tokenizer.json"
    blob_of(store, first, "tokenizer.json").unlink()
    assert pull(there, registry, "demo@2") and whole_versions(there) == [1, 2]
    assert (there.adapter_version("demo", 2) / "tokenizer.json").stat().st_ino != (
        shared.stat().st_ino
    )


def test_a_copy_that_is_damaged_here_is_fetched(
    here: Project, there: Project, registry: Registry
) -> None:
    for run in ("run-1", "run-2"):
        push(here, add_version(here, run), registry)
    pull(there, registry, "demo@1")
    spoilt = there.adapter_version("demo", 1) / "tokenizer.json"
    spoilt.chmod(0o640)
    spoilt.write_bytes(b"X" * spoilt.stat().st_size)
    assert pull(there, registry, "demo@2")
    assert (there.adapter_version("demo", 2) / "tokenizer.json").read_text() == '{"shared": true}'


def test_recorded_figures_go_with_the_version_and_after_it(
    here: Project, there: Project, registry: Registry, store: Path
) -> None:
    version = add_version(here, "import/1", evaluation=None)
    push(here, version, registry)
    assert pull(there, registry, "demo@1")
    record_figures(here, version, "sales", BETTER)
    assert plan_push(here, registry, version).changed
    done = push(here, version, registry)
    assert (len(done.figures), done.added, done.uploads) == (1, False, {})
    assert not push(here, version, registry).changed
    assert not pull(there, registry, "demo@1")
    taken = load_version(there, "demo", 1)
    assert recorded_figures(there, taken) == recorded_figures(here, version)
    assert figures_of(there, taken)[0] == BETTER
    (stored,) = (store / "adapters/demo/figures/1").iterdir()
    stored.write_text("{}")
    remove_adapter(there, "demo")
    assert pull(there, registry, "demo@1")
    assert recorded_figures(there, load_version(there, "demo", 1)) == []
