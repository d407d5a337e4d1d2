"""The fine-tune spec: one frozen value with everything that a run depends on.

It is built from defaults, then a YAML file with the overlay of an environment, then `--set`, then
flags. The settings themselves, with their words, are in configs/kinds/fine_tuning.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.fine_tuning import FineTuning
from modelyard.configs.reading.document import Resolved
from modelyard.core.errors import Diagnostic, InvalidInput, ProblemsFound
from modelyard.core.layout import Project, check_name
from modelyard.deployments.running import running_config
from modelyard.records.modelref import ModelRef
from modelyard.settings.build import build_settings
from modelyard.settings.yaml_files import parse_value


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneSpec(FineTuning):
    """Everything that a fine-tune run depends on: the settings, and its three names."""

    dataset: str
    """Name under datasets/, or a path to a folder or a file."""
    adapter: str
    """Name of the adapter that gets a new version."""
    experiment: str
    """Name of the folder under experiments/ that records the run."""


_FLAG_NAMES = {"parent": "from", "data.replay_share": "replay"}
"""The flags that are called otherwise than their keys."""


def load_spec(
    *,
    config: Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    environment: str = DEFAULT_ENVIRONMENT,
    project: Project | None = None,
) -> FineTuneSpec:
    """The spec from defaults, then the YAML file, then `--set key=value`, then flags.

    `project` is the one whose environments a file outside any project has overlays for.
    `flags` holds dotted keys (`compute.quantize`); None means "not given". Missing names follow
    from the dataset: the adapter takes its name, the experiment the adapter's. With a parent, the
    adapter takes the parent's name, and the experiment is called after both.
    Raises ProblemsFound with every unknown key, wrong type and bound, and where each was written.
    """
    values: dict[str, Any] = {}
    written: dict[tuple[str, ...], str] = {}
    resolved: Resolved | None = None
    if config is not None:
        resolved = running_config(config, environment, kind="fine_tuning", project=project)
        values = resolved.values
    problems: list[Diagnostic] = []
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            message = "is not key=value, such as lora.rank=8"
            problems.append(Diagnostic(message=message, where=f"--set {assignment}"))
            continue
        try:
            value = parse_value(text)
        except ProblemsFound as error:
            problems += [
                replace(problem, where=f"--set {assignment}") for problem in error.problems
            ]
            continue
        problems += _assign(values, written, key, value, f"--set {assignment}")
    for key, value in flags.items():
        if value is not None:
            name = _FLAG_NAMES.get(key) or key.rpartition(".")[2].replace("_", "-")
            problems += _assign(values, written, key, value, f"--{name} {value}")

    def where(path: tuple[str | int, ...]) -> str | None:
        for end in range(len(path), 0, -1):
            if (spot := tuple(str(part) for part in path[:end])) in written:
                return written[spot]
        return resolved.where(path) if resolved is not None else None

    _fill_names(values)
    spec, wrong = build_settings(FineTuneSpec, values, where)
    problems += map(_with_option, wrong)
    if problems or spec is None:
        raise ProblemsFound("the fine-tune spec is not valid", problems)
    check_name(spec.adapter, "adapter")
    check_name(spec.experiment, "experiment")
    if spec.org is not None:
        check_name(spec.org, "organisation")
    return spec


def _with_option(problem: Diagnostic) -> Diagnostic:
    """The dataset is the one key without a default, and usually given by its option."""
    if problem.code == "missing" and problem.message.startswith("'dataset' "):
        return replace(problem, hint="name it: --dataset NAME, or a path")
    return problem


def _assign(
    values: dict[str, Any], written: dict[tuple[str, ...], str], key: str, value: Any, where: str
) -> list[Diagnostic]:
    *groups, last = key.split(".")
    place = values
    for group in groups:
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            return [Diagnostic(message=f"'{group}' is not a group of keys", where=where)]
    place[last] = value
    written[(*groups, last)] = where
    return []


def _fill_names(values: dict[str, Any]) -> None:
    dataset = values.get("dataset")
    # A dataset that is missing or no text is a problem of its own; what follows from it is none.
    name = name_after(dataset if isinstance(dataset, str) else "")
    parent = values.get("parent")
    continued = _adapter_named(parent) if isinstance(parent, str) else None
    values.setdefault("adapter", continued or name)
    adapter = values["adapter"] if isinstance(values["adapter"], str) else name_after("")
    values.setdefault("experiment", name_after(f"{adapter}-{name}") if continued else adapter)


def _adapter_named(parent: str) -> str | None:
    """The adapter of the version to continue from; None for what names none, refused later."""
    try:
        return ModelRef.parse(parent, kind="adapter").name
    except InvalidInput:
        return None


def name_after(dataset: str) -> str:
    """The name of an adapter trained on `dataset`, a name or a path; always a valid one."""
    stem = Path(dataset).name.partition(".")[0].lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).lstrip("-_").rstrip("-")[:64] or "dataset"
