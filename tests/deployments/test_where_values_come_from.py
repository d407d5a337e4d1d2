"""Each place that is named as the origin of an effective setting decides it: a change there shows.

On the configs of a new project, with the variants that make other layers decide.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deploy_samples import edit
from example_configs import make_project
from modelyard.configs.explain import DERIVED, Explanation
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import Document, resolve
from modelyard.core.errors import KeyPath, ModelyardError, dotted
from modelyard.deployments.domain_settings import explain_domain
from modelyard.deployments.effective_settings import effective_values
from modelyard.deployments.layers import build_effective
from modelyard.deployments.origins import RunningConfigs, deployable_content
from modelyard.deployments.snapshot import Snapshot, content_of

WORDS = (
    *("gpt4", "claude", "local_llm", "basic_nlp", "spare", "balanced", "high_accuracy", "quick"),
    *("code_analysis", "summarization", "translation", "text_generation"),
    *("openai", "local", "builtin", "cheapest", "text", "json", "latency", "env:OTHER"),
)
"""What a setting that is a name or a choice can be instead."""
ORDER = "order: [claude, local_llm, basic_nlp]"
CASES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "as they are": (),
    "no model has a fallback of its own": (
        ("integration", ORDER, "order: [local_llm, basic_nlp]"),
        ("language_models/gpt4_config", "fallback: claude", ""),
        ("language_models/claude_config", "fallback: local_llm", ""),
        ("language_models/local_llm_config", "fallback: basic_nlp", ""),
    ),
    "another order, which nobody needs": (("integration", ORDER, "order: [local_llm, basic_nlp]"),),
    "local only": (
        ("integration", "local_only: []", "local_only: [translation, summarization]"),
        ("language_models/claude_config", "fallback: local_llm", "fallback: gpt4"),
    ),
    "without fallback": (("integration", "enabled: true\n    order", "enabled: false\n    order"),),
    "an adapter for another base": (
        ("specialized_models/translation", "model: gpt4", "model: local_llm\nadapter: support"),
        ("specialized_models/summarization", "model: claude", "model: claude\nadapter: support"),
    ),
    "an answer longer than the model can give": (
        ("language_models/gpt4_config", "max_output_tokens: 32k", "max_output_tokens: 1k"),
    ),
}


@dataclass(frozen=True)
class Configs:
    """The drafts of a project and what would run with them."""

    documents: Mapping[str, Document]
    running: RunningConfigs
    built: dict[str, dict[str, Any]] = field(default_factory=dict)

    def effective(self, domain: str, snapshot: Snapshot | None = None) -> dict[str, Any]:
        """Each effective setting by its dotted key."""
        place = self.running.environment
        found = build_effective(snapshot or self.running.snapshot, place, 0, domain)
        return {dotted(value.path): value.parsed for value in effective_values(found)}

    def as_they_run(self, domain: str) -> dict[str, Any]:
        """The effective settings of the configs themselves, built once for each domain."""
        if domain not in self.built:
            self.built[domain] = self.effective(domain)
        return self.built[domain]

    def path_at(self, where: str) -> tuple[str, KeyPath]:
        """The config, and the key path in its file, that are written at `file:line:col`."""
        file, line, column = where.rsplit(":", 2)
        for label, document in self.documents.items():
            if document.source.name == file:
                spot = (int(line), int(column))
                assert spot in document.source.positions.values(), where
                paths = [at for at, place in document.source.positions.items() if place == spot]
                return label, max(paths, key=len)
        raise AssertionError(where)

    def with_value(self, label: str, path: KeyPath, value: Any) -> Snapshot:
        """What would run if a config said something else there."""
        document = self.documents[label]
        values = deepcopy(document.source.value)
        inner = values
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        changed = replace(document, source=replace(document.source, value=values))
        content = content_of(resolve(changed, self.running.environment).values)
        snapshot = self.running.snapshot
        return replace(snapshot, configs={**snapshot.configs, label: content})

    def changed_at(self, label: str, path: KeyPath, domain: str) -> Iterator[Snapshot]:
        """What would run with each other value at that place."""
        value = self.documents[label].source.value
        for step in path:
            value = value[step]
        for other in others(value, domain):
            yield self.with_value(label, path, other)

    def decides(self, where: str, key: str, domain: str) -> bool:
        """Whether some other value at that place changes an effective setting."""
        label, path = self.path_at(where)
        before = self.as_they_run(domain).get(key)
        for snapshot in self.changed_at(label, path, domain):
            try:
                if self.effective(domain, snapshot).get(key) != before:
                    return True
            except ModelyardError as error:  # the value is no good in that place, or nobody is left
                if "no model can answer" in error.message:
                    return True
        return False


def others(value: Any, domain: str) -> Iterator[Any]:
    """Other values of the kind, of which some are valid in its place."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield from (value + 1, value / 2, value - 1, 50)
    elif isinstance(value, list):
        yield from ([], value[:-1], value[::-1], *([word] for word in WORDS))
        yield from ([word, *value] for word in WORDS)
    elif isinstance(value, dict):
        yield from ({**value, domain: word} for word in WORDS)
        yield {}
    else:
        yield from (re.sub("[1-9]", digit, value, count=1) for digit in "129")
        yield from WORDS
        yield f"{value}x"


def open_configs(root: Path, case: str, environment: str, profile: str | None) -> Configs:
    project = make_project(root / "project")
    local = project.configs / "language_models" / "local_llm_config.yaml"
    shutil.copy(local, local.with_name("spare.yaml"))
    for place, before, after in CASES[case]:
        edit(project, place, before, after)
    catalogue = ConfigCatalogue(project)
    found = [catalogue.read(path) for path in catalogue.deployable_paths()]
    documents = {document.label: document for document in found}
    contents = {label: deployable_content(at, environment) for label, at in documents.items()}
    tasks = ("code_analysis", "translation", "summarization")
    profiles = dict.fromkeys(tasks, profile) if profile else {}
    snapshot = Snapshot(configs=contents, profiles=profiles)
    return Configs(documents, RunningConfigs(catalogue, environment, 1, snapshot))


def places_of(setting: Explanation) -> tuple[str, ...]:
    """Where a value is said to come from; defaults and switches stand nowhere."""
    found = setting.derived_from if setting.layer == DERIVED else (setting.where,)
    return tuple(where for where in found if where and not where.startswith("the default"))


@pytest.mark.parametrize(
    ("case", "environment", "profile"),
    [
        ("as they are", "production", None),
        ("as they are", "development", "high_accuracy"),
        ("as they are", "test", "fast_response"),
        *((case, "production", None) for case in list(CASES)[1:]),
    ],
)
def test_a_change_at_every_origin_changes_the_value(
    tmp_path: Path, case: str, environment: str, profile: str | None
) -> None:
    configs = open_configs(tmp_path, case, environment, profile)
    checked = 0
    for domain in ("code_analysis", "translation", "summarization"):
        if case != "as they are" and domain == "code_analysis":
            continue
        explained = explain_domain(configs.running, domain)
        assert {setting.key for setting in explained} == set(configs.effective(domain))
        for setting in explained:
            if setting.key == "rules" and case == "local only":
                continue  # the rule is of another domain, and its model would be left out as well
            for where in places_of(setting):
                checked += 1
                assert configs.decides(where, setting.key, domain), (domain, setting.key, where)
    assert checked > 80


def fallback(configs: Configs, domain: str) -> tuple[Any, list[tuple[str, str | None]]]:
    (setting,) = explain_domain(configs.running, domain, "fallback")
    assert setting.layer == DERIVED
    return setting.value, [(layer.name, layer.key) for layer in setting.layers]


def test_the_fallback_names_the_settings_that_it_is_made_of(tmp_path: Path) -> None:
    """Never the order of the integration just because it happens to have the same names."""
    own = open_configs(tmp_path / "own", "as they are", "production", None)
    assert fallback(own, "code_analysis") == (
        ["claude", "local_llm", "basic_nlp"],
        [
            ("base", "model"),
            ("language model gpt4", "fallback"),
            ("language model claude", "fallback"),
            ("language model local_llm", "fallback"),
        ],
    )
    case = "no model has a fallback of its own"
    ordered = open_configs(tmp_path / "ordered", case, "production", None)
    assert fallback(ordered, "code_analysis") == (
        ["local_llm", "basic_nlp"],
        [
            ("base", "model"),
            ("integration config", "model_integration.fallback_strategy.order"),
        ],
    )
    local = open_configs(tmp_path / "local", "local only", "production", None)
    (model,) = explain_domain(local.running, "translation", "model.name")
    assert (model.value, model.layer, model.where) == ("local_llm", DERIVED, None)
