"""Every command that only reads works where nothing can be written.

The commands are found by walking the command tree: a new one fails here until `cli/access.py` says
what it does, and one that reads until there is a line that runs it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from modelyard.access import audit
from modelyard.access.caller import AuditEntry
from modelyard.cli.access import ANSWERS, CHANGES, READS
from modelyard.cli.app import LightCommand, main
from modelyard.cli.reference import documented_commands
from modelyard.core import state
from modelyard.core.clock import utc_now
from modelyard.core.layout import Project
from modelyard.monitoring import traffic_db
from modelyard.setup.init import init_project
from small_disk import mounted_disk, remount
from tiny_encoders import write_encoder
from traffic_samples import record

COMMANDS = {
    documented.usage.removeprefix("models "): documented.command.function
    for documented in documented_commands()
    if isinstance(documented.command, LightCommand)
}

LINES = """
backup --dry-run
report latest
ab status
adapters diff demo@1 demo@2
adapters history demo
adapters list
adapters registry
adapters registry list REGISTRY
adapters registry show demo@1 REGISTRY
adapters show demo
adapters verify demo
audit export
audit head
audit verify
backup diff latest latest
backup list
backup show latest
backup verify
base check
base list
base show tiny
budgets
compare basic_nlp basic_nlp --max-cases 3
config diff gpt4 claude
config explain timeout gpt4
config review
config schema integration
config show gpt4
deployments
deployments --drift
doctor
feedback list
index status
keys list
mcp
monitor --allow-no-data accuracy --allow-no-data latency --allow-no-data cost --allow-no-data errors
prices check --max-age "36500 days"
providers check
providers compare --model basic_nlp --test-suite short
route explain --domain code_analysis
schedule show
search --domain texts/docs "roll back"
validate-config
ask "Who leads sales?"
evaluate --adapter demo@1 --dataset example
generate --adapter demo@1 --max-new-tokens 2 "Who leads sales?"
performance-test --model basic_nlp --test-suite short
ab stop --keep a --dry-run
adapters export demo@1 --to TEMPORARY/exported --dry-run
adapters gc --dry-run
adapters import SAVED --name other --base-model tiny --yes-other-base --dry-run
adapters pin demo@1 --dry-run
adapters promote demo@1 --force --reason test --dry-run
adapters pull demo@1 REGISTRY --dry-run
adapters push demo@1 REGISTRY --dry-run
adapters registry delete demo@1 REGISTRY --dry-run
adapters registry prune REGISTRY --dry-run
adapters registry tag demo@1 best REGISTRY --dry-run
adapters registry untag demo latest REGISTRY --dry-run
adapters rollback demo --dry-run
adapters unpin demo@2 --dry-run
backup copy --to REGISTRY --dry-run
backup prune --keep-last 1 --dry-run
base pull tiny --dry-run
config import TEMPORARY/axolotl.yaml --dry-run
deploy-config language_models/gpt4 --env test --dry-run
feedback add --prompt Q --answer A --rating good --dry-run
feedback withdraw 1 --dry-run
fine-tune --dataset example --base-model tiny --adapter new --dry-run
init another --dry-run
config remove language_models/gpt4 --env production --dry-run
keys create --org acme --dry-run
keys revoke KEY --dry-run
keys rotate KEY --dry-run
org forget acme --dry-run
project sharing private --dry-run
prepare-data datasets/example/train.jsonl --out datasets/new --dry-run
restore latest --to TEMPORARY/restored --dry-run
restore latest --in-place --dry-run
restore --undo --dry-run
restore --discard-replaced --dry-run
schedule install --dry-run
schedule remove --dry-run
switch-config --profile high_accuracy --domain code_analysis --dry-run
update-embeddings --domain texts/docs --dry-run
""".strip().splitlines()
NOT_KEPT = ("performance-test", "providers compare")
"""What was asked for is done, and that it could not be kept is said."""
OF_THE_OWNER = "sharing:sharing"
"""What it would change depends on who asks, and on every file: test_project_sharing.py runs it."""
MEASURED = re.compile(
    r"[0-9][0-9.,]* ?(s|ms|min|h|GB|MB|kB|GFLOP/s)\b"  # of time, of the disk, of the machine
    r"|works: [A-Za-z', ]+WAL|not known: nothing can be written there"  # of the file system
    r"|of [0-9]+ files and folders: "  # SQLite's own beside a database among them
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]+Z?|[─ ]+"  # when it is printed, and the table around it
)
OF_FILES = ("project sharing",)
"""What it shows are the files that are there and whose they are, which the other lines change."""
ANOTHER_USER = 12_345


def function_of(line: str) -> str:
    """The function of the command that a line runs."""
    found = [usage for usage in COMMANDS if f"{line} ".startswith(f"{usage} ")]
    return COMMANDS[max(found, key=len)]


def test_every_command_says_whether_it_reads_or_changes() -> None:
    assert set(COMMANDS.values()) == READS | ANSWERS | CHANGES
    assert not (READS & ANSWERS or READS & CHANGES or ANSWERS & CHANGES)


def test_every_command_that_reads_is_run_here() -> None:
    run = {function_of(line) for line in LINES}
    assert run >= READS | ANSWERS


def test_every_dry_run_is_run_here() -> None:
    run = {function_of(line) for line in LINES if "--dry-run" in line}
    assert run | {OF_THE_OWNER} == {
        command.function
        for documented in documented_commands()
        if isinstance(command := documented.command, LightCommand)
        if command.function in CHANGES
        if any("--dry-run" in parameter.opts for parameter in command.params)
    }


@pytest.fixture
def project(
    tiny_base_folder: Path,
    save_adapter: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """A project on a small disk that every user may reach, with something of everything."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    for name in ("home", "temporary"):
        (top / name).mkdir()
        (top / name).chmod(0o777)
    monkeypatch.setenv("HOME", str(top / "home"))
    monkeypatch.setenv("MODELS_CACHE", str(top / "home" / "models-cache"))
    monkeypatch.setenv("HF_HOME", str(top / "home" / "huggingface"))
    # Another user has no part of this one's home.
    monkeypatch.setenv("HF_TOKEN", "none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(top / "home" / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tempfile, "tempdir", str(top / "temporary"))
    try:
        with mounted_disk(top / "disk", "24m") as disk:
            disk.chmod(0o755)
            project = Project(disk / "project")
            monkeypatch.setenv("MODELS_PROJECT", str(project.root))
            fill_project(project, top, tiny_base_folder, [save_adapter(r=rank) for rank in (4, 8)])
            yield project
            monkeypatch.chdir("/")
    finally:
        shutil.rmtree(top)


def fill_project(project: Project, top: Path, base: Path, saved: list[Path]) -> None:
    init_project(project.root)
    os.chdir(project.root)
    shutil.copytree(base, top / "home" / "base")
    shutil.copytree(saved[0], top / "saved")
    (top / "temporary" / "axolotl.yaml").write_text(
        "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\nadapter: lora\nlora_r: 8\n"
    )
    (top / "saved").chmod(0o755)
    for path in (top / "saved").iterdir():
        path.chmod(0o644)
    card = project.base_card("tiny")
    card.parent.mkdir()
    card.write_text(
        "---\nname: tiny\nsummary: For tests.\nparameters: 99000\nlicence: Apache-2.0\n"
        f"context_length: 512\nsources:\n  - kind: path\n    path: {top / 'home' / 'base'}\n---\n"
    )
    integration = project.configs / "integration.yaml"
    test = "  ab_test:\n    name: trial\n    a: {}\n    b: {model: basic_nlp}\n"
    key = "  performance_monitoring:\n"
    integration.write_text(integration.read_text().replace(key, test + key, 1))
    (project.configs / "test_suites" / "short.yaml").write_text(
        "description: Short\nchecks:\n- name: rows\n  dataset: example\n  scorer: contains\n"
        "  rows: 2\n"
    )
    encoder = {"source": "path", "model": str(write_encoder(top / "home" / "encoder"))}
    settings = {
        "description": "For tests",
        "encoder": {**encoder, "dimensions": 32, "max_tokens": 64},
        "domains": {"docs": {"description": "Prose", "sources": ["docs/*.md"]}},
    }
    texts = project.configs / "embedding_models" / "texts.yaml"
    texts.write_text(yaml.safe_dump(settings))
    (project.root / "docs").mkdir()
    (project.root / "docs" / "one.md").write_text("# Roll back\n\nHow to roll back.\n")
    for number, adapter in enumerate(saved, 1):
        for line in (
            f"adapters import {adapter} --name demo --base-model tiny --yes-other-base",
            f"adapters promote demo@{number} --force --reason test",
            f"adapters push demo@{number} REGISTRY",
        ):
            code, _, told = run(line)
            assert code == 0, (line, told)


def record_something(project: Project) -> None:
    for line in (
        "feedback add --prompt Q --answer A --rating good",
        "deploy-config language_models/gpt4 --env production --yes",
        "update-embeddings --domain texts/docs",
        "performance-test --model basic_nlp --test-suite short",
        "backup",
    ):
        code, _, told = run(line)
        assert code in (0, 4), (line, told)
    _, key, _ = run("keys create --org acme --json")
    (project.root.parent.parent / "home" / "key").write_text(json.loads(key)["id"])
    record(project, range(5))
    with closing(audit.AuditLog(project)) as log:
        log.append(
            AuditEntry(
                at=utc_now(), organisation="acme", key_id=None, route="-", status=200, latency_s=1
            )
        )


def as_killed_while_it_writes(project: Project) -> None:
    """Leave what a killed process leaves beside its databases: what is new is in the -wal alone."""
    kept = project.root.parent.parent / "temporary" / "killed"
    kept.mkdir()
    state.read_state(project, "SELECT 1")
    with state.change_state(project) as connection:
        connection.execute("INSERT INTO forgotten VALUES ('x', '2026-11-30T00:00:00Z')")
    for path in project.local_state.glob("state.db*"):
        shutil.copyfile(path, kept / path.name)
    assert (kept / "state.db-wal").stat().st_size
    close_connections()
    for path in kept.iterdir():
        shutil.move(path, project.local_state / path.name)


def without_figures(shown: str) -> str:
    """What a command printed, without what two runs of it measure anew."""
    return MEASURED.sub(" ", shown)


def close_connections() -> None:
    for module in (state, traffic_db):
        module._READING.close()
        module._CHANGING.close()


def run(line: str) -> tuple[int, str, str]:
    """The exit code of a line, and what it prints."""
    top = Path.cwd().parent.parent
    line = line.replace("REGISTRY", (Path.cwd().parent / "registry").as_uri())
    line = line.replace("TEMPORARY", str(top / "temporary")).replace("SAVED", str(top / "saved"))
    key = top / "home" / "key"
    line = line.replace("KEY", key.read_text() if key.exists() else "0123456789ab")
    out, err = TextIOWrapper(BytesIO(), "utf-8", write_through=True), StringIO()
    nothing = TextIOWrapper(BytesIO())
    words = ["models", *shlex.split(line)]
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch("sys.argv", words),
        patch("sys.stdin", nothing),
    ):
        try:
            main()
            code: object = 0
        except SystemExit as stopped:
            code = stopped.code or 0
    assert isinstance(code, int)
    return code, out.buffer.getvalue().decode(), err.getvalue()


@contextmanager
def acting_as(user: int | None) -> Iterator[None]:
    """Reach files as another user may; every module that is needed is loaded before."""
    if user is None:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def fill_disk(project: Project) -> None:
    with (project.root.parent / "filling").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            pass


def check_everything(
    project: Project, trouble: Callable[[Project], None], user: int | None
) -> None:
    before_state = project.root.parent.parent / "temporary" / "before"
    if project.local_state.exists():
        shutil.copytree(project.local_state, before_state, symlinks=True)
    expected = {line: run(line) for line in LINES}  # loads every module, for any user
    close_connections()
    shutil.rmtree(project.local_state, ignore_errors=True)
    if before_state.exists():
        shutil.copytree(before_state, project.local_state, symlinks=True)
    trouble(project)
    with acting_as(user):
        found = {line: run(line) for line in LINES}
    close_connections()
    wrong = {}
    for line, (code, shown, told) in found.items():
        is_test = line.startswith(NOT_KEPT)
        if is_test and (code == expected[line][0] or (code == 1 and "not kept" in shown)):
            continue
        if code != expected[line][0]:
            wrong[line] = (code, expected[line][0], shown[-300:], told[-600:])
        elif line.startswith(OF_FILES):
            continue
        elif (now := without_figures(shown)) != (before := without_figures(expected[line][1])):
            wrong[line] = ("before", before, "now", now, told[-600:])
    assert not wrong, "\n".join(f"{line}: {what}" for line, what in wrong.items())


@pytest.mark.parametrize(
    ("trouble", "left"),
    [
        ("read-only", "nothing"),
        ("read-only", "killed without shm"),
        ("full", "closed"),
        ("another user", "killed"),
    ],
)
def test_commands_that_read_need_not_write(project: Project, trouble: str, left: str) -> None:
    if left == "nothing":
        shutil.rmtree(project.local_state)
    else:
        record_something(project)
        close_connections()
    if left.startswith("killed"):
        as_killed_while_it_writes(project)
    home = project.root.parent.parent / "home"
    for path in (
        *project.root.parent.rglob("*"),
        *home.rglob("*"),
    ):  # a user who may read all of it
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0))

    def begin(project: Project) -> None:
        if left == "killed without shm":
            for path in project.local_state.glob("*-shm"):
                path.unlink()
        if trouble == "read-only":
            remount(project.root.parent, "ro")
        elif trouble == "full":
            fill_disk(project)

    check_everything(project, begin, ANOTHER_USER if trouble == "another user" else None)


def test_what_belongs_to_another_user_is_no_access_and_no_bug(project: Project) -> None:
    """Versions, state.db and the folder of the state: as `umask 077` leaves them."""
    record_something(project)
    expected = {line: run(line)[0] for line in LINES}  # loads every module, for any user
    for path in (project.versions, project.state_db, project.configs / "integration.yaml"):
        close_connections()
        before = path.stat().st_mode
        path.chmod(0)
        with acting_as(ANOTHER_USER):
            found = {line: run(line) for line in LINES}
        path.chmod(before)
        refused = [line for line, (_, _, told) in found.items() if "no access" in told]
        assert refused, path
        wrong = {line: told for line, (code, _, told) in found.items() if code == 3}
        assert not wrong, (path, wrong)
        assert all(found[line][0] in (1, 2, expected[line]) for line in refused)
