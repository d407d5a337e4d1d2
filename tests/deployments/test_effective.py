"""The settings that hold for a domain: layers, fallback, and what a running process sees."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy_samples import CONFIGS, deploy_config, edit, switch_config, write_deploy_project
from killed import fork
from modelyard.configs.checking.check import check_configs
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.core.layout import Project
from modelyard.deployments.effective import load_effective
from modelyard.deployments.effective_settings import Effective, compare_effective
from modelyard.deployments.layers import build_effective
from modelyard.deployments.revisions import NotDeployed
from modelyard.deployments.snapshot import Snapshot, content_of


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return write_deploy_project(tmp_path / "project")


def snapshot(changes: Mapping[str, Mapping[str, Any]] | None = None, **profiles: str) -> Snapshot:
    """The sample configs with some settings changed, and profiles chosen by domain."""
    configs = {}
    for spot, text in CONFIGS.items():
        values = yaml.safe_load(text)
        values.pop("environments", None)
        kind, _, stem = spot.partition("/")
        name = values.pop("name", stem.removesuffix("_config"))
        configs[f"{kind}/{name}" if stem else kind] = values
    for label, settings in (changes or {}).items():
        configs[label] = {**configs.get(label, {}), **settings}
    return Snapshot(
        configs={label: content_of(values) for label, values in configs.items()},
        profiles=profiles,
    )


def effective(of: Snapshot, domain: str | None = "code_analysis") -> Effective:
    return build_effective(of, "test", 1, domain)


def asked(found: Effective) -> list[str]:
    return [found.model.name, *(model.name for model in found.fallback)]


def joint(**settings: Any) -> dict[str, dict[str, Any]]:
    """The integration with some settings changed."""
    values = yaml.safe_load(CONFIGS["integration"])["model_integration"]
    return {"integration": {"model_integration": {**values, **settings}}}


def test_a_profile_wins_over_the_domain_and_the_domain_over_the_model() -> None:
    model = effective(snapshot()).model.settings
    assert (model.generation.temperature, model.generation.max_output_tokens) == (0.2, 2000)
    assert (model.timeout_s, model.retries.attempts) == (60.0, 2)
    found = effective(snapshot(code_analysis="high_accuracy"))
    model = found.model.settings
    assert (model.generation.temperature, model.generation.max_output_tokens) == (0.4, 2000)
    assert (found.timeout_s, model.retries.attempts, found.samples) == (120.0, 4, 3)
    assert found.retrieval is not None
    assert (found.retrieval.top, found.retrieval.max_tokens, found.retrieval.rerank) == (
        12,
        2000,
        True,
    )
    assert found.instructions == "You answer questions on code.\nSay so when you do not know.\n"


def test_a_profile_limits_the_whole_answer_and_a_model_each_call() -> None:
    patient = {"performance_profiles/balanced": {"timeout": "10 minutes"}}
    found = effective(snapshot(patient))
    assert (found.timeout_s, found.model.settings.timeout_s) == (600.0, 60.0)
    assert effective(snapshot(), domain=None).timeout_s is None


def test_no_answer_is_longer_than_its_model_can_give() -> None:
    greedy = {"specialized_models/code_analysis": {"generation": {"max_output_tokens": "9k"}}}
    found = effective(snapshot(greedy))
    lengths = [m.settings.generation.max_output_tokens for m in (found.model, *found.fallback)]
    assert asked(found) == ["gpt4", "claude", "basic_nlp"]
    assert lengths == [9000, 8000, 500]


def test_a_profile_may_name_the_model() -> None:
    found = effective(snapshot({"performance_profiles/balanced": {"model": "claude"}}))
    assert asked(found) == ["claude", "basic_nlp"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["gpt4", "claude", "basic_nlp"]),
        (
            {"language_models/gpt4": {"fallback": "basic_nlp"}},
            ["gpt4", "basic_nlp"],
        ),
        ({"specialized_models/code_analysis": {"model": "basic_nlp"}}, ["basic_nlp"]),
        (
            {
                "language_models/gpt4": {"fallback": "claude"},
                "language_models/claude": {"fallback": "gpt4"},
            },
            ["gpt4", "claude", "basic_nlp"],
        ),
        (
            {"specialized_models/code_analysis": {"fallback": ["basic_nlp"]}},
            ["gpt4", "basic_nlp"],
        ),
        ({"specialized_models/code_analysis": {"fallback": []}}, ["gpt4"]),
        (joint(fallback_strategy={"enabled": False, "order": ["claude"]}), ["gpt4"]),
        (joint(routing={"local_only": ["code_analysis"]}), ["basic_nlp"]),
    ],
    ids=["order", "own", "builtin", "cycle", "domain's list", "nobody", "off", "local only"],
)
def test_who_is_asked_in_which_order(
    changes: dict[str, dict[str, Any]], expected: list[str]
) -> None:
    assert asked(effective(snapshot(changes))) == expected


def test_a_local_only_domain_without_a_local_model_cannot_answer() -> None:
    lonely = joint(routing={"local_only": ["code_analysis"]}, fallback_strategy={"order": []})
    with pytest.raises(ModelyardError, match="no model can answer for code_analysis in test"):
        effective(snapshot(lonely))


def test_a_check_and_a_running_domain_agree_on_local_only(place: Project) -> None:
    """A warning when a local model is left, which then answers; an error when none is."""
    order = "order: [claude, basic_nlp]"
    edit(place, "integration", order, f"{order}\n  routing: {{local_only: [code_analysis]}}")

    def levels() -> set[str]:
        catalogue = ConfigCatalogue(place)
        found = check_configs(catalogue, catalogue.paths("integration")).findings
        return {one.level for one in found if one.code == "leaves-the-machine"}

    assert levels() == {"warning"}
    assert asked(load_effective("development", "code_analysis", project=place)) == ["basic_nlp"]
    edit(place, "integration", order, f"{order}\n    enabled: false")
    assert levels() == {"error"}
    with pytest.raises(ModelyardError, match="no model can answer for code_analysis"):
        load_effective("development", "code_analysis", project=place)


def test_a_task_of_a_config_that_is_not_there_is_said_to_be_one() -> None:
    tasks = joint(primary_models={"language": "gpt4", "tasks": {"review": "nobody"}})
    with pytest.raises(ModelyardError, match="the specialised model nobody is not live"):
        effective(snapshot(tasks), "review")


def test_a_group_that_is_left_out_on_both_sides_is_no_change() -> None:
    """Prices are a group: a model without any has only that group, and it is empty."""
    free = {"performance_profiles/balanced": {"model": "basic_nlp"}}
    before, after = effective(snapshot(free)), effective(snapshot())
    for found in (compare_effective(before, after), compare_effective(after, before)):
        keys = [change.key for change in found]
        assert "model.prices.input_per_million" in keys
        assert "model.prices" not in keys


def test_rules_that_are_for_other_domains_are_left_out() -> None:
    rules = [
        {"domains": ["summarization"], "model": "gpt4"},
        {"longer_than_tokens": "100k", "model": "claude"},
    ]
    found = effective(snapshot(joint(routing={"rules": rules, "strategy": "cheapest"})))
    assert [(rule.longer_than_tokens, rule.model.name) for rule in found.rules] == [
        (100_000, "claude")
    ]
    assert found.strategy == "cheapest"
    assert found.rules[0].model.settings.generation.temperature == 0.2


def test_the_domain_s_adapter_goes_on_the_base_that_it_was_trained_for() -> None:
    local = {
        "description": "Here",
        "provider": "local",
        "model": "smollm2",
        "context_tokens": "2k",
        "max_output_tokens": 512,
    }
    changes = {
        "language_models/small": local,
        "language_models/other": {**local, "model": "mistral", "adapter": "own"},
        "specialized_models/code_analysis": {
            "model": "small",
            "adapter": "code@2",
            "fallback": ["other", "basic_nlp"],
        },
    }
    found = effective(snapshot(changes))
    adapters = [model.settings.adapter for model in (found.model, *found.fallback)]
    assert adapters == ["code@2", "own", None]


def test_requests_without_a_domain_go_to_the_primary_model() -> None:
    found = effective(snapshot(), None)
    assert asked(found) == ["gpt4", "claude", "basic_nlp"]
    assert (found.profile, found.instructions, found.retrieval) == (None, "", None)
    assert found.model.settings.generation.temperature == 0.7
    assert found.budgets.per_day_usd == 10.0


def test_what_is_not_live_is_said(place: Project) -> None:
    with pytest.raises(NotDeployed, match="deployed to test: models deploy-config --all"):
        load_effective("test", "code_analysis", project=place)
    deploy_config(place, ["gpt4"], environment="test")
    with pytest.raises(InvalidInput, match="there is no domain 'code_analysis' in test"):
        load_effective("test", "code_analysis", project=place)
    with pytest.raises(NotDeployed, match="no model is named for requests without a domain"):
        load_effective("test", None, project=place)
    with pytest.raises(InvalidInput, match="no environment 'staging'"):
        load_effective("staging", None, project=place)


def test_the_project_is_the_one_around_the_current_folder(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_config(place, ["code_analysis"], environment="test")
    monkeypatch.chdir(place.configs)
    assert load_effective("test", "code_analysis").model.name == "gpt4"


def test_it_is_the_same_object_until_something_goes_live(place: Project) -> None:
    deploy_config(place, environment="test", every_config=True)
    first = load_effective("test", "code_analysis", project=place)
    assert load_effective("test", "code_analysis", project=place) is first
    switch_config(place, profile="high_accuracy", environment="test")
    second = load_effective("test", "code_analysis", project=place)
    assert (first.revision, second.revision) == (1, 2)
    assert (first.samples, second.samples) == (1, 3)


def test_a_switch_of_another_process_is_seen_at_the_next_call(place: Project) -> None:
    deploy_config(place, environment="test", every_config=True)
    assert load_effective("test", "code_analysis", project=place).samples == 1
    words = ["switch-config", "--profile", "high_accuracy", "--domain", "code_analysis"]
    words += ["--env", "test"]
    subprocess.run(
        [sys.executable, "-m", "modelyard", "--project", str(place.root), *words],
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert load_effective("test", "code_analysis", project=place).samples == 3


def test_threads_and_forked_processes_see_a_switch_as_well(place: Project) -> None:
    deploy_config(place, environment="test", every_config=True)
    assert load_effective("test", "code_analysis", project=place).samples == 1

    def child() -> None:
        assert load_effective("test", "code_analysis", project=place).samples == 1
        switch_config(place, profile="high_accuracy", environment="test")
        assert load_effective("test", "code_analysis", project=place).samples == 3

    assert os.waitpid(fork(child), 0)[1] == 0
    seen: list[int] = []

    def look() -> None:
        calls = (load_effective("test", "code_analysis", project=place) for _ in range(200))
        seen.extend(found.samples for found in calls)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [3] * 1600


def test_a_state_that_was_put_in_the_place_of_another_is_read(
    place: Project, tmp_path: Path
) -> None:
    deploy_config(place, environment="test", every_config=True)
    other = write_deploy_project(tmp_path / "other")
    edit(other, "performance_profiles/balanced", "timeout: 30 seconds", "timeout: 40 seconds")
    deploy_config(other, environment="test", every_config=True)
    found = load_effective("test", "code_analysis", project=place)
    assert found.timeout_s == 30.0
    other.state_db.replace(place.state_db)
    for tail in ("-wal", "-shm"):
        place.state_db.with_name(f"state.db{tail}").unlink(missing_ok=True)
        with_tail = other.state_db.with_name(f"state.db{tail}")
        if with_tail.exists():
            with_tail.replace(place.state_db.with_name(f"state.db{tail}"))
    found = load_effective("test", "code_analysis", project=place)
    assert (found.revision, found.timeout_s) == (1, 40.0)


def test_a_warm_call_takes_microseconds(place: Project) -> None:
    deploy_config(place, environment="test", every_config=True)
    load_effective("test", "code_analysis", project=place)
    times = []
    for _ in range(2000):
        start = time.perf_counter()
        load_effective("test", "code_analysis", project=place)
        times.append(time.perf_counter() - start)
    median_us = sorted(times)[1000] * 1e6
    print(f"a warm call takes {median_us:.1f} us (median of 2,000)")
    assert median_us < 1000  # far above what is measured: only a call that rereads all is slower
