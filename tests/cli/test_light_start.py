"""Asking for help, and what needs no model, loads none of the machine-learning libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from modelyard.setup.init import init_project

HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes")
RUN_AND_LIST_HEAVY_MODULES = f"""
import sys
from modelyard.cli.app import main
try:
    main()
finally:
    loaded = sorted(set({HEAVY}) & set(sys.modules))
    print("loaded:", *loaded, file=sys.stderr)
"""


def run_in_a_new_project(*words: str) -> subprocess.CompletedProcess[str]:
    init_project(Path.cwd())
    command = [sys.executable, "-c", RUN_AND_LIST_HEAVY_MODULES, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


LINES = """
--help
--version
doctor --help
init --help
init another-project
base list
base list --json
base show smollm2-135m-instruct
adapters list
adapters list --json
adapters gc --dry-run
backup --help
backup
prepare-data --help
feedback --help
feedback add --prompt Who? --answer Ann. --rating good
feedback list
deploy-config --help
deploy-config language_models/claude_config.yaml --env production --yes
deployments --json
switch-config --profile high_accuracy --domain code_analysis
fine-tune --help
evaluate --help
generate --help
validate-config language_models/gpt4
config explain timeout gpt4
config schema
config schema integration
config diff gpt4 claude
monitor --metrics usage
schedule show
config review
""".strip().splitlines()
RUN_EACH_LINE = f"""
import contextlib, json, shlex, sys
from modelyard.cli.app import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["models", *shlex.split(line)]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
    print(json.dumps([line, code, sorted(set({HEAVY}) & set(sys.modules))]))
"""


def test_what_needs_no_model_loads_no_machine_learning_library() -> None:
    """All in one process: what any of them loads is there at its end."""
    init_project(Path.cwd())
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH_LINE],
        input="\n".join(LINES),
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [[line, 0, []] for line in LINES], done.stderr


def test_help_loads_neither_rich_nor_pydantic() -> None:
    check = RUN_AND_LIST_HEAVY_MODULES.replace(str(HEAVY), "('rich', 'pydantic', 'yaml')")
    command = [sys.executable, "-c", check, "fine-tune", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1].strip() == "loaded:"


def test_a_command_loads_no_other_command() -> None:
    list_commands = """
import sys
from modelyard.cli.app import main
try:
    main()
finally:
    print(*sorted(m for m in sys.modules if m.startswith("modelyard.cli.")), file=sys.stderr)
"""
    command = [sys.executable, "-c", list_commands, "adapters", "list", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    loaded = {name.removeprefix("modelyard.cli.") for name in done.stderr.split()}
    mine = {"adapters", "adapters.show", "job_progress"}
    always = {"access", "app", "arguments", "nested", "options", "render", "table_layout"}
    assert loaded == {*always, *mine}


def test_an_error_in_usage_exits_with_2_and_loads_nothing_heavy() -> None:
    done = run_in_a_new_project("fine-tune", "--no-such-option")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert done.stderr.splitlines()[-1].strip() == "loaded:"
