"""The draft of a tuned model: a language model's config in configs/, which nobody deployed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.reading.catalogue import ConfigCatalogue
from modelyard.configs.reading.document import config_name, resolve
from modelyard.core.errors import ModelyardError
from modelyard.core.files import exclusive_lock, write_atomic
from modelyard.core.layout import Project
from modelyard.core.wording import visible_line
from modelyard.deployments.running import running_snapshot
from modelyard.settings.yaml_files import render_yaml
from modelyard.training.hosted.record import JobRecord

_KIND = "language_models"
_LONGEST_NAME = 64
_LOCK_WAIT_S = 10.0
_OF_THE_BASE = ("name", "aliases", "fine_tuning", "environments", "prices", "description", "model")
"""Keys of the base's config that are not those of the tuned model."""


def write_draft(project: Project, record: JobRecord, experiment: str) -> Path:
    """Write the config of a tuned model, in one rename; returns its path.

    It has the settings that its base has in the job's environment now, and the prices that
    `fine_tuning.prices` says. A config with that name is never replaced: one for the same model is
    what a killed run wrote, and for any other the name gets a number.
    Raises ModelyardError when the base's config is no longer there.
    """
    assert record.tuned_model is not None
    base = _values_of(project, record)
    lock = project.lock("configs", _KIND)
    with exclusive_lock(lock, what="folder of language models", wait_s=_LOCK_WAIT_S):
        catalogue = ConfigCatalogue(project)
        number = 1
        while True:
            place = _place(project, record.language_model, experiment, number)
            taken = place.exists() or place.is_symlink()
            if not taken and not catalogue.paths_named(_KIND, config_name(place)):
                break
            if taken and _model_in(catalogue, place) == record.tuned_model:
                return place
            number += 1
        write_atomic(place, _render(record, experiment, base))
    return place


def _place(project: Project, language_model: str, experiment: str, number: int) -> Path:
    end = f"_{number}" if number > 1 else ""
    name = f"{language_model}_{experiment}"[: _LONGEST_NAME - len(end)]
    return project.configs / _KIND / f"{name}{end}.yaml"


def _model_in(catalogue: ConfigCatalogue, path: Path) -> Any:
    """The provider's name of the model in a config; None where it cannot be read."""
    try:
        return resolve(catalogue.read(path), DEFAULT_ENVIRONMENT).values.get("model")
    except ModelyardError:
        return None


def _values_of(project: Project, record: JobRecord) -> Mapping[str, Any]:
    """What the base's config says in the environment, as it is written there."""
    label = f"{_KIND}/{record.language_model}"
    found = running_snapshot(project, record.environment)[1].configs.get(label)
    if found is None:
        raise ModelyardError(
            f"the job made {record.tuned_model}, and the config of {record.language_model}, from "
            "which its draft is written, is gone",
            where=f"{label} in {record.environment}",
            hint="put it back, and run the same command again",
        )
    values: Mapping[str, Any] = found.values
    return values


def _render(record: JobRecord, experiment: str, base: Mapping[str, Any]) -> str:
    tuning = base.get("fine_tuning")
    prices = tuning.get("prices") if isinstance(tuning, Mapping) else None
    values = {
        "description": f"{record.language_model} fine-tuned on {record.dataset}",
        "provider": base["provider"],
        "model": record.tuned_model,
        **{key: base[key] for key in base if key not in (*_OF_THE_BASE, "provider")},
        **({"prices": prices} if prices is not None else {}),
    }
    lines = [
        f"A draft: {visible_line(record.identity.model)} fine-tuned by the job "
        f"{visible_line(record.job_id or '')}.",
        f"What decided it: experiments/{experiment}/hosted.json. Nothing deploys it by itself.",
    ]
    if prices is None:
        lines.append(
            "Its prices are not known: `fine_tuning.prices` of its base does not say them. They "
            "are needed before it can be deployed."
        )
    header = "".join(f"# {line}\n" for line in lines)
    return (
        f"# yaml-language-server: $schema=../schemas/{_KIND}.json\n#\n{header}\n"
        f"{render_yaml(values)}"
    )
