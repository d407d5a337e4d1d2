"""Several users of one machine work with one project in turn."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from pkgutil import walk_packages

import pytest
import yaml

import modelyard.backup
import modelyard.stores
from modelyard.adapters.versions import version_numbers
from modelyard.core import state
from modelyard.core.layout import Project
from modelyard.core.sharing import Sharing, shared_at
from modelyard.monitoring import traffic_db
from modelyard.setup.share import list_misfits
from other_users import Ran, User, needs_root, run_as, run_line
from tiny_encoders import write_encoder

pytestmark = needs_root

GROUP = 47_100
ANN = User(uid=47_001, gid=47_001, groups=(GROUP,), umask=0o077)
BEN = User(uid=47_002, gid=47_002, groups=(GROUP,), umask=0o022)
EVE = User(uid=47_003, gid=47_003)

LIFE = """
ann  adapters import ADAPTER --name demo --base-model tiny --yes-other-base
ben  adapters import OTHER --name demo --base-model tiny --yes-other-base
ann  adapters promote demo@1 --force --reason test
ben  adapters promote demo@2 --force --reason test
ann  adapters rollback demo
ben  adapters pin demo@1
ann  adapters unpin demo@1
ben  deploy-config language_models/gpt4 --env test --yes
ann  deploy-config performance_profiles/batch_processing --env test --yes
ben  deploy-config --rollback --env test --yes
ann  switch-config --profile high_accuracy --domain code_analysis
ben  switch-config --profile fast_response --domain code_analysis
ann  feedback add --prompt Q --answer A --rating good
ben  feedback add --prompt Q --answer B --correction C
ben  update-embeddings --domain texts/docs
ann  update-embeddings --domain texts/docs --rebuild
ann  search --domain texts/docs "roll back"
ben  ask --model basic_nlp "Who leads sales?"
ann  ask --model basic_nlp "Who leads sales?"
ben  performance-test --model basic_nlp --test-suite short
ann  performance-test --model basic_nlp --test-suite short
ben  monitor MONITOR
ann  monitor MONITOR
ben  adapters push demo@1 REGISTRY
ann  org forget acme
ann  backup
ben  backup
ann  backup prune --keep-last 1
ben  restore --in-place latest
""".strip().splitlines()
ASKED = 'ask --model basic_nlp "Who leads sales?"'
SHORT = tuple(
    line
    for line in LIFE
    if line[5:].startswith(
        ("adapters import", "deploy-config", "feedback", "update-embeddings", "ask", "backup")
    )
)
READS = """
adapters list
adapters show demo@1
config show gpt4
deployments
feedback list
index status
monitor MONITOR
route explain --domain code_analysis
search --domain texts/docs "roll back"
validate-config language_models/gpt4
""".strip().splitlines()
MONITOR = " ".join(
    f"--allow-no-data {measure}" for measure in ("accuracy", "latency", "cost", "errors")
)
THRESHOLD = ("performance-test", "monitor")
"""They can end with 4: no model is there that answers."""
NOT_BEFORE_A_FORK = ("adapters push", "backup", "restore")
"""Libraries start threads in them, which a child would wait for."""


@pytest.fixture(scope="module")
def place(tiny_base_folder: Path, save_adapter: Callable[..., Path]) -> Iterator[Path]:
    """A folder that every user may reach, with what the lines name; the lines are warmed up."""
    top = Path(tempfile.mkdtemp())
    patch = pytest.MonkeyPatch()
    try:
        for name in ("home", "temporary", "registry"):
            (top / name).mkdir()
        shutil.copytree(tiny_base_folder, top / "home" / "base")
        write_encoder(top / "home" / "encoder")
        shutil.copytree(save_adapter(r=4), top / "adapter")
        shutil.copytree(save_adapter(r=8), top / "other")
        for path in (top, *top.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o644)
        patch.setattr(tempfile, "tempdir", str(top / "temporary"))
        for package in (modelyard.backup, modelyard.stores):
            for module in walk_packages(package.__path__, f"{package.__name__}."):
                import_module(module.name)
        for name in ("obstore.store", "obstore.exceptions", "_strptime", "zstandard"):
            import_module(name)
        warm = new_project(top, "warm", Sharing.PRIVATE, as_root=True)
        for line in (*LIFE, *(f"eve  {line}" for line in READS)):
            words = line.split(maxsplit=1)[1]
            if not words.startswith(NOT_BEFORE_A_FORK):
                ran = do(warm, None, words)
                assert ran.code == 0 or words.startswith(THRESHOLD), (words, ran)
        for module in (state, traffic_db):
            module._READING.close()
            module._CHANGING.close()
        yield top
    finally:
        patch.undo()
        shutil.rmtree(top)


def new_project(top: Path, name: str, sharing: Sharing, *, as_root: bool = False) -> Project:
    project = Project(top / name)
    project.root.mkdir()
    if not as_root:
        os.chown(project.root, ANN.uid, GROUP)
    ran = do(project, None if as_root else ANN, f"init {project.root} --sharing {sharing}")
    assert ran.code == 0, ran
    card = project.base_card("tiny")
    write(
        card,
        "---\nname: tiny\nsummary: For tests.\nparameters: 99000\nlicence: Apache-2.0\n"
        f"context_length: 512\nsources:\n  - kind: path\n    path: {top / 'home' / 'base'}\n---\n",
    )
    write(
        project.configs / "test_suites" / "short.yaml",
        "description: Short\nchecks:\n- name: rows\n  dataset: example\n  scorer: contains\n"
        "  rows: 2\n",
    )
    encoder = {"source": "path", "model": str(top / "home" / "encoder")}
    settings = {
        "description": "For tests",
        "encoder": {**encoder, "dimensions": 32, "max_tokens": 64},
        "domains": {"docs": {"description": "Prose", "sources": ["docs/*.md"]}},
    }
    write(project.configs / "embedding_models" / "texts.yaml", yaml.safe_dump(settings))
    write(project.root / "docs" / "one.md", "# Roll back\n\nHow to roll back.\n")
    if not as_root:
        for path in project.root.rglob("*"):
            os.chown(path, ANN.uid, GROUP)
        assert do(project, ANN, f"project sharing {sharing}").code == 0
    return project


def write(path: Path, text: str) -> None:
    """A file as an editor leaves it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.parent.chmod(0o755)
    path.chmod(0o644)


def do(project: Project, user: User | None, line: str) -> Ran:
    top = project.root.parent
    for word, meant in (
        ("MONITOR", MONITOR),
        ("ADAPTER", str(top / "adapter")),
        ("OTHER", str(top / "other")),
        ("REGISTRY", (top / "registry" / project.root.name).as_uri()),
    ):
        line = line.replace(word, meant)
    home = top / "home" / str(user.uid if user else 0)
    home.mkdir(exist_ok=True)
    home.chmod(0o777)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS_PROJECT", str(project.root))
        patch.setenv("HOME", str(home))
        patch.setenv("MODELS_CACHE", str(home / "models-cache"))
        patch.setenv("HF_HOME", str(home / "huggingface"))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
        patch.chdir(project.root.parent)
        return run_line(line) if user is None else run_as(user, line)


def live(project: Project, lines: Sequence[str]) -> None:
    """A life of a project, of two users in turn."""
    failed = []
    for line in lines:
        who, words = line.split(maxsplit=1)
        ran = do(project, {"ann": ANN, "ben": BEN}[who], words)
        if ran.code and not (ran.code == 4 and words.startswith(THRESHOLD)):
            failed.append((line, ran))
    assert not failed, "\n".join(map(str, failed))


@pytest.mark.parametrize("sharing", [Sharing.GROUP, Sharing.ALL])
def test_two_users_of_a_group_work_in_turn(place: Path, sharing: Sharing) -> None:
    project = new_project(place, f"turns-{sharing}", sharing)
    live(project, LIFE if sharing is Sharing.GROUP else SHORT)
    shared = shared_at(project.root)
    assert shared is not None and not list(list_misfits(shared))
    owners = {path.lstat().st_uid for path in project.local_state.rglob("*")}
    assert owners == {ANN.uid, BEN.uid}
    modes: dict[bool, set[int]] = {True: set(), False: set()}
    for path in (*project.local_state.rglob("*"), *project.models.rglob("*")):
        if not path.is_symlink():
            modes[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    folders, files = {0o2770, 0o2750}, {0o660, 0o440}
    if sharing is Sharing.ALL:
        folders, files = {0o2775, 0o2755, 0o2770}, {0o664, 0o444, 0o660}
    assert modes == {True: folders, False: files}
    answer_id = json.loads(do(project, ANN, f"{ASKED} --json").out)["id"]
    texts = "--prompt Secret --answer Confidential --correction Hidden"
    assert do(project, ANN, f"feedback add --answer-id {answer_id} {texts}").code == 0
    outside = {
        line: do(project, EVE, line)
        for line in (*READS, "feedback add --prompt Eve --answer A --rating good")
    }
    for line, ran in outside.items():
        if sharing is Sharing.ALL and line in READS:
            assert ran.code == 0 or line.startswith(THRESHOLD), (line, ran)
        else:
            assert ran.code == 1 and "no access" in ran.err, (line, ran)
            assert "bug" not in ran.err and str(GROUP) in ran.err, (line, ran)
    for user in (BEN, EVE):
        listed = do(project, user, "feedback list --json").out
        for text in ("Secret", "Confidential", "Hidden"):
            assert (text in listed) == (user is BEN), (user, sharing)


def test_a_private_project_is_its_owner_s(place: Path) -> None:
    project = new_project(place, "own", Sharing.PRIVATE)
    for words in (
        "feedback add --prompt Q --answer A --rating good",
        "adapters import ADAPTER --name demo --base-model tiny --yes-other-base",
    ):
        assert do(project, ANN, words).code == 0
    shared = shared_at(project.root)
    assert shared is not None and not list(list_misfits(shared))
    assert {stat.S_IMODE(path.stat().st_mode) for path in project.versions.rglob("*")} == {
        0o700,
        0o400,
        0o600,
    }
    looked = do(project, EVE, "doctor")
    assert looked.code == 0 and "This machine" in looked.out, looked
    assert f"belongs to the user {ANN.uid}" in looked.out.replace("\n", " ")
    for user in (BEN, EVE):
        ran = do(project, user, "adapters list")
        assert ran.code == 1 and "no access" in ran.err and "bug" not in ran.err


def test_what_an_earlier_version_left_is_told_and_mended_by_its_owner(place: Path) -> None:
    project = new_project(place, "earlier", Sharing.GROUP)
    numbers = count()

    def add() -> str:
        return f"feedback add --prompt {next(numbers)} --answer A --rating good"

    pin = "adapters pin demo@1"
    assert (
        do(
            project, ANN, "adapters import ADAPTER --name demo --base-model tiny --yes-other-base"
        ).code
        == 0
    )
    assert do(project, ANN, pin).code == do(project, ANN, add()).code == 0
    for mode in (0o644, 0o600):
        for path in (project.lock("adapter", "demo"), project.state_db):
            path.chmod(mode)
        for line in (add(), "adapters promote demo@1 --force --reason test"):
            ran = do(project, BEN, line)
            assert ran.code == 1 and "no access" in ran.err, ran
            assert f"run `models project sharing group` as the user {ANN.uid}" in ran.err
        told = do(project, BEN, "project sharing group")
        assert told.code == 1 and f"the user {ANN.uid}" in told.err
        assert "state.db" in told.out
        dry = do(project, ANN, "project sharing group --dry-run")
        assert dry.code == 0 and "0660" in dry.out
        assert stat.S_IMODE(project.state_db.stat().st_mode) == mode
        assert do(project, ANN, "project sharing group").code == 0
        assert do(project, BEN, add()).code == 0
    project.state_db.chmod(0o644)
    assert do(project, ANN, add()).code == 0  # its owner's next use mends it too
    assert do(project, BEN, add()).code == 0


def test_only_its_owner_removes_a_version_and_half_of_it_never_goes(place: Path) -> None:
    project = new_project(place, "removal", Sharing.GROUP)
    for user, source in ((ANN, "ADAPTER"), (BEN, "OTHER")):
        line = f"adapters import {source} --name demo --base-model tiny --yes-other-base"
        assert do(project, user, line).code == 0
    assert do(project, BEN, "adapters promote demo@2 --force --reason test").code == 0
    ran = do(project, BEN, "adapters gc --keep 1")
    assert ran.code == 1 and f"as the user {ANN.uid}" in ran.err, ran
    assert version_numbers(project, "demo") == [1, 2]
    assert do(project, ANN, "adapters gc --keep 1").code == 0
    assert version_numbers(project, "demo") == [2]


def test_what_was_removed_is_reported_where_another_version_stays(place: Path) -> None:
    project = new_project(place, "partly", Sharing.GROUP)
    third = shutil.copytree(place / "adapter", place / "third")
    config = third / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": ', '"lora_alpha": 1'))
    for user, source in ((ANN, "ADAPTER"), (BEN, "OTHER"), (ANN, third)):
        line = f"adapters import {source} --name demo --base-model tiny --yes-other-base"
        assert do(project, user, line).code == 0
    for dry in (True, False):
        ran = do(project, ANN, f"adapters gc --keep 1 --json{' --dry-run' * dry}")
        (found,) = json.loads(ran.out)["adapters"]
        assert [each["version"] for each in found["removed"]] == [1]
        assert [each["version"] for each in found["left"]] == [2]
        assert ran.code == (0 if dry else 1) and (dry or f"as the user {BEN.uid}" in ran.err)
    assert version_numbers(project, "demo") == [2, 3]
    told = do(project, ANN, "adapters gc --keep 1")
    assert told.code == 1 and "demo@2" in told.out and "left: " in told.out


def test_a_sharing_is_changed_and_everything_follows(place: Path) -> None:
    project = new_project(place, "changed", Sharing.PRIVATE)
    assert do(project, ANN, "feedback add --prompt Q --answer A --rating good").code == 0
    for mode in ("all", "group", "private"):
        assert do(project, ANN, f"init {project.root} --sharing {mode}").code == 0
        shared = shared_at(project.root)
        assert shared is not None and shared.sharing == mode and not list(list_misfits(shared))
    assert do(project, BEN, "project sharing group").code == 1
    assert do(project, ANN, "project sharing group").code == 0
    again = do(project, ANN, "project sharing group")
    assert "follows already" in again.out


@pytest.mark.parametrize("line", ["project sharing private", "init ROOT --sharing private"])
def test_only_its_owner_changes_with_whom_a_project_is_shared(place: Path, line: str) -> None:
    project = new_project(place, f"members-{line[:4]}", Sharing.GROUP)
    before = project.project_file.stat().st_mtime_ns
    for dry in ("", " --dry-run"):
        ran = do(project, BEN, line.replace("ROOT", str(project.root)) + dry)
        assert ran.code == 1 and "only its owner may" in ran.err, ran
        assert f"as the user {ANN.uid}" in ran.err
    assert project.project_file.stat().st_mtime_ns == before
    assert do(project, BEN, "project sharing group").code == 0


def test_an_owner_gets_a_project_back_from_who_took_its_file(place: Path) -> None:
    """As earlier versions let a member of the group take it."""
    project = new_project(place, "taken", Sharing.GROUP)
    os.chown(project.project_file, BEN.uid, GROUP)
    project.project_file.chmod(0o600)
    ran = do(project, ANN, "feedback add --prompt Q --answer A --rating good")
    assert ran.code == 1 and "`models project sharing MODE` writes it anew" in ran.err, ran
    assert do(project, ANN, "project sharing group").code == 0
    for user in (ANN, BEN):
        assert (
            do(project, user, f"feedback add --prompt {user.uid} --answer A --rating good").code
            == 0
        )


def test_what_others_made_keeps_a_project_from_being_private(place: Path) -> None:
    project = new_project(place, "left", Sharing.GROUP)
    assert do(project, BEN, "feedback add --prompt Q --answer A --rating good").code == 0
    dry = do(project, ANN, "project sharing private --dry-run")
    assert "only root can give it to" in dry.out and dry.code == 0
    told = do(project, ANN, "project sharing private")
    mend = f"as root, run `chown -R {ANN.uid} {project.root}`"
    assert told.code == 1 and mend in told.err, told
    assert f"belongs to the user {BEN.uid}, not the user {ANN.uid}" in told.err
    assert mend in do(project, ANN, "doctor").out.replace("\n", " ")
    for path in (project.root, *project.root.rglob("*")):
        os.chown(path, ANN.uid, GROUP, follow_symlinks=False)
    assert do(project, ANN, "project sharing private").code == 0
    assert do(project, ANN, "feedback add --prompt R --answer A --rating good").code == 0
