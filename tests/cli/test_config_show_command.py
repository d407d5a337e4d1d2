"""`models config show` and `explain`: one config as it holds, and where each value comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy_samples import deploy_config, edit, rollback, switch_config, write_deploy_project
from example_configs import make_project
from modelyard.configs.kinds import STANDARD_ENVIRONMENTS
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import load_document, resolve
from modelyard.configs.reading.shape import check_shape
from modelyard.core.layout import Project
from modelyard.deployments.effective_settings import compare_effective
from modelyard.deployments.layers import build_effective
from modelyard.deployments.running import running_snapshot
from modelyard.deployments.snapshot import Snapshot, content_of

Models = Callable[..., int]
Read = Callable[..., Any]

GPT4 = "configs/language_models/gpt4_config.yaml"
BALANCED = "configs/performance_profiles/balanced.yaml"
ACCURATE = "configs/performance_profiles/high_accuracy.yaml"
ANALYSIS = "configs/specialized_models/code_analysis.yaml"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = write_deploy_project(tmp_path / "project")
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def shown(models_here: Models, capsys: pytest.CaptureFixture[str]) -> Read:
    def run(*words: str) -> str:
        capsys.readouterr()
        assert models_here("config", *words) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def explained(shown: Read) -> Read:
    """Value, layer, place and revision of one setting."""

    def run(key: str, name: str, environment: str) -> tuple[Any, ...]:
        facts = json.loads(shown("explain", key, name, "--env", environment, "--json"))
        (setting,) = facts["settings"]
        return setting["value"], setting["layer"], setting["where"], setting["revision"]

    return run


def test_a_deployed_value_has_its_line_its_layer_and_the_revision_that_brought_it(
    place: Project, explained: Read
) -> None:
    deploy_config(place, environment="production", every_config=True)
    edit(place, "language_models/claude_config", "Long texts", "Longer texts")
    deploy_config(place, ["claude"], environment="production")
    assert explained("timeout", "gpt4", "production") == (
        "30 seconds",
        "production",
        f"{GPT4}:15:5",
        1,
    )
    assert explained("context_tokens", "gpt4", "production") == ("128k", "base", f"{GPT4}:5:1", 1)
    assert explained("description", "claude", "production")[3] == 2
    assert explained("retries.attempts", "gpt4", "production") == (2, "default", None, None)


def test_the_line_is_that_of_the_file_as_it_was_deployed(place: Project, explained: Read) -> None:
    deploy_config(place, ["gpt4"], environment="test")
    path = place.root / GPT4
    path.write_text("# a new first line\n" + path.read_text().replace("60 seconds", "70 seconds"))
    assert explained("timeout", "gpt4", "test") == ("60 seconds", "base", f"{GPT4}:12:1", 1)
    deploy_config(place, ["gpt4"], environment="test")
    assert explained("timeout", "gpt4", "test") == ("70 seconds", "base", f"{GPT4}:13:1", 2)
    rollback(place, environment="test")
    assert explained("timeout", "gpt4", "test") == ("60 seconds", "base", f"{GPT4}:12:1", 3)
    path.unlink()
    for name in ("gpt4", "language_models/gpt4", GPT4):
        assert explained("timeout", name, "test")[0] == "60 seconds", "what is live needs no draft"
    path.write_text("not: [yaml")
    assert explained("timeout", GPT4, "test")[0] == "60 seconds"


def test_a_domain_answers_for_every_setting_that_a_switch_prints(
    place: Project, explained: Read
) -> None:
    deploy_config(place, environment="test", every_config=True)
    done = switch_config(place, profile="high_accuracy", domain="code_analysis", environment="test")
    (effect,) = done.plan.effects
    keys = [change.key for change in effect.settings]
    assert {"profile", "timeout", "model.retries.attempts", "samples"} < set(keys)
    for key in keys:
        for name in ("code_analysis", "domain:code_analysis"):
            assert explained(key, name, "test")[3] == 2, key
    assert explained("timeout", "code_analysis", "test") == (
        "2 minutes", "profile high_accuracy", f"{ACCURATE}:3:1", 2,
    )  # fmt: skip
    assert explained("retries.attempts", "code_analysis", "test")[0] == 4
    assert explained("samples", "code_analysis", "test")[:2] == (3, "profile high_accuracy")
    assert explained("profile", "code_analysis", "test") == (
        "high_accuracy", "profile switch", None, 2,
    )  # fmt: skip
    assert explained("timeout", "domain:summaries", "test")[1] == "profile balanced"
    assert explained("model", "code_analysis", "test")[:2] == ("gpt4", "base")


def test_a_shown_config_is_a_file_that_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Read
) -> None:
    """Every config of this repository, in every environment."""
    project = make_project(tmp_path / "project")
    monkeypatch.chdir(project.root)
    catalogue = ConfigCatalogue(project)
    for path in catalogue.deployable_paths():
        draft = catalogue.read(path)
        for environment in STANDARD_ENVIRONMENTS:
            text = shown("show", str(path), "--draft", "--env", environment, "--origins")
            copy = tmp_path / draft.kind.name / path.name
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text)
            again = load_document(copy)
            wanted = check_shape(draft, (environment,)).settings[environment]
            assert again.name == draft.name
            assert check_shape(again, ("test",)).settings["test"] == wanted, text


def test_a_specialised_model_is_shown_as_its_domain_uses_it(place: Project, shown: Read) -> None:
    """A file with what is shown comes to the same effective settings, without any switch."""
    switch_config(place, profile="high_accuracy", domain="code_analysis", environment="development")
    text = shown("show", "code_analysis")
    values = yaml.safe_load(text)
    assert (values["profile"], values["generation"]["temperature"]) == ("high_accuracy", 0.4)
    number, running = running_snapshot(place, "development")
    (place.root / ANALYSIS).write_text(text)
    written = content_of(resolve(load_document(place.root / ANALYSIS)).values)
    label = "specialized_models/code_analysis"
    same = Snapshot(configs={**running.configs, label: written}, profiles={})
    assert (
        compare_effective(
            build_effective(running, "development", number, "code_analysis"),
            build_effective(same, "development", number, "code_analysis"),
        )
        == ()
    )


def test_origins_stand_at_the_ends_of_their_lines(place: Project, shown: Read) -> None:
    deploy_config(place, environment="test", every_config=True)
    switch_config(place, profile="high_accuracy", domain="code_analysis", environment="test")
    lines = shown("show", "domain:code_analysis", "--env", "test", "--origins").splitlines()
    assert lines[0] == "# domain:code_analysis in test: revision 2"
    assert "profile: high_accuracy  # profile switch, revision 2" in lines
    where = f"{ACCURATE}:3:1, profile high_accuracy, revision 2"
    assert f"timeout: 2 minutes  # {where}" in lines
    assert f"    temperature: 0.4  # {ACCURATE}:6:3, profile high_accuracy, revision 2" in lines
    assert f"  provider: openai  # {GPT4}:2:1, language model gpt4, revision 1" in lines
    assert "    attempts: 4  # configs/performance_profiles/high_accuracy.yaml:4:1, " in "\n".join(
        lines
    )
    assert f"instructions: |  # {ANALYSIS}:3:1, revision 1" in lines
    assert "  per_day: $10  # configs/integration.yaml:9:5, integration config, revision 1" in lines
    assert "  enabled: false  # default" in lines
    gpt4 = shown("show", "gpt4", "--env", "production", "--draft", "--origins")
    assert f"timeout: 30 seconds  # {GPT4}:15:5, production" in gpt4


def test_a_derived_value_says_what_it_is_derived_from(place: Project, shown: Read) -> None:
    deploy_config(place, environment="test", every_config=True)
    text = shown("show", "domain:code_analysis", "--env", "test", "--origins")
    order = "configs/integration.yaml:7:5"
    assert f"fallback:  # derived from {ANALYSIS}:2:1, {order}, revision 1\n- claude" in text
    facts = json.loads(shown("show", "code_analysis", "--env", "test", "--json"))
    (origin,) = [found for found in facts["origins"] if found["key"] == "fallback"]
    assert (origin["layer"], origin["where"]) == ("derived value", None)
    assert origin["derived_from"] == [f"{ANALYSIS}:2:1", order]
    one = shown("explain", "fallback", "code_analysis", "--env", "test")
    assert "nowhere: it is derived from the settings below" in one
    assert "fallback_strategy.order" in one and "effective" not in one


def test_what_is_shown_follows_the_environment(
    place: Project, models_here: Models, shown: Read
) -> None:
    deploy_config(place, ["gpt4"], environment="production")
    edit(place, "language_models/gpt4_config", "60 seconds", "61 seconds")

    def timeout(*words: str) -> str:
        text: str = yaml.safe_load(shown("show", "gpt4", *words))["timeout"]
        return text

    assert timeout() == "61 seconds"
    assert timeout("--env", "production") == "30 seconds"
    edit(place, "language_models/gpt4_config", "30 seconds", "31 seconds")
    assert timeout("--env", "production") == "30 seconds"
    assert timeout("--env", "production", "--draft") == "31 seconds"
    assert models_here("config", "show", "claude", "--env", "production") == 2


@pytest.mark.parametrize(
    "words",
    [
        "config show gpt4",
        "config show domain:code_analysis",
        "config show code_analysis",
        "config explain timeout gpt4",
        "config explain timeout domain:code_analysis",
        "config diff gpt4 test",
        "deployments --drift",
        "generate Hello --model domain:code_analysis",
        "search handbook",
    ],
)
def test_that_nothing_is_deployed_is_said_in_one_way(
    place: Project, models_here: Models, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    no_data, failed = 5, 1
    code = no_data if words.startswith("deployments") else failed
    assert models_here(*words.split(), "--env", "test") == code
    said = "error: nothing is deployed to test: models deploy-config --all --env test\n"
    assert capsys.readouterr().err == said


def test_both_say_what_commands_use_unless_they_are_asked_for_the_draft(
    place: Project, shown: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_config(place, profile="high_accuracy", domain="code_analysis", environment="development")
    words = ("explain", "generation.temperature")
    for name in ("code_analysis", "domain:code_analysis"):
        key = "model." if name.startswith("domain:") else ""
        said = shown("explain", f"{key}generation.temperature", name).splitlines()[0]
        assert said == f"{key}generation.temperature: 0.4"
    assert shown(*words, "code_analysis", "--draft").startswith("generation.temperature: 0.2\n")
    deploy_config(place, environment="production", every_config=True)
    monkeypatch.setenv("MODELS_ENV", "production")
    assert shown("explain", "timeout", "gpt4").startswith("timeout: 30 seconds\n")


def test_a_config_is_found_by_the_name_that_it_gives_itself(shown: Read, place: Project) -> None:
    assert yaml.safe_load(shown("show", "basic_nlp"))["provider"] == "builtin"


def test_keys_without_effect_are_named_once(shown: Read, place: Project) -> None:
    assert "Without effect" not in shown("show", "balanced")
    profile = place.configs / "performance_profiles" / "balanced.yaml"
    profile.write_text(f"{profile.read_text()}batching: {{max_wait: 10 ms}}\n")
    head = [line for line in shown("show", "balanced").splitlines() if line.startswith("#")]
    why = "a request joins the next step and waits for no others"
    assert head[1:] == [f"# Without effect: batching.max_wait: {why}"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "gpt5"), "there is no config 'gpt5'"),
        (("show", "domain:code"), "there is no domain 'code' in development"),
        (("show", "domain:code_analysis", "--draft"), "leave out --draft"),
        (("explain", "timeout", "domain:code_analysis", "--draft"), "leave out --draft"),
        (("explain", "timout", "code_analysis", "--env", "development"), "did you mean 'timeout'?"),
        (("explain", "name", "code_analysis", "--env", "development"), "'name' is no setting"),
        (("show", "gpt4", "--env", "prod"), "did you mean 'production'?"),
    ],
)
def test_what_cannot_be_shown_is_said(
    place: Project,
    models_here: Models,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    assert models_here("config", *words) == 2
    assert said in capsys.readouterr().err
    assert "--env development" not in capsys.readouterr().err


def test_a_program_reads_settings_and_their_origins(place: Project, shown: Read) -> None:
    facts = json.loads(shown("show", "code_analysis", "--json"))
    origins = facts["origins"]
    assert facts["settings"]["generation"]["temperature"] == 0.2
    assert {"key": "generation.temperature", "layer": "base", "where": f"{ANALYSIS}:7:3",
            "revision": None, "unread": None, "derived_from": []} in origins  # fmt: skip


def test_no_secret_is_shown(place: Project, shown: Read) -> None:
    secret = "sk-" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3"
    edit(place, "language_models/gpt4_config", "The best answers", f"key {secret}")
    for words in (("--origins",), ("--json",)):
        assert secret not in shown("show", "gpt4", *words)


def test_prices_with_tiers_are_shown_for_a_domain_as_a_file_has_them(
    place: Project, shown: Read
) -> None:
    tiers = "prices:\n  tiers:\n    - above_input_tokens: 100k\n      input_per_million: $6\n"
    tiers += "      output_per_million: $22.50\n"
    edit(place, "language_models/claude_config", "prices:\n", tiers)
    found = yaml.safe_load(shown("show", "domain:summarization"))
    assert found["model"]["prices"]["tiers"] == [
        {
            "above_input_tokens": "100k",
            "input_per_million": "$6.00",
            "output_per_million": "$22.50",
        }
    ]
