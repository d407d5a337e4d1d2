"""The keys that nothing reads any more: marked where they are declared, and shown as such."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_samples import write_deploy_project
from modelyard.cli.reference import render_config_reference
from modelyard.configs.explain import explain
from modelyard.configs.fields import Setting, settings_of
from modelyard.configs.kinds import KINDS
from modelyard.configs.reading.document import load_document
from modelyard.configs.schema import load_schema

SOURCE = Path(__file__).parents[2] / "src" / "modelyard"

UNREAD = {
    "performance_profiles": "batching.max_wait",
}
"""Keys that stored configs have. A new key comes with its reader."""

WHY = "a request joins the next step and waits for no others"
FOR_PEOPLE = "description"
READ_BELOW = {
    *("specialized_models: profile", "integration: model_integration.primary_models.tasks"),
    *("language_models: fallback", "language_models: stays_local"),
    "specialized_models: fallback",
    "integration: model_integration.fallback_strategy.enabled",
    "integration: model_integration.fallback_strategy.order",
    "integration: model_integration.routing.local_only",
    "embedding_models: encoder.stays_local",
    *("environments: environments.NAME.inherits", "environments: environments.NAME.protected"),
}
"""Read by `models switch-config` (what a domain uses now, which domains there are), by `models
generate --model domain:NAME` (which model answers: a local_only domain goes on to the next), and
by every command with `--env` (what an environment inherits, and whether it asks first).
"""


def keys_of(kind: str) -> list[Setting]:
    return [s for s in settings_of(KINDS[kind].settings_class) if not s.is_group]


@pytest.mark.parametrize("kind", KINDS)
def test_only_these_keys_have_no_reader(kind: str) -> None:
    marked = {setting.key for setting in keys_of(kind) if setting.unread}
    assert marked == set(UNREAD.get(kind, "").split())


def test_every_other_key_is_read_outside_of_configs_and_deployments() -> None:
    """By its attribute, `settings.timeout_s`: what only lays settings over each other is no use."""
    read = set()
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0] not in ("configs", "deployments"):
            nodes = ast.walk(ast.parse(path.read_text()))
            read |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    forgotten = [
        f"{kind}: {setting.key}"
        for kind in KINDS
        for setting in keys_of(kind)
        if not setting.unread
        and setting.attribute not in read
        and f"{kind}: {setting.key}" not in READ_BELOW
        and not setting.key.endswith(FOR_PEOPLE)
    ]
    assert forgotten == [], (
        "nothing reads these: take them out, or mark them Unread where configs have them"
    )


def test_explain_says_that_a_key_has_no_effect(
    tmp_path: Path,
    models_here: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = write_deploy_project(tmp_path / "project")
    monkeypatch.chdir(project.root)
    draft = load_document(project.configs / "performance_profiles" / "balanced.yaml")
    (setting,) = explain(draft, "batching.max_wait", None)
    assert setting.unread == WHY
    assert models_here("config", "explain", "batching.max_wait", "balanced") == 0
    assert f"none: {WHY}" in capsys.readouterr().out
    assert models_here("config", "explain", "batching", "balanced") == 0
    assert f"Without effect: batching.max_wait: {WHY}." in capsys.readouterr().out
    assert models_here("config", "explain", "encoder.model", "docs", "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"][0]["unread"] is None
    assert models_here("config", "explain", "encoder.model", "docs") == 0
    assert "none:" not in capsys.readouterr().out


def test_the_schema_and_the_page_say_so_too() -> None:
    batching = load_schema("performance_profiles")["definitions"]["Batching"]["properties"]
    assert f"No effect: {WHY}." in batching["max_wait"]["description"]
    assert "No effect" not in batching["max_requests"]["description"]
    rows = [line for line in render_config_reference().splitlines() if line.startswith("| `")]
    (row,) = [row for row in rows if row.startswith("| `batching.max_wait`")]
    assert f"*No effect: {WHY}.*" in row
